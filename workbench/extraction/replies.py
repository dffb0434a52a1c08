"""The requests that ask a completions server for log-probabilities, and what its answers say.

vLLM gives the log-probabilities of exactly the ids asked for (`logprob_token_ids`), which serves options of one token
and leaves its prefix cache on, and those of a whole prompt (`prompt_logprobs`), which serves longer options. Any other
server shows its most probable tokens: each token of an option is then read after the ones before it, exact where it is
shown, and otherwise known to be no more probable than what is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.extraction.tokens import Request
from workbench.models.server import Address

LABELS_AT_ONCE = 20
"""Ids in one request: as many as vLLM gives without `--max-logprobs`, whichever of its versions counts them."""
PLAIN = {"temperature": 1.0, "top_p": 1.0}
"""Sampling that leaves the distribution as it is, should a server report it after sampling's changes."""
PLAIN_VLLM = PLAIN | {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
SENTINEL = -9000.0
"""vLLM and others write -9999 for what they do not know; no model gives a token so little."""
ROUNDING = 1e-6
"""Probability that a server's float32 may lose or gain."""


@dataclass(frozen=True, slots=True)
class Read:
    """One HTTP request and the places its answer fills."""

    prompt: tuple[int, ...]
    """Token ids sent."""
    first: int
    """Index of a request it serves, for messages."""
    labels: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Label id -> (request, place in its continuation); empty where the prompt's own last tokens are read."""
    n_last: int = 0
    """How many of the prompt's last tokens are read, if it is not labels."""


def plan(requests: Sequence[Request], exact: bool) -> list[Read]:
    """The HTTP requests that score these: one a context for labels, one for each longer option.

    Args:
        requests: What to score.
        exact: Whether the server gives what is asked for; otherwise every token is a label after what is before it.
    """
    reads: list[Read] = []
    labels: dict[tuple[int, ...], dict[int, list[tuple[int, int]]]] = {}
    for i, request in enumerate(requests):
        if exact and len(request.continuation) > 1:
            reads.append(Read(request.context + request.continuation, i, n_last=len(request.continuation)))
            continue
        for place, token in enumerate(request.continuation):
            before = request.context + request.continuation[:place]
            labels.setdefault(before, {}).setdefault(token, []).append((i, place))
    for prompt, wanted in labels.items():
        ids = list(wanted)
        most = LABELS_AT_ONCE if exact else len(ids)
        for start in range(0, len(ids), most):
            part = {token: wanted[token] for token in ids[start : start + most]}
            reads.append(Read(prompt, next(iter(part.values()))[0][0], part))
    return sorted(reads, key=lambda read: read.prompt)


def body_of(each: Read, address: Address) -> dict[str, Any]:
    """The JSON of one request."""
    body: dict[str, Any] = {"prompt": list(each.prompt), "max_tokens": 1}
    if not address.exact:
        return body | PLAIN | {"logprobs": address.top_k}
    if not each.labels:
        return body | PLAIN_VLLM | {"prompt_logprobs": 1}
    ids = list(each.labels)
    named = {"logprobs": len(ids), "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    return body | PLAIN_VLLM | named


class Wrong(Exception):
    """An answer is not what was asked for; the message goes on after "The server at ..."."""


class Names:
    """What the tokenizer here calls each token, to hold against what a server calls it."""

    def __init__(self, tokenizer: Any) -> None:
        """Prepare; tokens are looked up when they are met.

        Args:
            tokenizer: The tokenizer whose ids are sent.
        """
        self.tokenizer = tokenizer
        self.compared = 0
        """How many names were compared so far."""
        self._known: dict[tuple[int, ...], frozenset[str]] = {}

    def check(self, ids: Sequence[int], said: Any) -> None:
        """Compare the text of tokens, white space aside; a text that is empty or holds half a character says nothing.

        Raises:
            Wrong: The server means another text by these ids.
        """
        if not isinstance(said, str) or "\ufffd" in said or not _inked(said):
            return
        own = self._names(tuple(ids))
        if any("\ufffd" in name for name in own):
            return
        self.compared += 1
        if _inked(said) not in own:
            here = self.tokenizer.decode(list(ids))
            raise Wrong(
                f"calls token {', '.join(map(str, ids))} {said!r}, which is {here!r} in the tokenizer here; name the "
                "model's own with ?tokenizer= in the address"
            )

    def _names(self, ids: tuple[int, ...]) -> frozenset[str]:
        if ids not in self._known:
            texts = [self.tokenizer.decode(list(ids), skip_special_tokens=skip) for skip in (False, True)]
            pieces = self.tokenizer.convert_ids_to_tokens(list(ids)) if len(ids) == 1 else []
            self._known[ids] = frozenset(_inked(str(text)) for text in [*texts, *pieces])
        return self._known[ids]


def _inked(text: str) -> str:
    """A text without white space, however a tokenizer spells it."""
    return "".join(text.replace("Ġ", " ").replace("▁", " ").replace("Ċ", " ").split())


def choice_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The one completion of an answer."""
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise Wrong("answers without a completion")
    return choices[0]


def values_of(
    each: Read, answer: dict[str, Any], exact: bool, texts: Any, names: Names
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities of what was asked for, NaN where not shown, and the most each can be.

    Args:
        each: What was asked.
        answer: The server's JSON.
        exact: Whether it gives what is asked for, or its most probable tokens.
        texts: From token id to the name of a token, for the latter; made by `texts_of`.
        names: What the tokenizer here calls each token.

    Raises:
        Wrong: If it is not that.
    """
    choice = choice_of(answer)
    check_lengths(each, answer)
    _check_written(choice, exact, names)
    if exact:
        if choice.get("prompt_token_ids") != list(each.prompt):
            raise Wrong("does not return the token ids it was sent")
        values = _labels(each, choice) if each.labels else _prompt(each, choice, names)
        found = values, values
    else:
        found = _most_probable(each, choice, texts)
    _check_sampled(choice)
    return found


def _labels(each: Read, choice: dict[str, Any]) -> NDArray[np.float64]:
    """The log-probabilities of label ids, after a prompt."""
    shown = shown_in(choice)
    absent = [token for token in each.labels if f"token_id:{token}" not in shown]
    if absent:
        raise Wrong(f"does not give the log-probability of token {absent[0]}; it is older than logprob_token_ids")
    values = np.array([plausible(shown[f"token_id:{token}"]) for token in each.labels])
    if np.exp(values).sum() > 1 + 1e-3:
        raise Wrong("gives its labels more than all probability")
    return values


def check_lengths(each: Read, answer: dict[str, Any]) -> None:
    """Refuse an answer to a prompt of another length."""
    counted = (answer.get("usage") or {}).get("prompt_tokens")
    if counted not in (None, len(each.prompt)):
        raise Wrong(f"read {counted} tokens where {len(each.prompt)} were sent")


def _check_written(choice: dict[str, Any], exact: bool, names: Names) -> None:
    """Refuse an answer that wrote another number of tokens than one, or calls it by another name than is known here."""
    shown = choice.get("logprobs") or {}
    for of in (choice.get("token_ids") if exact else None, shown.get("top_logprobs"), shown.get("tokens")):
        if of is not None and len(of) != 1:
            raise Wrong(f"writes {len(of)} tokens where one was asked for")
    if exact:
        names.check([int(token) for token in choice.get("token_ids") or ()], choice.get("text"))


def _check_sampled(choice: dict[str, Any]) -> None:
    """Refuse an answer that says two things of the token it wrote, as where its rows stand at other places.

    Names that are empty or hold half a character can be those of several tokens.
    """
    shown = choice.get("logprobs") or {}
    for name, value in zip(shown.get("tokens") or (), shown.get("token_logprobs") or ()):
        if not _inked(name) or "\ufffd" in name:
            continue
        other, said = shown_in(choice).get(name), str(choice.get("text") or "")
        if other is not None and value is not None and abs(plausible(value) - plausible(other)) > 1e-3:
            raise Wrong(f"gives token {name!r} two log-probabilities, {value:g} and {other:g}")
        if _inked(said) not in ("", _inked(name)) and not name.startswith("token_id:"):
            raise Wrong(f"writes {said!r} and calls it the token {name!r}")


def _prompt(each: Read, choice: dict[str, Any], names: Names) -> NDArray[np.float64]:
    """The log-probabilities of the last tokens of a prompt, in which every token stands in its own place."""
    rows = choice.get("prompt_logprobs")
    if not isinstance(rows, list) or len(rows) != len(each.prompt):
        raise Wrong("does not give a log-probability for every token of its prompt")
    for place, (token, row) in enumerate(zip(each.prompt[1:], rows[1:]), start=1):
        if str(token) not in (row or {}):
            raise Wrong(f"does not give the log-probability of token {token} at place {place} of the prompt it read")
        for number, entry in row.items():
            names.check([int(number)], entry.get("decoded_token"))
    values = []
    for token, row in zip(each.prompt[-each.n_last :], rows[-each.n_last :]):
        values.append(plausible(row[str(token)].get("logprob")))
    if not any(values):
        raise Wrong("says that every token of an option is certain")
    return np.array(values)


def _most_probable(each: Read, choice: dict[str, Any], texts: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a list of the most probable tokens says of the labels: the number, or the most it can be.

    A token that is not shown has at most the probability of the least probable one that is, and at most what all of
    them leave. The sampled token stands in the list whatever its rank, so the least probable one is left out of the
    first when it is the sampled one, or nobody says which that is.
    """
    shown = {name: plausible(value) for name, value in shown_in(choice).items()}
    total = float(np.exp(list(shown.values())).sum())
    if total > 1 + 1e-3:
        raise Wrong("gives its tokens more than all probability")
    sampled = ((choice.get("logprobs") or {}).get("tokens") or [None])[0]
    least = min(shown, key=lambda name: shown[name])
    ranked = [value for name, value in shown.items() if name != least or sampled not in (None, name)]
    bound = np.log(min(float(np.exp(min(ranked, default=0.0))), max(1 - total, 0.0) + ROUNDING))
    by_id = all(name.startswith("token_id:") for name in shown)
    names = [f"token_id:{token}" if by_id else texts(token) for token in each.labels]
    if len(set(names)) < len(names):
        raise Wrong("names tokens by their text, and two of the options' tokens have the same")
    values = np.array([shown.get(name, np.nan) for name in names], np.float64)
    return values, np.where(np.isnan(values), bound, values)


def shown_in(choice: dict[str, Any]) -> dict[str, Any]:
    """Token name -> log-probability at the first token written."""
    rows = (choice.get("logprobs") or {}).get("top_logprobs")
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict) or not rows[0]:
        raise Wrong("gives no log-probabilities")
    return rows[0]


def plausible(value: Any) -> float:
    """A log-probability, if it can be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise Wrong(f"gives {value!r} for a log-probability")
    if value > ROUNDING or value <= SENTINEL:
        raise Wrong(f"gives {value:g} for a log-probability, which stands for something else")
    return min(float(value), 0.0)


def texts_of(tokenizer: Any) -> Any:
    """A function from token id to its text within a text, as servers name tokens."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    start = len(tokenizer.decode(anchor))

    def text(token: int) -> str:
        found = str(tokenizer.decode([*anchor, token])[start:])
        if not found or "�" in found:
            raise Wrong(f"names tokens by their text, and token {token} has none of its own")
        return found

    return text


def token_of(tokenizer: Any, name: str) -> int | None:
    """The id of a token a server names, by id or by text; None where the text comes to several tokens or none."""
    number = name.removeprefix("token_id:")
    if number != name and number.isdecimal():
        return int(number)
    anchor, joint = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", "a" + name))
    alone = len(joint) == len(anchor) + 1 and list(joint[:-1]) == list(anchor)
    return int(joint[-1]) if alone else None
