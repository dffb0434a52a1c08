"""The answers table: option probabilities under a named normalisation, and their sums by role or label.

One row per (question, option). Rows of one question are contiguous and numbered from 0 in `option`. A question can
occur more than once, with different tags.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown
from workbench.questions import ROLES

Normalisation = Literal["none", "tokens", "chars", "bytes", "pmi"]
Residual = Literal["renormalise", "as_wrong", "as_abstain", "drop"]
Forms = Literal["sum", "max", "best"]
Nested = Literal["refuse", "split", "keep"]
Hidden = Literal["refuse", "bounds"]
Weigh = Literal["p", "mass"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEEDED = ("question_id", "option", "text", "role", "logprob")
LENGTHS = ("n_tokens", "n_chars", "n_bytes")
FLAGS = ("boundary_merged", "truncated", "duplicate", "prefix")
BOUNDS = ("logprob_low", "logprob_high", "bounded")
EXTRACTED = (*NEEDED, "value", *LENGTHS, "logprob_unconditional", *FLAGS, *BOUNDS)
READING = ("mass", "normalisation")
ADDED = ("p", "rest", "rest_role", *READING)
OUTCOMES = (
    *("n_abstain", "n_options", "n_correct", "p_correct", "p_wrong", "p_abstain", "p_none", "low_mass", "no_abstain"),
    *("choice", "choice_role", "choice_p", "tie", "chosen_correct", "chosen_wrong", "chosen_abstain"),
    *("answer_correct", "answer_confidence", "joint_confidence"),
)
SHOWN = ("CWA", "forced", "chance", "cluster")
RESERVED = frozenset((*EXTRACTED, *ADDED, *OUTCOMES, *SHOWN))
"""Names that no tag may have. Columns added later go through `added`, which refuses the name of a tag."""
LEVELS = ("level", "value", "position", "p", "mass", "abstain", "prob_low", "prob_high", "unseen")
"""Columns written by `levels`; all other columns of its table are tags."""
LOW_MASS = 0.1
"""Mass below which the softmax over the options is flagged as unreliable."""
FAINT = 0.25
"""Fraction of the usual mass below which a question or a benchmark is flagged, compared with others of its style."""
TIE = 1e-12
"""Relative difference below which two probabilities are equal."""


def probabilities(
    answers: pd.DataFrame,
    normalisation: Normalisation = "none",
    temperature: float = 1.0,
    residual: Residual = "renormalise",
) -> pd.DataFrame:
    """Return the answers with the probability `p` of each option.

    With scores s = logprob (none), logprob / length (tokens, chars, bytes) or logprob - logprob_unconditional (pmi),
    `p` is the softmax of s / temperature over the options of a question. The other residual policies keep
    p = exp(logprob) and assign the remaining mass, 1 - mass, to a role (`rest`, `rest_role`).

    Args:
        answers: The answers table, log-probabilities in nats.
        normalisation: Length normalisation or PMI correction. Can change the sign of a metric.
        temperature: Divides the scores.
        residual: Treatment of the mass outside the options: renormalise, count as wrong, count as abstention, or drop.

    Returns:
        A copy with `p`, `mass` (sum of exp(logprob) over the question, whatever the normalisation), `rest` and
        `rest_role`, and `normalisation`, which names all settings ("chars", "none, T=2", "none, as_wrong").
        `p` and `rest` of a question add up to 1.

    Raises:
        InputError: A column is missing, the rows of a question are not contiguous, a log-probability is NaN, bounded or
            above 0, or all options of a question have probability 0.
    """
    _check_name("normalisation", normalisation, Normalisation)
    _check_name("residual policy", residual, Residual)
    if not (np.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature must be a positive number, not {temperature!r}.")
    starts = block_starts(answers)
    _check_values(answers, starts)
    logprob = answers["logprob"].to_numpy(np.float64)
    mass = np.add.reduceat(np.exp(logprob), starts)
    if residual == "renormalise":
        p = _softmax(_scores(answers, logprob, normalisation) / temperature, starts)
        rest = np.zeros(len(starts))
    else:
        p = np.exp(logprob)
        rest = _rest(answers, starts, mass, residual, plain=normalisation == "none" and temperature == 1)
    sizes = np.diff(starts, append=len(answers))
    changes = [f"T={temperature:g}"] * (temperature != 1) + [residual] * (residual != "renormalise")
    return answers.assign(
        p=p,
        mass=np.repeat(mass, sizes),
        rest=np.repeat(rest, sizes),
        rest_role={"as_wrong": "wrong", "as_abstain": "abstain"}.get(residual, "none"),
        normalisation=", ".join([normalisation, *changes]),
    )


def outcomes(p: pd.DataFrame) -> pd.DataFrame:
    """Return the probabilities summed by role, and the most probable outcome, one row per question.

    Abstention is one outcome: its phrasings are summed, for the probabilities and for the choice. The choice is the
    most probable outcome. Ties are split equally, so the `chosen_*` columns of a question add up to 1.

    Args:
        p: A table returned by `probabilities`.

    Returns:
        question_id, tags, and `n_options`, `n_correct` (abstentions not counted), `n_abstain`; `p_correct`, `p_wrong`,
        `p_abstain`, `p_none`, which add up to 1; `mass`, `normalisation`, `low_mass` (below `LOW_MASS`, or `faint`
        among the questions of its model and style; a warning names benchmarks that are faint as a whole), `no_abstain`;
        `choice` (first option at ties) with `choice_role`, `choice_p`, `tie`, `chosen_correct`, `chosen_wrong`,
        `chosen_abstain`; and, with abstention excluded (NaN if it has all the mass), `answer_correct` (a fraction at
        ties), `answer_confidence` (probability among the answers) and `joint_confidence` (probability among all
        options).

    Raises:
        InputError: `probabilities` was not applied, or an abstention phrase is a prefix of another.
    """
    missing = [name for name in ("p", "rest", "rest_role", *READING) if name not in p.columns]
    if missing:
        raise InputError(f"The table lacks {', '.join(missing)}; pass the result of probabilities(answers).")
    starts = block_starts(p)
    codes = _role_codes(p)
    _check_abstain_phrases(p, starts, codes)
    sizes = np.diff(starts, append=len(p))
    first = p.iloc[starts]
    prob = p["p"].to_numpy(np.float64)
    role: dict[str, Bools] = {name: codes == k for k, name in enumerate(ROLES)}
    rest, rest_role = first["rest"].to_numpy(np.float64), first["rest_role"].to_numpy(object)
    table = first[["question_id", *tag_columns(p)]].reset_index(drop=True)
    table["n_abstain"] = np.add.reduceat(role["abstain"].astype(np.int64), starts)
    table["n_options"] = sizes - table["n_abstain"]
    table["n_correct"] = np.add.reduceat(role["correct"].astype(np.int64), starts)
    for name in role:
        table[f"p_{name}"] = np.add.reduceat(np.where(role[name], prob, 0.0), starts) + rest * (rest_role == name)
    for column in READING:
        table[column] = first[column].to_numpy()
    table["low_mass"] = (table["mass"] < LOW_MASS) | _faint_in_style(table)
    table["no_abstain"] = table["n_abstain"] == 0
    return table.assign(**_choice(prob, role, starts, sizes))


def levels(
    answers: pd.DataFrame,
    *,
    by: str = "value",
    forms: Forms = "sum",
    normalisation: Normalisation = "none",
    nested: Nested = "refuse",
    hidden: Hidden = "refuse",
) -> pd.DataFrame:
    """Return the distribution over labels of each question, with the surface forms of a label combined.

    Options with equal `by` are surface forms of one label. Forms with the tokens of an earlier form (`duplicate`) count
    once. Options with role `abstain` are not labels.

    Args:
        answers: The answers table, log-probabilities in nats.
        by: Column with the label; labels are sorted by it.
        forms: `sum` adds the forms of a label; `max` takes its most probable form (OpinionQA); `best` takes the
            spelling (the white space before the text) with the most mass over all labels (folktexts).
        normalisation: Applied to the log-probability of each form before the softmax, as in `probabilities`.
        nested: The probability of a label contains that of every label it is a prefix of. `refuse` raises an error,
            `keep` ignores it, and `split` makes numbers in digits exclusive: "8" minus "80" ... "89", if those have
            one token more. `split` refuses other nested labels.
        hidden: Options not shown by a server are refused, or count with their lower bound (`bounds`).

    Returns:
        question_id, tags and `LEVELS`, one row per question and label: `level` (0 for the lowest value), `value`,
        `position` (its first option), `p` (adds up to 1 per question, NaN if no label has mass), `mass` (probability
        of all labels), `abstain` (abstentions as a proportion of all mass), `prob_low` and `prob_high` (bounds of the
        label's own probability, different if forms were hidden), and `unseen` (number of forms with probability 0).

    Raises:
        InputError: An option has no label, a question has fewer than two labels, a log-probability is invalid, labels
            are nested, or options are hidden.
    """
    _check_name("way of joining forms", forms, Forms)
    _check_name("normalisation", normalisation, Normalisation)
    _check_name("rule for nested labels", nested, Nested)
    _check_name("rule for hidden options", hidden, Hidden)
    starts = block_starts(answers)
    if hidden == "refuse":
        require_shown(answers)
    low, high = _ends(answers)
    block = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(answers)))
    is_label = (answers["role"] != "abstain").to_numpy()
    if (bad := is_label & answers[by].isna().to_numpy()).any():
        row = answers.iloc[int(bad.argmax())]
        raise InputError(f"Option {row['text']!r} of question {row['question_id']!r} has no {by}; give each label one.")
    codes, values = pd.factorize(answers[by], sort=True)
    least, most = _exclusive(answers, starts, np.exp(low), np.exp(high), nested)
    weight = least if nested == "split" else _weights(answers, low, normalisation, block, starts)
    if "duplicate" in answers:
        once = ~answers["duplicate"].to_numpy(bool)
        least, most, weight = least * once, most * once, weight * once
    abstained = np.bincount(block[~is_label], least[~is_label], len(starts))
    if forms == "best":
        is_label = is_label & _in_best_spelling(answers, block, np.where(is_label, least, 0.0))
    rows = np.flatnonzero(is_label)
    keys, first, label = np.unique(block[rows] * len(values) + codes[rows], return_index=True, return_inverse=True)
    question, code = np.divmod(keys, len(values))
    sizes = np.bincount(question, minlength=len(starts))
    if (sizes < 2).any():
        name = answers["question_id"].iloc[int(starts[(sizes < 2).argmax()])]
        raise InputError(f"Question {name!r} needs at least two labels, but all its options have the same {by}.")
    weights = np.zeros(len(keys))
    (np.maximum if forms == "max" else np.add).at(weights, label, weight[rows])
    prob_low, prob_high = (np.bincount(label, ends[rows]) for ends in (least, most))
    mass, total = (np.bincount(question, part) for part in (prob_low, weights))
    with np.errstate(invalid="ignore"):
        p, abstain = weights / total[question], abstained / (abstained + mass)
    tags = [name for name in tag_columns(answers) if name != by]
    return added(
        answers[["question_id", *tags]].iloc[starts[question]].reset_index(drop=True),
        level=np.arange(len(keys)) - (np.cumsum(sizes) - sizes)[question],
        value=np.asarray(values)[code],
        position=answers["option"].to_numpy()[rows[first]],
        p=p,
        mass=mass[question],
        abstain=abstain[question],
        prob_low=prob_low,
        prob_high=prob_high,
        unseen=np.bincount(label, low[rows] == -np.inf).astype(np.int64),
    )


def averaged(levels: pd.DataFrame, over: Sequence[str], weigh: Weigh = "p") -> pd.DataFrame:
    """Return distributions averaged over some tags (orders, formats, samples), per combination of the other tags.

    Args:
        levels: Returned by `levels`.
        over: Tags to average over. The `question_id` of an average is that of its first question.
        weigh: Average the distributions with equal weight (`p`), or weighted by the mass of each (`mass`).

    Returns:
        As `levels`, without `over`: means (`p` NaN if one of them is), the sum of `unseen`, and `position` NaN if it
        differed.

    Raises:
        InputError: A tag is missing, or distributions with different numbers of labels would be averaged.
    """
    if missing := [name for name in over if name not in levels]:
        raise unknown("tag", missing[0], [str(name) for name in levels.columns if name not in LEVELS])
    tags = [str(name) for name in levels.columns if name not in {"question_id", *over, *LEVELS}]
    groups = levels.groupby([*tags, "level"], sort=False, dropna=False)
    means = groups[["p", "mass", "abstain", "prob_low", "prob_high"]].mean()
    table = groups[["question_id", "value"]].first().join(means).assign(unseen=groups["unseen"].sum())
    table["position"] = groups["position"].first().where(groups["position"].nunique() == 1)
    table["p"] = table["p"].where(groups["p"].count() == groups.size())
    n, table = groups.size().to_numpy(), table.reset_index()[["question_id", *tags, *LEVELS]]
    starts = np.flatnonzero(table["level"].to_numpy() == 0)
    sizes = np.diff(starts, append=len(table))
    if (bad := n != np.repeat(n[starts], sizes)).any():
        name = _first_question(table, bad)
        raise InputError(f"Question {name!r} was read on scales of different size; average over one scale.")
    if weigh == "mass":
        mass = np.repeat(np.add.reduceat(table["prob_low"].to_numpy(), starts), sizes)
        table["p"] = np.divide(table["prob_low"], mass, out=np.full(len(mass), np.nan), where=mass > 0)
    return table


def wide(levels: pd.DataFrame, column: str = "p") -> tuple[pd.DataFrame, NDArray[Any], Floats]:
    """Return question_id and tags of each question, the label values `[labels]`, and a column `[questions, labels]`.

    Raises:
        InputError: The questions have different labels.
    """
    keys = levels[levels["level"] == 0].drop(columns=list(LEVELS)).reset_index(drop=True)
    size = len(levels) // max(len(keys), 1)
    values = levels["value"].to_numpy()
    if len(levels) != size * len(keys) or (values.reshape(-1, size) != values[:size]).any():
        raise InputError("The questions have different labels; pass one scale at a time.")
    return keys, values[:size], np.array(levels[column], np.float64).reshape(-1, size)


def expected(levels: pd.DataFrame) -> pd.DataFrame:
    """Return the summary statistics of each distribution over numeric labels, one row per question.

    Returns:
        question_id, tags, `mean` (of the value), `entropy` (nats), `mode` (level; the first at ties), `tie`, `p_max`,
        `n_levels`, `mass` and `abstain`.
    """
    level, p = levels["level"].to_numpy(), levels["p"].to_numpy(np.float64)
    starts = np.flatnonzero(level == 0)
    sizes = np.diff(starts, append=len(levels))
    top = np.maximum.reduceat(p, starts)
    best = p >= np.repeat(top, sizes) * (1 - TIE)
    columns = [name for name in levels.columns if name not in LEVELS or name in ("mass", "abstain")]
    return added(
        levels[columns].iloc[starts].reset_index(drop=True),
        mean=np.add.reduceat(p * levels["value"].to_numpy(np.float64), starts),
        entropy=np.add.reduceat(-p * np.log(np.where(p > 0, p, 1.0)), starts),
        mode=np.where(np.isnan(top), np.nan, np.minimum.reduceat(np.where(best, level, len(p)), starts)),
        tie=np.add.reduceat(best.astype(np.int64), starts) > 1,
        p_max=top,
        n_levels=sizes,
    )


def added(table: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """Return the table with new columns.

    Raises:
        InputError: The table has a column of that name, such as a user's tag.
    """
    if taken := [name for name in columns if name in table.columns]:
        raise InputError(f"The table has a column {taken[0]!r} already, which this step writes; rename that tag.")
    return table.assign(**columns)


def faint(mass: ArrayLike, benchmark: ArrayLike | None = None) -> Bools:
    """Flag questions whose options have much less mass than usual, which points to the prompt.

    Args:
        mass: Mass of each question, `[questions]`, of one model in one style.
        benchmark: Benchmark of each question, `[questions]`, if there are several.

    Returns:
        `[questions]`: True if the mass of a question is below a quarter of the median, or the median of its benchmark
        is below a quarter of the median of the other benchmarks' medians.
    """
    masses = np.asarray(mass, np.float64)
    low = np.asarray(masses < FAINT * np.median(masses) if len(masses) else np.zeros(0), bool)
    if benchmark is not None:
        names = np.asarray(benchmark, object)
        low |= np.isin(names, list(_faint_benchmarks(masses, names)))
    return low


def _faint_benchmarks(mass: Floats, benchmark: NDArray[Any]) -> dict[Any, tuple[float, float]]:
    """Faint benchmark -> its median mass, and the median of the other benchmarks' medians."""
    medians = pd.Series(mass).groupby(benchmark).median()
    both = {name: (float(medians[name]), float(medians.drop(name).median())) for name in medians.index}
    return {name: (median, others) for name, (median, others) in both.items() if median < FAINT * others}


def _faint_in_style(table: pd.DataFrame) -> Bools:
    """`faint` within each model and style of a table of outcomes; warns of faint benchmarks."""
    low = np.zeros(len(table), bool)
    groups = [name for name in ("model", "style") if name in table.columns]
    parts = table.groupby(groups, dropna=False, sort=False).indices.values() if groups else [np.arange(len(table))]
    for rows in parts:
        mass = table["mass"].to_numpy(np.float64)[rows]
        names = table["benchmark"].to_numpy(object)[rows] if "benchmark" in table.columns else None
        low[rows] = faint(mass, names)
        for name, (median, others) in (_faint_benchmarks(mass, names) if names is not None else {}).items():
            if others >= LOW_MASS:
                warnings.warn(
                    f"The options of {name!r} have a median mass of {median:.2g}, those of the other benchmarks "
                    f"{others:.2g}; check that its prompts ask for what is scored.",
                    stacklevel=3,
                )
    return low


def tag_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that are tags: all that neither extraction nor `probabilities` writes."""
    return [str(name) for name in table.columns if name not in {*EXTRACTED, *ADDED}]


def bounded(answers: pd.DataFrame) -> Bools:
    """Flag the options that a server did not show, so that their log-probability is an interval, `[rows]`."""
    flags = answers["bounded"].eq(True) if "bounded" in answers.columns else np.zeros(len(answers), bool)
    return np.asarray(flags, bool)


def require_shown(answers: pd.DataFrame) -> None:
    """Raise InputError if an option is flagged `bounded`."""
    hidden = bounded(answers)
    if hidden.any():
        name = _first_question(answers, hidden)
        raise InputError(
            f"{hidden.sum()} options, the first of question {name!r}, were not shown by the server and are known as "
            "intervals only; use answers.probability_bounds(answers), or leave those questions out."
        )


def logprob_ends(answers: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return lower and upper bounds of each log-probability, `[rows]` each, in nats; equal where it was shown."""
    logprob = answers["logprob"].to_numpy(np.float64)
    hidden = bounded(answers)
    if not hidden.any():
        return logprob, logprob
    low, high = (answers[name].to_numpy(np.float64) for name in BOUNDS[:2])
    return np.where(hidden, low, logprob), np.where(hidden, high, logprob)


def block_starts(answers: pd.DataFrame) -> Ints:
    """Return the row number of the first option of each question, `[questions]`.

    Raises:
        InputError: The table is empty, lacks a column, or the rows of a question are not contiguous.
    """
    missing = [name for name in NEEDED if name not in answers.columns]
    if missing:
        raise InputError(f"The answers table lacks the column {missing[0]!r}; it needs {', '.join(NEEDED)}.")
    if answers.empty:
        raise InputError("The answers table is empty; ask at least one question.")
    option = answers["option"].to_numpy()
    first = option == 0
    starts = np.flatnonzero(first).astype(np.int64)
    block = np.cumsum(first) - 1
    ids = pd.factorize(answers["question_id"])[0]
    torn = option != np.arange(len(option)) - starts[block] if len(starts) else np.ones(len(option), bool)
    torn |= np.concatenate([[False], (ids[1:] != ids[:-1]) & ~first[1:]])
    if torn.any():
        name = _first_question(answers, torn)
        raise InputError(
            f"The options of question {name!r} are not numbered 0, 1, 2 ... in adjacent rows; restore them."
        )
    return starts


def probability_bounds(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the interval of each option's probability among the options of its question.

    If the probability of the option is in [l, h] and the sum of the others in [L, H], its proportion is in
    [l / (l + H), h / (h + L)]. Both ends are attained if the bounds of the options are independent.

    Args:
        answers: The answers table; rows that are not flagged `bounded` are exact.

    Returns:
        A copy with `p_low` and `p_high`, and `mass_low` and `mass_high`, the bounds of the mass of all options.

    Raises:
        InputError: A log-probability is NaN and not bounded, or above 0.
    """
    starts = block_starts(answers)
    low, high = (np.exp(ends) for ends in _ends(answers))
    sizes = np.diff(starts, append=len(answers))
    low_sum, high_sum = (np.repeat(np.add.reduceat(x, starts), sizes) for x in (low, high))
    return answers.assign(
        p_low=_proportion(low, high_sum - high),
        p_high=_proportion(high, low_sum - low),
        mass_low=low_sum,
        mass_high=high_sum,
    )


def outcome_bounds(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the intervals of the probabilities summed by role, and the most probable option if it is certain.

    Args:
        answers: The answers table, as for `probability_bounds`.

    Returns:
        One row per question: `question_id`, tags, `n_bounded`, `p_correct_low`, `p_correct_high`, and likewise for
        `wrong`, `abstain` and `none`; `mass_low` and `mass_high`; `choice`, the option that is most probable for every
        value within the bounds, or NaN.
    """
    starts = block_starts(answers)
    low, high = (np.exp(ends) for ends in _ends(answers))
    table = answers[["question_id", *tag_columns(answers)]].iloc[starts].reset_index(drop=True)
    table["n_bounded"] = np.add.reduceat(bounded(answers).astype(np.int64), starts)
    role = answers["role"].to_numpy()
    low_sum, high_sum = (np.add.reduceat(x, starts) for x in (low, high))
    for name in ROLES:
        role_low, role_high = (np.add.reduceat(np.where(role == name, x, 0.0), starts) for x in (low, high))
        table[f"p_{name}_low"] = _proportion(role_low, high_sum - role_high)
        table[f"p_{name}_high"] = _proportion(role_high, low_sum - role_low)
    table["mass_low"], table["mass_high"] = low_sum, high_sum
    ends = pairwise([*starts, len(answers)])
    table["choice"] = [_certain_choice(low[start:end], high[start:end]) for start, end in ends]
    return table


def _ends(answers: pd.DataFrame) -> tuple[Floats, Floats]:
    """`logprob_ends`, checked."""
    low, high = logprob_ends(answers)
    if (bad := np.isnan(low) | np.isnan(high) | (high > 1e-6)).any():
        name = _first_question(answers, bad)
        raise InputError(f"A log-probability of question {name!r} is NaN and not bounded, or above 0; ask it again.")
    return low, high


def _proportion(part: Floats, others: Floats) -> Floats:
    """`part` / (`part` + `others`), NaN where both are 0."""
    whole = part + np.maximum(others, 0.0)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _certain_choice(low: Floats, high: Floats) -> float:
    """The option whose lower bound is above the upper bounds of all others; NaN if there is none."""
    best = int(low.argmax())
    return float(best) if low[best] > np.delete(high, best).max(initial=0.0) else np.nan


def _check_name(what: str, name: str, kind: Any) -> None:
    """Refuse a name that is not one of a `Literal`'s."""
    if name not in get_args(kind):
        raise unknown(what, name, list(get_args(kind)))


def _first_question(answers: pd.DataFrame, rows: NDArray[np.bool_]) -> Any:
    """The id of the first question with a marked row."""
    return answers["question_id"].iloc[int(rows.argmax())]


def _role_codes(answers: pd.DataFrame) -> NDArray[np.intp]:
    codes = pd.Index(ROLES).get_indexer(pd.Index(answers["role"]))
    if (codes < 0).any():
        raise unknown("option role", answers["role"].iloc[int((codes < 0).argmax())], list(ROLES))
    return codes


def _check_values(answers: pd.DataFrame, starts: Ints) -> None:
    """Refuse invalid log-probabilities and lengths, and a text with two roles."""
    logprob = answers["logprob"].to_numpy(np.float64)
    require_shown(answers)
    for wrong, what in ((np.isnan(logprob), "is NaN"), (logprob > 1e-6, "is above 0")):
        if wrong.any():
            name = _first_question(answers, wrong)
            raise InputError(f"A log-probability of question {name!r} {what}; ask it again.")
    dead = np.maximum.reduceat(logprob, starts) == -np.inf
    if dead.any():
        name = answers["question_id"].iloc[int(starts[dead.argmax()])]
        raise InputError(f"Question {name!r} cannot be scored: every option has log-probability -inf; leave it out.")
    for length in LENGTHS:
        if length in answers.columns and (short := answers[length].to_numpy(np.float64) < 1).any():
            name = _first_question(answers, short)
            raise InputError(f"{length} of an option of question {name!r} is below 1; every option has a length.")
    texts, names = pd.factorize(answers["text"])
    key = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(answers))) * (len(names) + 1) + texts
    order = np.argsort(key, kind="stable")
    roles = _role_codes(answers)[order]
    clash = (key[order][1:] == key[order][:-1]) & (roles[1:] != roles[:-1])
    if clash.any():
        row = answers.iloc[int(order[1:][clash.argmax()])]
        raise InputError(
            f"Question {row['question_id']!r} lists option {row['text']!r} under two roles; keep one of them."
        )


