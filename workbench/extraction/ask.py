"""`ask`: questions in, the answers table out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import progress
from workbench.answers import FLAGS, LENGTHS, RESERVED
from workbench.errors import InputError
from workbench.extraction.backend import Backend, Number, TokenBackend
from workbench.extraction.engine import Local
from workbench.extraction.served import Completions, ExactCompletions
from workbench.extraction.store import AnswerStore, Reading, bound_key, store_of
from workbench.extraction.tokens import Truncate
from workbench.files import RUN_FOLDER, note_down
from workbench.models import Model
from workbench.questions import Question, Tag


def ask(
    model: Model,
    questions: Iterable[Question],
    *,
    unconditional: str | None = None,
    truncate: Truncate = "error",
    store: AnswerStore | bool = True,
    show_progress: bool = True,
) -> pd.DataFrame:
    """The log-likelihood of every option of every question.

    Every prefix that requests share is computed once, across options and across questions. Finished packs are kept in
    the answer store, so a call that was interrupted computes only what is missing, and a call that was answered
    before loads neither tokenizer nor network.

    Args:
        model: Whom to ask.
        questions: What to ask. Ids must differ; ask the same items under another condition in a second call, with
            another tag, and concatenate the tables.
        unconditional: A prompt such as `"Answer:"` after which each option is scored again without its question, for
            pointwise mutual information; None leaves the column undefined.
        truncate: `"error"`, or `"middle"` to cut the middle out of contexts that are too long and flag them.
        store: The model's own store in the cache folder, another one, or False for none.
        show_progress: Whether a bar in tokens is shown when someone watches.

    Returns:
        One row per (question, option), in order: `question_id`, `option`, `text`, `role`, `value`, a column per tag,
        `logprob` (natural log, summed over the option's tokens, float64), `n_tokens`, `n_chars` and `n_bytes` (of the
        text without its leading white space), `logprob_unconditional`, and the flags `boundary_merged`, `truncated`,
        `duplicate` (same tokens as an earlier option) and `prefix` (another option begins with this one, so its
        probability contains the other's). From a server that shows its most probable tokens only, an option it did
        not show has a `logprob` of NaN, is flagged `bounded`, and lies between `logprob_low` and `logprob_high`.
        `attrs` holds counts of this call: `requests_computed`, `requests_stored`, `tokens_computed`, and how they were
        computed: `engine_step`, `engine_gap_nats`, `engine_passed_over`, in half precision
        `engine_half_precision_gap_nats`; of a server also `engine_contract` and what was spent, `server_calls`,
        `server_prompt_tokens`, `server_cost` ...

    Raises:
        InputError: If there are no questions, ids repeat, a prompt is too long, an option has no tokens, the network
            gives a number that is not finite, or a server fails or breaks its contract.
    """
    asked = _checked(questions, unconditional)
    if not isinstance(store, (bool, AnswerStore)):
        raise InputError(f"store={store!r} has to be True, False, or AnswerStore(Path({str(store)!r})).")
    model.check_unchanged() if store is not False else model.check_evaluating()
    everything = list(asked)
    if unconditional is not None:
        everything += [replace(question, prompt=unconditional) for question in asked]
    own = store_of(model.fingerprint) if store is True else nullcontext()
    with own as opened:
        session = _Session(model, store if isinstance(store, AnswerStore) else opened, truncate, show_progress)
        try:
            readings = session.read(everything)
        finally:
            session.counts |= session.backend.facts()
            _noted(session.counts)
    numbers = [session.known[reading.key] for reading in readings]
    table = _table(asked, readings, np.array([number.logprob for number in numbers]))
    if session.backend.bounded:
        table = table.assign(**_bounds(table["logprob"], [number.high for number in numbers[: len(table)]]))
    table.attrs.update(session.counts)
    return table


def backend_of(model: Model) -> Backend:
    """What reads a model, made anew for each call."""
    if model.server is None:
        return Local(model)
    return (ExactCompletions if model.server.address.exact else Completions)(model, Local)


def tokens_of(model: Model, what: str) -> TokenBackend:
    """What reads a model token by token.

    Args:
        model: The model.
        what: What is to be read, for the message, as "Generated text".

    Raises:
        InputError: If it gives numbers of whole answers only.
    """
    backend = backend_of(model)
    if not isinstance(backend, TokenBackend):
        raise InputError(
            f"{what} cannot be read from {model.name!r}, which does not give the log-probability of every token; use a "
            "vLLM server (vllm://...) or a model on this machine."
        )
    return backend


def _noted(counts: dict[str, str | int | float]) -> None:
    """Tells the run under way, if there is one, what a call took, also one that failed on the way."""
    if folder := os.environ.get(RUN_FOLDER):
        with suppress(OSError):  # a full disk: the answers are kept
            note_down(Path(folder), "asked", counts)


def tally(tables: Iterable[pd.DataFrame]) -> dict[str, str | int | float]:
    """What several calls of `ask` did, for the record of a run.

    Args:
        tables: Answers as `ask` returned them, each with its `attrs`.

    Returns:
        `requests_computed`, `requests_stored` and `tokens_computed` in all; how many options another one begins with
        (`prefix_options`), have the tokens of an earlier one (`duplicate_options`), were encoded apart from a prompt
        they merge with (`merged_options`) or follow one whose middle was cut out (`truncated_options`); and the
        engine's step, gap on its probes (nats) and faster steps passed over, where it computed; of a server also what
        was spent, and the number of options it did not show (`bounded_options`).
    """
    given = list(tables)
    found: dict[str, str | int | float] = {
        name: sum(int(table.attrs.get(name, 0)) for table in given)
        for name in ("requests_computed", "requests_stored", "tokens_computed")
    }
    for flag in ("prefix", "duplicate", "boundary_merged", "truncated"):
        found[f"{flag.removeprefix('boundary_')}_options"] = sum(int(table[flag].sum()) for table in given)
    if any("bounded" in table for table in given):
        found["bounded_options"] = sum(int(table["bounded"].sum()) for table in given if "bounded" in table)
    for name in dict.fromkeys(str(name) for table in given for name in table.attrs if str(name).startswith("server_")):
        found[name] = sum(table.attrs.get(name, 0) for table in given)
    for table in given:
        found |= {str(name): value for name, value in table.attrs.items() if str(name).startswith("engine_")}
    return found


def _checked(questions: Iterable[Question], unconditional: str | None) -> list[Question]:
    """The questions as a list, refused before anything is computed when they cannot be asked together."""
    asked = list(questions) if isinstance(questions, Iterable) else []
    if not asked or not all(isinstance(question, Question) for question in asked):
        raise InputError(
            "There are no questions to ask; give a list of Question objects, or what load_questions returns."
        )
    seen: set[str] = set()
    for question in asked:
        if question.id in seen:
            raise InputError(
                f"Question id {question.id!r} stands twice in one call; ask each condition in a call of its own."
            )
        seen.add(question.id)
        if unconditional is not None and not isinstance(question.prompt, str):
            raise InputError(
                f"Question {question.id!r} is a chat, whose options begin without a space; unconditional scores need "
                "plain-text prompts (chat=False)."
            )
        for name in question.tags:
            if name in RESERVED:
                raise InputError(
                    f"Question {question.id!r} has a tag {name!r}, which is a column of answers; rename it."
                )
    return asked


class _Session:
    """One call of `ask`: what is known already, what has to be encoded, what has to be computed."""

    def __init__(self, model: Model, store: AnswerStore | None, truncate: Truncate, show_progress: bool) -> None:
        self.backend = backend_of(model)
        self.store = store
        self.truncate: Truncate = truncate
        self.show_progress = show_progress
        self.known: dict[bytes, Number] = {}
        self.counts: dict[str, str | int | float] = {"requests_computed": 0, "tokens_computed": 0}

    def read(self, questions: Sequence[Question]) -> list[Reading]:
        """One reading per option of every question; afterwards `known` has a number for each."""
        texts = [self.backend.keys(question, self.truncate) for question in questions]
        flat = list(dict.fromkeys(key for keys in texts for key in keys))
        readings = self.store.get_readings(flat) if self.store is not None else {}
        self._look_up({reading.key for reading in readings.values()})
        new = [
            (question, keys)
            for question, keys in zip(questions, texts)
            if any(key not in readings or readings[key].key not in self.known for key in keys)
        ]
        if new:
            readings |= self._prepare_and_compute(new)
        result = [readings[key] for keys in texts for key in keys]
        self.counts["requests_stored"] = len({r.key for r in result}) - int(self.counts["requests_computed"])
        return result

    def _prepare_and_compute(self, new: Sequence[tuple[Question, list[bytes]]]) -> dict[bytes, Reading]:
        """Prepare these questions, compute the numbers that are missing, and keep both as they come."""
        prepared = self.backend.prepare([question for question, _ in new], self.truncate)
        readings = {key: made for (_, keys), options in zip(new, prepared) for key, made in zip(keys, options)}
        wanted = dict.fromkeys(made.key for options in prepared for made in options)
        self._look_up(wanted)
        if self.store is not None:
            self.store.put_readings(readings)
        if missing := [key for key in wanted if key not in self.known]:
            total, found = self.backend.run(missing)
            with progress.bar(total, self.backend.label, self.show_progress) as advance:
                for tokens, numbers in found:
                    self._keep(numbers)
                    advance(tokens)
                    for name, more in (("requests_computed", len(numbers)), ("tokens_computed", tokens)):
                        self.counts[name] = int(self.counts[name]) + more
        return readings

    def _look_up(self, keys: Iterable[bytes]) -> None:
        """Take what the store has of these numbers, or the most they can be."""
        if self.store is None:
            return
        keys = list(keys)
        self.known |= {key: Number(value) for key, value in self.store.get(keys).items()}
        if self.backend.bounded:
            by_bound = {bound_key(key): key for key in keys if key not in self.known}
            bounds = self.store.get(list(by_bound))
            self.known |= {by_bound[bound]: Number(np.nan, high) for bound, high in bounds.items()}

    def _keep(self, numbers: Mapping[bytes, Number]) -> None:
        """Take these numbers, and put them or their bounds into the store."""
        self.known |= numbers
        if self.store is not None and numbers:
            self.backend.check_unchanged()
            exact = {key: each.logprob for key, each in numbers.items() if not np.isnan(each.logprob)}
            self.store.put(exact | {bound_key(k): each.high for k, each in numbers.items() if k not in exact})


def _bounds(logprob: pd.Series, high: Sequence[float]) -> dict[str, np.ndarray]:
    """The columns of answers that may be known as an interval only."""
    bounded = logprob.isna().to_numpy()
    low = np.where(bounded, -np.inf, logprob)
    return {"logprob_low": low, "logprob_high": np.where(bounded, high, logprob), "bounded": bounded}


def _table(questions: Sequence[Question], readings: Sequence[Reading], values: np.ndarray) -> pd.DataFrame:
    """The answers table from values `[options]` or, with the unconditional ones behind, `[2 * options]`."""
    tags = list(dict.fromkeys(name for question in questions for name in question.tags))
    n = sum(len(question.options) for question in questions)
    bare = values[n:] if len(values) > n else np.full(n, np.nan)
    rows: list[tuple[Tag, ...]] = []
    for question in questions:
        tagged = [question.tags.get(name) for name in tags]
        ordered = sorted({option.text for option in question.options})
        begun = {text for text, behind in pairwise(ordered) if behind.startswith(text)}
        seen: set[bytes] = set()
        for i, option in enumerate(question.options):
            at, reading, text = len(rows), readings[len(rows)], option.text
            value = np.nan if option.value is None else option.value
            visible = text.lstrip()
            n_tokens = np.nan if reading.n_tokens is None else reading.n_tokens
            lengths = (n_tokens, len(visible), len(visible.encode()))
            flags = (reading.boundary_merged, reading.truncated, reading.key in seen, text in begun)
            rows.append((question.id, i, text, option.role, value, *tagged, values[at], *lengths, bare[at], *flags))
            seen.add(reading.key)
    asked = ["question_id", "option", "text", "role", "value", *tags]
    found = ["logprob", *LENGTHS, "logprob_unconditional", *FLAGS]
    return pd.DataFrame.from_records(rows, columns=[*asked, *found])
