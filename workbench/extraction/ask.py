"""`ask`: from questions to the answers table."""

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
from workbench.answers import BOUNDS, FLAGS, LENGTHS, RESERVED
from workbench.errors import InputError
from workbench.extraction.backend import Backend, Facts, Number, TokenBackend
from workbench.extraction.chats import Chats
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
    """Return the log-likelihood of every option of every question.

    Prefixes shared by options or questions are computed once. Finished batches are saved in the answer store: an
    interrupted call computes only what is missing, and a repeated call loads neither tokenizer nor network. Counts of
    the call are added to the record of the current run.

    Args:
        model: A local or served model.
        questions: Questions with different ids. Ask the same items under another condition in a second call, with
            another tag, and concatenate the tables.
        unconditional: A prompt such as `"Answer:"` after which each option is scored again without its question, for
            PMI normalisation. None leaves that column NaN.
        truncate: `"error"`, or `"middle"` to cut the middle out of contexts that are too long and flag them.
        store: True for the model's store in the cache folder, another store, or False for none.
        show_progress: Whether to show a progress bar in interactive sessions.

    Returns:
        One row per (question, option), in order: `question_id`, `option`, `text`, `role`, `value`, one column per tag,
        `logprob` (nats, summed over the option's tokens, float64), `n_tokens`, `n_chars` and `n_bytes` (of the text
        without leading white space), `logprob_unconditional`, and the flags `boundary_merged` (option and prompt were
        tokenised separately), `truncated`, `duplicate` (same tokens as an earlier option) and `prefix` (another option
        begins with this one, so its probability contains the other's). If a server shows its most probable tokens
        only, an option it does not show has `logprob` NaN, is flagged `bounded`, and lies between `logprob_low` and
        `logprob_high`. `attrs` has counts of this call: `requests_computed`, `requests_stored`, `tokens_computed`,
        `requests_not_kept` if the store can only be read, and the number of options with each flag (`prefix_options`
        ...); the scoring method (`engine_step`, `engine_gap_nats`, `engine_passed_over`, in half precision
        `engine_half_precision_gap_nats`, on an Apple GPU `engine_device_gap_nats`); and for a server
        `engine_contract`, `server_calls`, `server_prompt_tokens`, `server_cost` ...

    Raises:
        InputError: There are no questions, ids repeat, a prompt is too long, an option has no tokens, the network
            returns a number that is not finite, or a server fails or breaks its contract.
    """
    questions = _checked(questions, unconditional)
    if not isinstance(store, (bool, AnswerStore)):
        raise InputError(f"store must be True, False or AnswerStore(Path({str(store)!r})), not {store!r}.")
    model.check_unchanged() if store is not False else model.check_evaluating()
    scored = list(questions)
    if unconditional is not None:
        scored += [replace(question, prompt=unconditional) for question in questions]
    given = store if isinstance(store, AnswerStore) else None
    with store_of(model.fingerprint, model.name) if store is True else nullcontext(given) as opened:
        session = _Session(model, opened, truncate, show_progress)
        try:
            readings = session.read(scored)
            numbers = [session.known[reading.key] for reading in readings]
            table = _table(questions, readings, np.array([number.logprob for number in numbers]))
            if session.backend.bounded:
                table = table.assign(**_bounds(table["logprob"], [number.high for number in numbers[: len(table)]]))
            session.counts |= _flag_counts(table)
        finally:
            session.counts |= session.backend.facts()
            _record(session.counts)
    table.attrs.update(session.counts)
    return table


def backend_of(model: Model) -> Backend:
    """Return a new backend that reads a model."""
    if model.server is None:
        return Local(model)
    if model.server.address.chat:
        return Chats(model, Local)
    return (ExactCompletions if model.server.address.exact else Completions)(model, Local)


def tokens_of(model: Model, what: str) -> TokenBackend:
    """Return a backend that reads a model token by token.

    Args:
        model: The model.
        what: What is to be read, for the message, such as "Generated text".

    Raises:
        InputError: The model gives numbers of whole answers only.
    """
    backend = backend_of(model)
    if not isinstance(backend, TokenBackend):
        raise InputError(
            f"{what} cannot be read from {model.name!r}, which does not give the log-probability of every token; use a "
            "vLLM server (vllm://...) or a local model."
        )
    return backend


def _record(counts: Facts) -> None:
    """Add the counts of a call to the record of the current run, if there is one."""
    if folder := os.environ.get(RUN_FOLDER):
        with suppress(OSError):  # a full disk: the answers are in the store
            note_down(Path(folder), "ask", counts)


def _checked(questions: Iterable[Question], unconditional: str | None) -> list[Question]:
    """The questions as a list, checked before anything is computed."""
    questions = list(questions) if isinstance(questions, Iterable) else []
    if not questions or not all(isinstance(question, Question) for question in questions):
        raise InputError("There are no questions; pass a list of Question objects, or the result of load_questions.")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise InputError(
                f"Question id {question.id!r} occurs twice in one call; ask each condition in a separate call."
            )
        seen.add(question.id)
        if unconditional is not None and not isinstance(question.prompt, str):
            raise InputError(
                f"Question {question.id!r} is a chat, whose options begin without a space; unconditional scores need "
                "plain-text prompts (chat=False)."
            )
        if reserved := [name for name in question.tags if name in RESERVED]:
            raise InputError(
                f"Question {question.id!r} has a tag {reserved[0]!r}, which is a column of answers; rename it."
            )
    return questions