def _scores(answers: pd.DataFrame, logprob: Floats, normalisation: Normalisation) -> Floats:
    """The scores before the softmax, `[rows]`."""
    if normalisation == "none":
        return logprob
    column = "logprob_unconditional" if normalisation == "pmi" else f"n_{normalisation}"
    other = answers[column].to_numpy(np.float64) if column in answers.columns else np.full(len(logprob), np.nan)
    if not np.isfinite(other).all():
        remedy = "pass ask(unconditional=...)" if normalisation == "pmi" else "choose another one"
        raise InputError(f"Normalisation {normalisation!r} needs a number in every row of {column!r}; {remedy}.")
    return logprob - other if normalisation == "pmi" else logprob / other


def _exclusive(answers: pd.DataFrame, starts: Ints, low: Floats, high: Floats, nested: Nested) -> tuple[Floats, Floats]:
    """Bounds of each option's probability, `[rows]`, minus the longer numbers that it is a prefix of."""
    if nested == "keep":
        return low, high
    ends = np.append(starts, len(answers))
    texts, names = pd.factorize(answers["text"].astype(str))
    alike: dict[bytes, list[int]] = {}
    for number, (start, end) in enumerate(pairwise(ends.tolist())):
        alike.setdefault(texts[start:end].tobytes(), []).append(number)
    least, most = low.copy(), high.copy()
    for blocks in alike.values():
        at = starts[blocks]
        labels = [str(names[code]) for code in texts[at[0] : ends[blocks[0] + 1]]]
        for i, j in permutations(range(len(labels)), 2):
            short, long = labels[i], labels[j]
            if not long.startswith(short) or (nested == "split" and long == short):
                continue
            if nested == "refuse" or not (short.strip().isdecimal() and long.strip().isdecimal()):
                raise InputError(
                    f"Label {long!r} begins with {short!r}, so their probabilities overlap; rename one of them."
                )
            lengths = answers["n_tokens"].to_numpy(np.int64)
            if len(long) == len(short) + 1 and lengths[at + j].max() > lengths[at + i].max():
                least[at + i] -= high[at + j]
                most[at + i] -= low[at + j]
    return np.maximum(least, 0.0), np.maximum(most, 0.0)


