"""Stances as distributions: the table every reading ends in, its checks, and the value vector of a topic."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from workbench.answers import probabilities
from workbench.errors import InputError, unknown
from workbench.metrics.checks import SLACK
from workbench.statistics import interval

STANCES = ("support", "neutral", "oppose")
VALUES = {"support": 1.0, "neutral": 0.0, "oppose": -1.0}
"""What an option that states a stance carries as its `value`."""
PARTS = tuple(f"p_{stance}" for stance in STANCES)
KEYS = ("run", "phase", "step", "topic", "prompt_id", "sample")
COLUMNS = (*KEYS, *PARTS, "mass")
READING = "reading"
"""A further column: which labels were read, as how many tokens, after what; a series holds one reading a prompt."""
LOW_MASS = 1e-4
"""Below this the labels hold so little probability that a stance is a ranking of unlikely sentences."""


def stance_table(answers: pd.DataFrame, run: str = "", phase: str = "", step: int = 0) -> pd.DataFrame:
    """Stances read from the log-probabilities of label continuations (readout R1).

    Answers asked with `unconditional=CONTENT_FREE` are calibrated: what a label has after a question without content
    is subtracted first.

    Args:
        answers: Answers whose options carry 1, 0 or -1 as `value` (support, neutral, oppose), with the tags `topic`,
            `prompt_id` and `sample` (which wording of the labels).
        run: Name of the training run.
        phase: Its phase: base, sft, preference.
        step: Training steps done.

    Returns:
        One row per prompt and sample, with the columns of `COLUMNS`: p is a softmax over the three labels, `mass` the
        probability they hold together; and `reading`, the labels with their numbers of tokens and a digest of what
        was asked.

    Raises:
        InputError: A tag is missing, a label is no stance, or one label equals or begins another.
    """
    for tag in ("topic", "prompt_id", "sample"):
        if tag not in answers:
            raise InputError(f"Stance answers lack the tag {tag!r}; ask questions made by `stance_questions`.")
    _check_labels(answers)
    p = probabilities(answers, "pmi" if answers["logprob_unconditional"].notna().all() else "none")
    names = p["value"].map({value: f"p_{name}" for name, value in VALUES.items()})
    wide = p.assign(stance=names).pivot(index="question_id", columns="stance", values="p")
    as_read = p["text"] + " " + p["n_tokens"].astype(str) + (" to " + p["asked"] if "asked" in p else "")
    read = as_read.groupby(p["question_id"]).agg("|".join).rename(READING)
    first = p[p["option"] == 0].set_index("question_id")
    table = first[["topic", "prompt_id", "sample", "mass"]].join([wide, read]).reset_index(drop=True)
    table["mass"] = table["mass"].clip(upper=1.0)  # of labels that exclude each other: above 1 by rounding alone
    if (low := table["mass"] < LOW_MASS).any():
        warnings.warn(
            f"The stance labels hold less than {LOW_MASS:g} of the probability in {low.sum()} of {len(table)} "
            "readings: there the readout ranks unlikely sentences.",
            stacklevel=2,
        )
    return check_stances(table.assign(run=run, phase=phase, step=step)[[*COLUMNS, READING]])


def check_stances(table: pd.DataFrame) -> pd.DataFrame:
    """The table, if it is one: every row named once, on the simplex or undefined as a whole.

    Raises:
        InputError: Naming the row at fault.
    """
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(f"The stance table lacks {', '.join(missing)}; it needs {', '.join(COLUMNS)}.")
    if table.empty:
        raise InputError("The stance table is empty; read at least one prompt.")
    for name, other in (("prompt_id", "topic"), ("topic", "prompt_id")):
        if (bare := table[name].isna() | (table[name].astype(str).str.strip() == "")).any():
            raise InputError(f"A row with {other} {table.loc[bare, other].iloc[0]!r} has no {name}; give it one.")
    if (twice := table.duplicated(list(KEYS))).any():
        row = table.loc[twice].iloc[0]
        where = {name: row[name] for name in ("step", "prompt_id", "sample")}
        raise InputError(f"The stance table holds {where} twice; keep one row for each.")
    p = table[list(PARTS)].to_numpy(np.float64)
    undefined = np.isnan(p)
    off = undefined.any(axis=1) & ~undefined.all(axis=1)
    off |= ~undefined.all(axis=1) & (np.abs(p.sum(axis=1) - 1) > SLACK)
    off |= ((p < -SLACK) | (p > 1 + SLACK)).any(axis=1) | np.isinf(p).any(axis=1)
    if off.any():
        row = table.loc[off].iloc[0]
        raise InputError(
            f"The stances of prompt {row['prompt_id']!r} at step {row['step']} are {[float(row[c]) for c in PARTS]}, "
            "which is no distribution; a refused answer is NaN in all three."
        )
    return table


def by_prompt(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over a prompt's samples, the unit of every interval: one row per run, phase, step, topic and prompt.

    Undefined samples are left out and counted in `n_undefined`; a prompt with none defined is NaN.
    """
    check_stances(table)
    keys = ["run", "phase", "step", "topic", "prompt_id"]
    grouped = table.assign(n_undefined=table[PARTS[0]].isna()).groupby(keys, sort=False)
    means = grouped[[*PARTS, "mass"]].mean()
    return means.assign(n_undefined=grouped["n_undefined"].sum()).reset_index()


