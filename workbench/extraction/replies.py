"""Requests for log-probabilities to a completions server, and the parser of its replies.

vLLM returns the log-probabilities of requested ids (`logprob_token_ids`, for options of one token, with its prefix
cache on) and those of a whole prompt (`prompt_logprobs`, for longer options). Other servers show their most probable
tokens only: each token of an option is read after the tokens before it, and a token that is not shown gets an upper
bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.extraction.tokens import Request
from workbench.models.server import Address
from workbench.reading import printable

Floats = NDArray[np.float64]
LABELS_AT_ONCE = 20
"""Ids per request: vLLM's default limit without `--max-logprobs`."""
PLAIN = {"temperature": 1.0, "top_p": 1.0}
"""Sampling settings that leave the distribution unchanged, for servers that report it after sampling's changes."""
PLAIN_VLLM = PLAIN | {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}
SENTINEL = -9000.0
"""Values at or below this are placeholders: vLLM and others write -9999 for an unknown log-probability."""
CHECKED = 20
"""Listed tokens of a reply whose texts are compared with the local tokenizer's."""
ROUNDING = 1e-6
"""Probability that a server's float32 may lose or gain."""


@dataclass(frozen=True, slots=True)
class Read:
    """One HTTP request and the terms that its reply fills."""

    prompt: tuple[int, ...]
    """Token ids sent."""
    first: int
    """Index of a scored request it serves, for error messages."""
    labels: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Label id -> (request, position in its continuation); empty if the last tokens of the prompt are scored."""
    n_last: int = 0
    """How many of the prompt's last tokens are scored, if there are no labels."""


def plan(requests: Sequence[Request], exact: bool) -> list[Read]:
    """Return the HTTP requests that score some requests: one per context for labels, one per longer option.

    Args:
        requests: What to score.
        exact: Whether the server returns the requested ids; otherwise every token is a label after those before it.
    """
    reads: list[Read] = []
    labels: dict[tuple[int, ...], dict[int, list[tuple[int, int]]]] = {}
    for i, request in enumerate(requests):
        if exact and len(request.continuation) > 1:
            reads.append(Read(request.context + request.continuation, i, n_last=len(request.continuation)))
            continue
        for position, token in enumerate(request.continuation):
            before = request.context + request.continuation[:position]
            labels.setdefault(before, {}).setdefault(token, []).append((i, position))
    for prompt, terms in labels.items():
        ids = list(terms)
        most = LABELS_AT_ONCE if exact else len(ids)
        for start in range(0, len(ids), most):
            part = {token: terms[token] for token in ids[start : start + most]}
            reads.append(Read(prompt, next(iter(part.values()))[0][0], part))
    return sorted(reads, key=lambda read: read.prompt)


def body_of(read: Read, address: Address) -> dict[str, Any]:
    """Return the JSON body of one request."""
    body: dict[str, Any] = {"prompt": list(read.prompt), "max_tokens": 1}
    if not address.exact:
        return body | PLAIN | {"logprobs": address.top_k}
    if not read.labels:
        return body | PLAIN_VLLM | {"prompt_logprobs": 1}
    ids = list(read.labels)
    return body | PLAIN_VLLM | {"logprobs": len(ids), "logprob_token_ids": ids, "return_tokens_as_token_ids": True}


class InvalidReply(Exception):
    """A reply that cannot be used; the message continues "The server at ..."."""


class TokenNames:
    """Compares a server's texts of tokens with those of the local tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """Names are looked up when they are first compared."""
        self.tokenizer = tokenizer
        self.compared = 0
        """Number of comparisons so far."""
        self._cache: dict[tuple[int, ...], frozenset[str]] = {}

    def check(self, ids: Sequence[int], text: Any) -> None:
        """Compare texts without white space; texts that are empty or contain half a character are skipped.

        Raises:
            InvalidReply: The server's text of these ids differs.
        """
        if not isinstance(text, str) or "\ufffd" in text or not _inked(text):
            return
        names = self._names(tuple(ids))
        if any("\ufffd" in name for name in names):
            return
        self.compared += 1
        if _inked(text) not in names:
            here, numbers = _quoted(self.tokenizer.decode(list(ids))), ", ".join(map(str, ids[:9]))
            raise InvalidReply(
                f"calls token {numbers} {_quoted(text)}, which is {here} in the local tokenizer; name the model's own "
                "with ?tokenizer= in the address"
            )

    def _names(self, ids: tuple[int, ...]) -> frozenset[str]:
        if ids not in self._cache:
            texts = [self.tokenizer.decode(list(ids), skip_special_tokens=skip) for skip in (False, True)]
            pieces = self.tokenizer.convert_ids_to_tokens(list(ids)) if len(ids) == 1 else []
            self._cache[ids] = frozenset(_inked(str(text)) for text in [*texts, *pieces])
        return self._cache[ids]


def _inked(text: str) -> str:
    """A text without white space, in any tokenizer's spelling."""
    return "".join(text.replace("Ġ", " ").replace("▁", " ").replace("Ċ", " ").split())