class _Session:
    """One call of `ask`: looks up, encodes and computes."""

    def __init__(self, model: Model, store: AnswerStore | None, truncate: Truncate, show_progress: bool) -> None:
        self.backend = backend_of(model)
        self.store = store
        self.truncate: Truncate = truncate
        self.show_progress = show_progress
        self.known: dict[bytes, Number] = {}
        self.counts: Facts = {"requests_computed": 0, "tokens_computed": 0}

    def read(self, questions: Sequence[Question]) -> list[Reading]:
        """Return one reading per option of every question, and fill `known` with their numbers."""
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
        """Encode these questions, compute the missing numbers, and store both batch by batch."""
        prepared = self.backend.prepare([question for question, _ in new], self.truncate)
        readings = {key: reading for (_, keys), options in zip(new, prepared) for key, reading in zip(keys, options)}
        needed = dict.fromkeys(reading.key for options in prepared for reading in options)
        self._look_up(needed)
        if self.store is not None:
            self.store.put_readings(readings)
        if missing := [key for key in needed if key not in self.known]:
            total, batches = self.backend.run(missing)
            with progress.bar(total, self.backend.label, self.show_progress) as advance:
                for tokens, numbers in batches:
                    self._add(numbers)
                    advance(tokens)
                    for name, more in (("requests_computed", len(numbers)), ("tokens_computed", tokens)):
                        self.counts[name] = int(self.counts[name]) + more
        return readings

    def _look_up(self, keys: Iterable[bytes]) -> None:
        """Read these numbers, or their upper bounds, from the store."""
        if self.store is None:
            return
        keys = list(keys)
        self.known |= {key: Number(value) for key, value in self.store.get(keys).items()}
        if self.backend.bounded:
            by_bound = {bound_key(key): key for key in keys if key not in self.known}
            bounds = self.store.get(list(by_bound))
            self.known |= {by_bound[bound]: Number(np.nan, high) for bound, high in bounds.items()}

    def _add(self, numbers: Mapping[bytes, Number]) -> None:
        """Add these numbers, and write them or their bounds to the store."""
        self.known |= numbers
        if self.store is not None and numbers:
            self.backend.check_unchanged()
            exact = {key: each.logprob for key, each in numbers.items() if not np.isnan(each.logprob)}
            if not self.store.put(exact | {bound_key(k): each.high for k, each in numbers.items() if k not in exact}):
                self.counts["requests_not_kept"] = int(self.counts.get("requests_not_kept", 0)) + len(numbers)


def _bounds(logprob: pd.Series, high: Sequence[float]) -> dict[str, np.ndarray]:
    """The columns of answers that can be intervals."""
    bounded = logprob.isna().to_numpy()
    columns = np.where(bounded, -np.inf, logprob), np.where(bounded, high, logprob), bounded
    return dict(zip(BOUNDS, columns))


def _flag_counts(answers: pd.DataFrame) -> dict[str, int]:
    """The number of options with each flag."""
    flags = [name for name in (*FLAGS, "bounded") if name in answers]
    return {f"{name.removeprefix('boundary_')}_options": int(answers[name].sum()) for name in flags}


def _table(questions: Sequence[Question], readings: Sequence[Reading], values: np.ndarray) -> pd.DataFrame:
    """The answers table from values `[options]`, or `[2 * options]` with the unconditional ones at the end."""
    tags = list(dict.fromkeys(name for question in questions for name in question.tags))
    n = sum(len(question.options) for question in questions)
    unconditional = values[n:] if len(values) > n else np.full(n, np.nan)
    rows: list[tuple[Tag, ...]] = []
    for question in questions:
        tagged = [question.tags.get(name) for name in tags]
        ordered = sorted({option.text for option in question.options})
        prefixes = {text for text, following in pairwise(ordered) if following.startswith(text)}
        seen: set[bytes] = set()
        for i, option in enumerate(question.options):
            at, reading, text = len(rows), readings[len(rows)], option.text
            value = np.nan if option.value is None else option.value
            visible = text.lstrip()
            n_tokens = np.nan if reading.n_tokens is None else reading.n_tokens
            numbers = (values[at], n_tokens, len(visible), len(visible.encode()), unconditional[at])
            flags = (reading.boundary_merged, reading.truncated, reading.key in seen, text in prefixes)
            rows.append((question.id, i, text, option.role, value, *tagged, *numbers, *flags))
            seen.add(reading.key)
    columns = ["question_id", "option", "text", "role", "value", *tags]
    return pd.DataFrame.from_records(rows, columns=[*columns, "logprob", *LENGTHS, "logprob_unconditional", *FLAGS])