def _weights(answers: pd.DataFrame, low: Floats, normalisation: Normalisation, block: Ints, starts: Ints) -> Floats:
    """Each option's probability up to a factor of its question, `[rows]`; 0 if no option has any."""
    score = _scores(answers, low, normalisation)
    best = np.maximum.reduceat(score, starts)
    return np.exp(score - np.where(np.isfinite(best), best, 0.0)[block])


def _in_best_spelling(answers: pd.DataFrame, block: Ints, prob: Floats) -> Bools:
    """Flag the options whose leading white space is the one with the most mass in their question."""
    text = answers["text"].astype(str)
    code, spellings = pd.factorize(np.array([t[: len(t) - len(t.lstrip())] for t in text], object), sort=True)
    n = len(spellings)
    mass = np.bincount(block * n + code, prob, (block[-1] + 1) * n).reshape(-1, n)
    return np.asarray(code == mass.argmax(axis=1)[block], bool)


def _softmax(scores: Floats, starts: Ints) -> Floats:
    sizes = np.diff(starts, append=len(scores))
    e = np.exp(scores - np.repeat(np.maximum.reduceat(scores, starts), sizes))
    return e / np.repeat(np.add.reduceat(e, starts), sizes)


def _rest(answers: pd.DataFrame, starts: Ints, mass: Floats, residual: Residual, plain: bool) -> Floats:
    """The probability outside the options, `[questions]`."""
    if not plain:
        raise InputError(
            f"residual={residual!r} needs normalisation='none' and temperature=1, because other scores are known up to "
            "a factor only."
        )
    if (mass > 1 + 1e-6).any():
        name = answers["question_id"].iloc[int(starts[mass.argmax()])]
        raise InputError(
            f"The options of question {name!r} have a probability of {mass.max():.6g} in all, so some overlap; remove "
            "duplicates and options that begin with another, or use residual='renormalise'."
        )
    return np.maximum(1 - mass, 0.0)


