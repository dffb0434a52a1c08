"""`ask`: questions in, the answers table out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.answers import FLAGS, LENGTHS, RESERVED
from workbench.errors import InputError
from workbench.extraction import contract, engine, progress, served
from workbench.extraction import trie as tries
from workbench.extraction.store import AnswerStore, Reading, bound_key, request_key, store_of, text_keys
from workbench.extraction.tokens import Encoder, Request, Truncate
from workbench.files import RUN_FOLDER, note_down
from workbench.models import Model
from workbench.models.server import Server
from workbench.questions import Question, Tag

ROUNDED = 1e-3
"""Nats above 0 to which rounding may lift the log-probability of a token that is all but certain."""


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
            _noted(session.counts)
    table = _table(asked, readings, np.array([session.known.get(reading.key, np.nan) for reading in readings]))
    if model.server is not None and not model.server.address.exact:
        high = [session.highest.get(reading.key, np.nan) for reading in readings[: len(table)]]
        table = table.assign(**_bounds(table["logprob"], high))
    table.attrs.update(session.counts)
    return table


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
        self.model = model
        self.store = store
        self.truncate: Truncate = truncate
        self.show_progress = show_progress
        self.known: dict[bytes, float] = {}
        self.highest: dict[bytes, float] = {}
        self.counts: dict[str, str | int | float] = {"requests_computed": 0, "tokens_computed": 0}
        self.tier = engine.tier(model)

    def read(self, questions: Sequence[Question]) -> list[Reading]:
        """One reading per option of every question; afterwards `known` or `highest` has a number for each."""
        texts = [text_keys(self.model.fingerprint, self.tier, self.truncate, q) for q in questions]
        flat = list(dict.fromkeys(key for keys in texts for key in keys))
        readings = self.store.get_readings(flat) if self.store is not None else {}
        if self.store is not None:
            self._look_up(list({reading.key for reading in readings.values()}))
        new = [
            (question, keys)
            for question, keys in zip(questions, texts)
            if any(key not in readings or self._lacks(readings[key].key) for key in keys)
        ]
        if new:
            readings |= self._encode_and_compute(new)
        result = [readings[key] for keys in texts for key in keys]
        self.counts["requests_stored"] = len({r.key for r in result}) - int(self.counts["requests_computed"])
        return result

    def _encode_and_compute(self, new: Sequence[tuple[Question, list[bytes]]]) -> dict[bytes, Reading]:
        """Encode these questions, compute the numbers that are missing, and keep both."""
        encoder = Encoder(self.model.tokenizer, self.model.context_length, self.truncate)
        readings: dict[bytes, Reading] = {}
        requests: dict[bytes, tuple[Request, str]] = {}
        for question, keys in new:
            for text_key, request in zip(keys, encoder.encode(question)):
                key = request_key(self.model.fingerprint, self.tier, request)
                requests.setdefault(key, (request, question.id))
                readings[text_key] = Reading(key, len(request.continuation), request.boundary_merged, request.truncated)
        if self.store is not None:
            self._look_up(list(requests))
            self.store.put_readings(readings)
        missing = {key: made for key, made in requests.items() if self._lacks(key)}
        if missing and self.model.server is None:
            self._compute(missing)
        elif missing:
            self._ask_server(missing)
        return readings

    def _lacks(self, key: bytes) -> bool:
        return key not in self.known and key not in self.highest

    def _look_up(self, keys: list[bytes]) -> None:
        """Take what the store has of these requests: their numbers, or the most they can be."""
        assert self.store is not None
        self.known |= self.store.get(keys)
        if self.model.server is not None and not self.model.server.address.exact:
            by_bound = {bound_key(key): key for key in keys if key not in self.known}
            self.highest |= {by_bound[bound]: high for bound, high in self.store.get(list(by_bound)).items()}

    def _compute(self, missing: dict[bytes, tuple[Request, str]]) -> None:
        """Compute these requests, keeping each pack as it is done."""
        keys = list(missing)
        requests = [request for request, _ in missing.values()]
        names = [name for _, name in missing.values()]
        asked = [f"Question {name!r}" for name in names]
        engine.check_vocabulary(self.model, [each.context + each.continuation for each in requests], asked)
        choice = engine.choose(self.model)
        self.counts |= {"engine_step": choice.step, "engine_gap_nats": choice.gap}
        self.counts["engine_passed_over"] = choice.passed_over
        if choice.half_gap is not None:
            self.counts["engine_half_precision_gap_nats"] = choice.half_gap
        trie = tries.build(requests)
        total = engine.work(self.model, requests, trie)
        with progress.bar(total, "reading answers", self.show_progress) as advance:
            for tokens, indices, terms in engine.score(self.model, requests, trie=trie):
                for i, part in zip(indices, terms):
                    _check_possible(part, names[i])
                values = [float(np.minimum(part, 0.0).sum()) for part in terms]
                pack = {keys[i]: value for i, value in zip(indices, values)}
                self.known |= pack
                if self.store is not None:
                    self.model.check_unchanged()  # also what was changed while it computed
                    self.store.put(pack)
                advance(tokens)
                self._count(len(pack), tokens)

    def _ask_server(self, missing: dict[bytes, tuple[Request, str]]) -> None:
        """Have a server score these requests, keeping each answer as it comes."""
        keys, server = list(missing), self.model.server
        assert server is not None
        requests, names = [request for request, _ in missing.values()], [name for _, name in missing.values()]
        before = server.spent()
        found = contract.check(self.model)
        self.counts |= {"engine_step": "server", "engine_gap_nats": found.gap, "engine_passed_over": ""}
        self.counts["engine_contract"] = str(found)
        reads = served.plan(requests, server.address.exact)
        total = sum(len(read.prompt) for read in reads)
        with self._paid(server, before), progress.bar(total, "asking the server", self.show_progress) as advance:
            for reply in served.read(self.model, requests, names, reads):
                exact = {keys[i]: float(terms.sum()) for i, terms in reply.terms.items() if i not in reply.high}
                highest = {keys[i]: high for i, high in reply.high.items()}
                self.known |= exact
                self.highest |= highest
                if self.store is not None and reply.terms:
                    self.store.put(exact | {bound_key(key): high for key, high in highest.items()})
                advance(reply.tokens)
                self._count(len(reply.terms), reply.tokens)

    @contextmanager
    def _paid(self, server: Server, before: dict[str, float]) -> Iterator[None]:
        """Counts what a server was sent meanwhile, whether or not it answers to the end."""
        try:
            yield
        finally:
            self.counts |= {f"server_{name}": value - before[name] for name, value in server.spent().items()}

    def _count(self, requests: int, tokens: int) -> None:
        for name, more in (("requests_computed", requests), ("tokens_computed", tokens)):
            self.counts[name] = int(self.counts[name]) + more


def _bounds(logprob: pd.Series, high: Sequence[float]) -> dict[str, np.ndarray]:
    """The columns of answers that may be known as an interval only."""
    bounded = logprob.isna().to_numpy()
    low = np.where(bounded, -np.inf, logprob)
    return {"logprob_low": low, "logprob_high": np.where(bounded, high, logprob), "bounded": bounded}


def _check_possible(terms: np.ndarray, name: str) -> None:
    """Refuse what cannot be log-probabilities of tokens, as a server's are."""
    if not (np.isfinite(terms) & (terms <= ROUNDED)).all():
        raise InputError(
            f"The network gives a log-likelihood of {terms.sum()} on question {name!r}; its weights or its dtype "
            "are at fault (try dtype='float32')."
        )


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
            lengths = (reading.n_tokens, len(visible), len(visible.encode()))
            flags = (reading.boundary_merged, reading.truncated, reading.key in seen, text in begun)
            rows.append((question.id, i, text, option.role, value, *tagged, values[at], *lengths, bare[at], *flags))
            seen.add(reading.key)
    asked = ["question_id", "option", "text", "role", "value", *tags]
    found = ["logprob", *LENGTHS, "logprob_unconditional", *FLAGS]
    return pd.DataFrame.from_records(rows, columns=[*asked, *found])