def value_vectors(table: pd.DataFrame, by: Sequence[str] = ("run", "phase", "step", "topic")) -> pd.DataFrame:
    """Value vectors (Value Drifts, arXiv 2510.26707) with intervals clustered by prompt, which stay within 0 and 1.

    Returns:
        The group columns, `stance`, mean, se, low, high, `n` (prompts), `n_undefined` (prompts without a reading).
    """
    prompts = by_prompt(table)
    if missing := [name for name in by if name not in prompts]:
        raise unknown("column", missing[0], list(prompts.columns))
    rows = []
    for key, part in prompts.groupby(list(by), sort=False):
        for stance in STANCES:
            found = interval(part[f"p_{stance}"].clip(0, 1), clusters=part["prompt_id"], bounds=(0, 1))
            kept = {name: found[name] for name in ("mean", "se", "low", "high", "n_undefined", "note")}
            rows.append({**dict(zip(by, key)), "stance": stance, **kept, "n": part["prompt_id"].nunique()})
    return pd.DataFrame(rows)


def prompt_means(table: pd.DataFrame, stance: str) -> pd.DataFrame:
    """Probability of a stance, `[steps, prompts]`, of one run and topic; the same prompts at every step.

    Raises:
        InputError: The stance is unknown, steps are not strictly increasing, or the prompts, the labels or their
            tokens differ between steps.
    """
    if stance not in STANCES:
        raise unknown("stance", stance, list(STANCES))
    check_stances(table)
    steps = table["step"].drop_duplicates().to_numpy(np.int64)
    if (np.diff(steps) <= 0).any():
        raise InputError(f"The steps {list(map(int, steps))} are not strictly increasing; sort the checkpoints.")
    if READING in table and (table.groupby(["prompt_id", "sample"])[READING].nunique() > 1).any():
        raise InputError(
            "The steps were not all read with the same question, labels and tokenizer; read every checkpoint alike."
        )
    means = by_prompt(table)
    wide = means.pivot(index="step", columns="prompt_id", values=f"p_{stance}")
    present = means.assign(there=1).pivot(index="step", columns="prompt_id", values="there")
    if present.isna().to_numpy().any():
        step = present.index[present.isna().any(axis=1)][0]
        raise InputError(
            f"Step {step} was read on other prompts than the rest; read every checkpoint on the same ones."
        )
    return wide


def _check_labels(answers: pd.DataFrame) -> None:
    labels = answers[["text", "value"]].drop_duplicates()
    if not labels["value"].isin(list(VALUES.values())).all():
        known = ", ".join(f"{value:+g} {name}" for name, value in VALUES.items())
        raise InputError(f"A stance label has a value other than these: {known}.")
    flagged = answers["duplicate"] if "duplicate" in answers else pd.Series(False, index=answers.index)
    if flagged.any():
        raise InputError(f"Label {answers.loc[flagged, 'text'].iloc[0]!r} has the tokens of another label; reword one.")
    for _, part in answers.groupby("question_id", sort=False):
        if sorted(part["value"]) != sorted(VALUES.values()):
            raise InputError(f"Question {part['question_id'].iloc[0]!r} needs one label for each of the three stances.")
        nested = nested_labels(list(part["text"]))
        if nested:
            raise InputError(
                f"Label {nested[1]!r} begins with {nested[0]!r}, so saying one says the other; reword one."
            )


def nested_labels(labels: Sequence[str]) -> tuple[str, str] | None:
    """The first pair of labels of which one begins the other, if there is one."""
    ordered = sorted(label.strip() for label in labels)
    return next(((a, b) for a, b in pairwise(ordered) if b.startswith(a)), None)