def _quoted(text: str) -> str:
    return printable(repr(text), 80)


def choice_of(reply: dict[str, Any]) -> dict[str, Any]:
    """Return the one completion of a reply."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise InvalidReply("answers without a completion")
    return choices[0]


def values_of(
    read: Read, reply: dict[str, Any], exact: bool, text_of: Callable[[int], str] | None, names: TokenNames
) -> tuple[Floats, Floats]:
    """Return the log-probabilities of the scored tokens, NaN where not shown, and their upper bounds.

    Args:
        read: The request.
        reply: The server's JSON.
        exact: Whether the server returns the requested ids, or its most probable tokens.
        text_of: From token id to the server's name of the token (`texts_of`), for the latter.
        names: Names of the local tokenizer.

    Raises:
        InvalidReply: The reply is not the requested one.
    """
    choice = with_ids(choice_of(reply), names)
    check_lengths(read, reply)
    shown = choice.get("logprobs") or {}
    for written in (choice.get("token_ids") if exact else None, shown.get("top_logprobs"), shown.get("tokens")):
        if written is not None and len(written) != 1:
            raise InvalidReply(f"writes {len(written)} tokens instead of one")
    if exact:
        names.check([int(token) for token in choice.get("token_ids") or ()], choice.get("text"))
        if choice.get("prompt_token_ids") != list(read.prompt):
            raise InvalidReply("does not return the token ids it was sent")
        exactly = _label_values(read, choice) if read.labels else _prompt_values(read, choice, names)
        values = exactly, exactly
    else:
        assert text_of is not None
        values = _most_probable(read, choice, text_of)
    _check_sampled(choice)
    return values


def check_lengths(read: Read, reply: dict[str, Any]) -> None:
    """Refuse a reply to a prompt of another length."""
    counted = (reply.get("usage") or {}).get("prompt_tokens")
    if counted not in (None, len(read.prompt)):
        raise InvalidReply(f"read {counted} tokens where {len(read.prompt)} were sent")


def _label_values(read: Read, choice: dict[str, Any]) -> Floats:
    """The log-probabilities of label ids after a prompt."""
    shown = shown_in(choice)
    absent = [token for token in read.labels if f"token_id:{token}" not in shown]
    if absent:
        raise InvalidReply(
            f"does not give the log-probability of token {absent[0]}; it is older than logprob_token_ids"
        )
    values = np.array([plausible(shown[f"token_id:{token}"]) for token in read.labels])
    if np.exp(values).sum() > 1 + 1e-3:
        raise InvalidReply("gives its labels a total probability above 1")
    return values


def _check_sampled(choice: dict[str, Any]) -> None:
    """Refuse a reply that contradicts itself on the sampled token, as when its rows are shifted.

    Names that are empty or contain half a character can belong to several tokens and are skipped.
    """
    shown = choice.get("logprobs") or {}
    for name, value in zip(shown.get("tokens") or (), shown.get("token_logprobs") or ()):
        if not _inked(name) or "\ufffd" in name:
            continue
        other, text = shown_in(choice).get(name), str(choice.get("text") or "")
        if other is not None and value is not None and abs(plausible(value) - plausible(other)) > 1e-3:
            raise InvalidReply(f"gives token {_quoted(name)} two log-probabilities, {value:g} and {other:g}")
        if _inked(text) not in ("", _inked(name)) and not name.startswith("token_id:"):
            raise InvalidReply(f"writes {_quoted(text)} and calls it the token {_quoted(name)}")


def _prompt_values(read: Read, choice: dict[str, Any], names: TokenNames) -> Floats:
    """The log-probabilities of the last tokens of a prompt; every token of it must be at its position."""
    rows = choice.get("prompt_logprobs")
    if not isinstance(rows, list) or len(rows) != len(read.prompt):
        raise InvalidReply("does not give a log-probability for every token of its prompt")
    for position, (token, row) in enumerate(zip(read.prompt[1:], rows[1:]), start=1):
        if str(token) not in (row or {}):
            raise InvalidReply(f"does not give the log-probability of token {token} at position {position} of a prompt")
        for number, entry in row.items():
            names.check([int(number)], entry.get("decoded_token"))
    last = zip(read.prompt[-read.n_last :], rows[-read.n_last :])
    values = np.array([plausible(row[str(token)].get("logprob")) for token, row in last])
    if not values.any():
        raise InvalidReply("gives every token of an option the probability 1")
    return values


def _most_probable(read: Read, choice: dict[str, Any], text_of: Callable[[int], str]) -> tuple[Floats, Floats]:
    """The values of labels in a list of the most probable tokens, NaN where not shown, and their upper bounds.

    A token that is not shown has at most the probability of the least probable ranked token, and at most what all
    shown tokens leave. The sampled token is listed whatever its rank, so the least probable token does not count as
    ranked if it is the sampled one, or if the reply does not name the sampled one.
    """
    shown = {name: plausible(value) for name, value in shown_in(choice).items()}
    sampled = ((choice.get("logprobs") or {}).get("tokens") or [None])[0]
    least = min(shown, key=lambda name: shown[name])
    ranked = [value for name, value in shown.items() if name != least or sampled not in (None, name)]
    bound = np.log(unlisted(list(shown.values()), ranked))
    by_id = all(name.startswith("token_id:") for name in shown)
    names = [f"token_id:{token}" if by_id else text_of(token) for token in read.labels]
    if len(set(names)) < len(names):
        raise InvalidReply("names tokens by their text, and two tokens of the options have the same")
    values = np.array([shown.get(name, np.nan) for name in names], np.float64)
    return values, np.where(np.isnan(values), bound, values)


def unlisted(listed: Sequence[float], ranked: Sequence[float]) -> float:
    """Return an upper bound of the probability of a token that is not in a list of the most probable ones.

    Args:
        listed: Log-probabilities of the list.
        ranked: Those of its tokens that are there by their rank.

    Raises:
        InvalidReply: The list has a total probability above 1.
    """
    total = float(np.exp(listed).sum())
    if total > 1 + 1e-3:
        raise InvalidReply("gives its tokens a total probability above 1")
    return min(float(np.exp(min(ranked, default=0.0))), max(1 - total, 0.0) + ROUNDING)


def with_ids(choice: dict[str, Any], names: TokenNames) -> dict[str, Any]:
    """Return a completion whose tokens are named by their ids, where the server states these (llama.cpp's).

    Raises:
        InvalidReply: A token has another text in the local tokenizer, or occurs twice.
    """
    content = (choice.get("logprobs") or {}).get("content")
    if not content or not isinstance(content[0].get("id"), int):
        return choice
    if len(content) != 1:
        raise InvalidReply(f"writes {len(content)} tokens instead of one")
    written, listed = content[0], content[0].get("top_logprobs") or []
    for token in [written, *listed[:CHECKED]]:
        names.check([token["id"]], token.get("token"))
    shown = {f"token_id:{token['id']}": token.get("logprob") for token in listed}
    if len(shown) < len(listed):
        raise InvalidReply("lists a token twice")
    tokens, values = [f"token_id:{written['id']}"], [written.get("logprob")]
    return choice | {"logprobs": {"tokens": tokens, "token_logprobs": values, "top_logprobs": [shown]}}


def shown_in(choice: dict[str, Any]) -> dict[str, Any]:
    """Return token name -> log-probability at the first token written."""
    rows = (choice.get("logprobs") or {}).get("top_logprobs")
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict) or not rows[0]:
        raise InvalidReply("gives no log-probabilities")
    return rows[0]


def plausible(value: Any) -> float:
    """Return a value if it can be a log-probability."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise InvalidReply(f"gives {value!r} for a log-probability")
    if value > ROUNDING or value <= SENTINEL:
        raise InvalidReply(f"gives {value:g} for a log-probability, which is not a possible value")
    return min(float(value), 0.0)


def texts_of(tokenizer: Any) -> Callable[[int], str]:
    """Return a function from token id to its text inside a text, which is how servers name tokens."""
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
    start = len(tokenizer.decode(anchor))

    def text_of(token: int) -> str:
        text = str(tokenizer.decode([*anchor, token])[start:])
        if not text or "�" in text:
            raise InvalidReply(f"names tokens by their text, and token {token} has no text by itself")
        return text

    return text_of


def token_of(tokenizer: Any, name: str) -> int | None:
    """Return the id of a token that a server names by id or text; None if the text is not exactly one token."""
    number = name.removeprefix("token_id:")
    if number != name and number.isdecimal():
        return int(number)
    anchor, joint = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a", "a" + name))
    alone = len(joint) == len(anchor) + 1 and list(joint[:-1]) == list(anchor)
    return int(joint[-1]) if alone else None
