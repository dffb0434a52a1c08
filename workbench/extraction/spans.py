"""Where each token stands in its text, so that tokens can be joined to words again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

Span = tuple[int, int]


def spans(tokenizer: Any, text: str, ids: Sequence[int]) -> list[Span] | None:
    """The characters of a text that each of its tokens covers, as half-open intervals.

    Tokens that share a character, such as the bytes of an emoji, each get all that they cover together; a space belongs
    to the token that holds it, and one that the tokenizer invents to none. The distinct spans joined give the text.

    Args:
        tokenizer: A transformers tokenizer.
        text: What was encoded.
        ids: Its tokens, without those put before it.

    Returns:
        One (start, end) a token; None where the tokenizer changes the text so that its tokens cannot be placed.
    """
    data = text.encode()
    for parts in _as_bytes(tokenizer.convert_ids_to_tokens(list(ids))):
        joined = b"".join(parts)
        if joined in (data, b" " + data):
            return _shared(_of_bytes(text, parts, len(joined) - len(data)))
    offsets = _of_offsets(tokenizer, text, list(ids))
    return offsets and _shared(offsets)


def _as_bytes(pieces: Sequence[str | bytes]) -> Iterator[list[bytes]]:
    """The bytes of tokens as byte-level tokenizers write them, then as SentencePiece does."""
    for spelt in (_byte_level, _sentence_piece):
        yield [piece if isinstance(piece, bytes) else spelt(piece) for piece in pieces]


def _byte_level(piece: str) -> bytes:
    known = _letters_of_bytes()
    return bytes(known[letter] for letter in piece) if known.keys() >= set(piece) else piece.encode()


def _sentence_piece(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes.fromhex(piece[3:5])
    return piece.replace("▁", " ").encode()


@cache
def _letters_of_bytes() -> dict[str, int]:
    """The letter by which GPT-2 and its successors write each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _of_bytes(text: str, parts: Sequence[bytes], invented: int) -> list[Span]:
    """Spans from the bytes of each token; the first `invented` bytes stand before the text."""
    owner = [i for i, letter in enumerate(text) for _ in letter.encode()] + [len(text)]
    found, at = [], -invented
    for part in parts:
        first, last = max(at, 0), at + len(part)
        found.append((owner[first], owner[last - 1] + 1 if last > first else owner[first]))
        at = last
    return found


def _shared(found: list[Span]) -> list[Span]:
    """Spans of which two are the same or have no character in common: those that overlap become one."""
    whole: list[list[int]] = []
    group: list[int] = []
    for start, end in found:
        if whole and start < whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], end)
        else:
            whole.append([start, end])
        group.append(len(whole) - 1)
    return [(whole[i][0], whole[i][1]) for i in group]


def _of_offsets(tokenizer: Any, text: str, ids: list[int]) -> list[Span] | None:
    """Spans from a fast tokenizer's own offsets, where it rewrites the text (Unicode forms, case) first."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    for before in ("", "\n"):
        read = tokenizer(
            before + text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        skipped = len(read["input_ids"]) - len(ids)
        if skipped >= 0 and list(read["input_ids"][skipped:]) == ids:
            offsets = [[max(place - len(before), 0) for place in pair] for pair in read["offset_mapping"][skipped:]]
            found, end = [], 0
            for start, stop in offsets:  # a gap is white space that the offsets trim, or a letter that is dropped
                start, stop = (min(start, end), max(stop, end)) if stop > start else (end, end)
                found.append((start, stop))
                end = stop
            if found:
                found[-1] = (found[-1][0], len(text))
            return found
    return None
