"""A server repeats the key in any spelling: no part of it is left in what enters the workbench."""

from __future__ import annotations

import base64
import html
import json
import pickle
import re
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.models.secrets import GAP, REMOVED, RUN, SHORTEST, Secret

LETTERS = "".join(map(chr, range(33, 127)))
KEYS = st.text(LETTERS, min_size=SHORTEST, max_size=60)


def _in_base64(key: str, before: bytes, encode=base64.b64encode) -> str:
    return encode(before + key.encode() + b"?").decode().rstrip("=")


SPELLINGS = {
    "plain": lambda key: key,
    "upper case": str.upper,
    "JSON": json.dumps,
    "JSON with escaped slashes": lambda key: json.dumps(key).replace("/", "\\/"),
    "JSON in JSON": lambda key: json.dumps(json.dumps(json.dumps({"key": key}))),
    "code points": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "code points in capitals": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "code points of JavaScript": lambda key: "".join(f"\\u{{{ord(c):x}}}" for c in key),
    "bytes": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "every other as a code point": lambda key: "".join(c if i % 2 else f"\\u{ord(c):04x}" for i, c in enumerate(key)),
    "percent": lambda key: quote(key, safe=""),
    "percent, all of it": lambda key: "".join(f"%{ord(c):02X}" for c in key),
    "percent, every third": lambda key: "".join(c if i % 3 else f"%{ord(c):02x}" for i, c in enumerate(key)),
    "percent twice": lambda key: quote(quote("".join(f"%{ord(c):02x}" for c in key), safe=""), safe=""),
    "HTML": html.escape,
    "HTML, decimal": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML, hexadecimal, open": lambda key: "".join(f"&#x00{ord(c):X};" for c in key),
    "HTML in percent in JSON": lambda key: json.dumps(quote("".join(f"&#{ord(c)};" for c in key))),
    **{f"base64 at {n}": lambda key, n=n: _in_base64(key, b"key"[:n]) for n in range(3)},
    **{f"urlsafe at {n}": lambda key, n=n: _in_base64(key, b"key"[:n], base64.urlsafe_b64encode) for n in range(3)},
    "basic authorization": lambda key: "Basic " + _in_base64(key, b"user:"),
    "base64 in base64": lambda key: _in_base64(_in_base64(key, b"k"), b""),
    "base64 in percent": lambda key: "".join(f"%{ord(c):02x}" for c in _in_base64(key, b"ke")),
    "base64 of percent": lambda key: _in_base64("".join(f"%{ord(c):02x}" for c in key), b""),
    "base64 in lines": lambda key: "\n".join(re.findall(".{1,9}", _in_base64(key, b""))),
    "hexadecimal": lambda key: key.encode().hex(),
    "hexadecimal with colons": lambda key: key.encode().hex(":").upper(),
    "spaced": " ".join,
    "hyphens": lambda key: "-".join(key) if sum(map(str.isalnum, key)) >= SHORTEST else key,
    "invisible": "\u200b".join,
    "accents": "\u0301".join,
    "octal": lambda key: "".join(f"\\{ord(c):03o}" for c in key),
    "code points of Python": lambda key: "".join(f"\\U{ord(c):08x}" for c in key),
    "code points of Unicode": lambda key: " ".join(f"U+{ord(c):04X}" for c in key),
    "escaped line ends": "\\n".join,
    "escaped zeros": "\\u0000".join,
    "tags": "<wbr>".join,
    "escapes of a terminal": "\x1b[1m".join,
    "a list of codes": lambda key: json.dumps([*key.encode()]),
    "UTF-16 in base64": lambda key: base64.b64encode(b"?" + key.encode("utf-16-be")).decode(),
    "UTF-32 in hexadecimal": lambda key: key.encode("utf-32-le").hex(),
    "base64 in pieces": lambda key: json.dumps(re.findall(".{1,4}", _in_base64(key, b"k"))),
    "wide": lambda key: "".join(chr(ord(c) + 0xFEE0) for c in key),
    "first half": lambda key: key[: (len(key) + 1) // 2],
    "second half": lambda key: key[len(key) // 2 :],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@settings(max_examples=12)
@given(key=KEYS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_spelling_of_any_key_is_left(spelling, key, before, after):
    shown = f"{before} {spelling(key)} {after}"
    (left,) = Secret(key).removed(shown)
    assert REMOVED in left and spelling(key) not in left
    assert not Secret(key).within(left.replace(REMOVED, GAP))


@settings(max_examples=100)
@given(key=KEYS, data=st.data())
def test_a_key_split_over_texts_that_are_shown_together_is_removed(key, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(key)), max_size=6)))
    parts = [key[i:j] for i, j in zip([0, *cuts], [*cuts, len(key)])]
    left = "".join(Secret(key).removed(*parts)).replace(REMOVED, GAP).lower()
    n = min(RUN, (len(key) + 1) // 2)
    assert not any(key.lower()[i : i + n] in left for i in range(len(key) - n + 1))


def test_texts_without_the_key_stay_as_they_are():
    texts = [
        "The model `x` does not exist (see https://host/v1/models).",
        "Qwen/Qwen2.5-72B-Instruct",
        "",
        "naïve 100%",
    ]
    for key in ("", "sk-proj-Ab9xYQ7zkkL2mm", "token-abc123"):
        assert Secret(key).removed(*texts) == texts
    assert Secret("sk-proj-Ab9xYQ7z").removed("Wrong key sk-proj-****: see the page.") == [
        f"Wrong key {REMOVED} see the page."
    ]


@pytest.mark.parametrize("text", ["%" + "25" * 5000, "&amp;" * 5000, "&" + "amp;" * 5000, "\\" * 9999, "QUFB" * 3000])
def test_a_text_of_escapes_in_escapes_ends(text):
    assert Secret("sk-Ab9xYQ7zkkL2mm").removed(text)[0] in (text, REMOVED)


def test_a_key_shows_itself_nowhere():
    secret = Secret("sk-Ab9xYQ7zkkL2mm")
    assert "Ab9" not in f"{secret!r} {secret} {vars(secret).keys()}"
    with pytest.raises(TypeError, match="not copied or pickled"):
        pickle.dumps(secret)