def _check_abstain_phrases(p: pd.DataFrame, starts: Ints, codes: NDArray[np.intp]) -> None:
    """Refuse an abstention phrase that is a prefix of another, since their probabilities overlap."""
    is_abstain = codes == ROLES.index("abstain")
    several = np.add.reduceat(is_abstain.astype(np.int64), starts) > 1
    rows = np.flatnonzero(is_abstain & np.repeat(several, np.diff(starts, append=len(p))))
    block = np.searchsorted(starts, rows, side="right")
    sets: dict[int, list[str]] = {}
    for number, text in zip(block, p["text"].iloc[rows]):
        sets.setdefault(int(number), []).append(str(text).strip())
    for phrases in {tuple(sorted(each)) for each in sets.values()}:
        for short, long in pairwise(phrases):
            if long.startswith(short):
                raise InputError(
                    f"Abstention phrase {long!r} begins with {short!r}, so their probabilities overlap; keep one of "
                    "them."
                )


def _choice(prob: Floats, role: dict[str, Bools], starts: Ints, sizes: Ints) -> dict[str, Any]:
    """The most probable outcome, and the most probable answer with abstention excluded."""
    best = np.maximum.reduceat(np.where(role["abstain"], -1.0, prob), starts)
    abstain = np.add.reduceat(np.where(role["abstain"], prob, 0.0), starts)
    has_abstain = np.logical_or.reduceat(role["abstain"], starts)
    answer_sum = np.add.reduceat(np.where(role["abstain"], 0.0, prob), starts)
    top = np.maximum(best, np.where(has_abstain, abstain, -1.0))
    tied = ~role["abstain"] & (prob >= np.repeat(best * (1 - TIE), sizes))
    among_best = np.add.reduceat(tied.astype(np.int64), starts)
    answers = best >= top * (1 - TIE)
    abstains = has_abstain & (abstain >= top * (1 - TIE))
    n_top = answers * among_best + abstains
    correct_best = np.add.reduceat((tied & role["correct"]).astype(np.int64), starts)
    wrong_best = np.add.reduceat((tied & role["wrong"]).astype(np.int64), starts)
    chosen = np.where(np.repeat(answers, sizes), tied, role["abstain"])
    choice = np.minimum.reduceat(np.where(chosen, np.arange(len(prob)), len(prob)), starts)
    codes = np.select([role[name] for name in ROLES], list(range(len(ROLES))))
    with np.errstate(invalid="ignore", divide="ignore"):
        possible = np.where(answer_sum > 0, 1.0, np.nan)
        return {
            "choice": choice - starts,
            "choice_role": np.asarray(ROLES, object)[codes[choice]],
            "choice_p": top,
            "tie": n_top > 1,
            "chosen_correct": answers * correct_best / n_top,
            "chosen_wrong": answers * wrong_best / n_top,
            "chosen_abstain": abstains / n_top,
            "answer_correct": possible * correct_best / among_best,
            "answer_confidence": possible * best / answer_sum,
            "joint_confidence": possible * best,
        }
