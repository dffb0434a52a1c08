"""Control tokens: those a chat template may write, and that are plain text wherever data spell them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from workbench.errors import InputError

FORM = re.compile(r"[^\w\s].*\w.*[^\w\s]", re.DOTALL)
"""An added token between brackets, bars or the like: `<|im_end|>`, `</think>`, `<｜User｜>`, `[INST]`, `◁think▷`."""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
"""A byte of a tokenizer that spells unknown characters in bytes."""
WRITTEN = 0x40000
"""Where stand-ins of control tokens that a template wrote begin; Unicode assigns nothing to these code points."""
SPELLED = 0x90000
"""Where stand-ins of control tokens that data spell begin, while a template is rendered."""
_NO_TEXT = re.compile("[\ud800-\udfff\U00040000-\U000dffff]")
_STAND_INS = re.compile("[\U00040000-\U0008ffff]")


class ControlTokens:
    """The control tokens of one tokenizer, and encoding that tells those a template writes from those data spell.

    `tokenizers` finds an added token wherever its text stands; only those marked special can be switched off. So a
    text that spells one is encoded with a copy of the tokenizer that knows them by characters that are no text.
    """

    def __init__(self, tokenizer: Any, written: str = "") -> None:
        """Collect them.

        Args:
            tokenizer: A transformers tokenizer over the `tokenizers` library.
            written: What its chat template writes around messages; added tokens in it are control tokens too.
        """
        self.tokenizer = tokenizer
        added = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
        self.texts = [
            text
            for text, special in added.items()
            if text.strip() and (special or FORM.fullmatch(text) or text in written) and not BYTE.fullmatch(text)
        ]
        self._index = {text: n for n, text in enumerate(self.texts)}
        longest_first = "|".join(re.escape(text) for text in sorted(self.texts, key=len, reverse=True))
        self._found = re.compile(longest_first or "(?!)")

    def first_in(self, text: str) -> str:
        """The first control token a text spells; empty if there is none."""
        found = self._found.search(text)
        return found[0] if found else ""

    @staticmethod
    def check(text: str) -> None:
        """Refuse data with a code point that is no character: half a surrogate pair, or one that stands for a token.

        Raises:
            InputError: If there is one.
        """
        if found := _NO_TEXT.search(text):
            at = max(0, found.start() - 20)
            raise InputError(
                f"The text {text[at : at + 40]!r} holds U+{ord(found[0]):X}, which is no character; take it out."
            )

    def hidden(self, text: str) -> str:
        """Data in which no template can take anything for a control token."""
        return self._found.sub(lambda found: chr(SPELLED + self._index[found[0]]), text)

    def joined(self, rendered: str) -> str:
        """A rendered chat of hidden data: what the template wrote as stand-ins, what data spell as they spell it."""
        return self._shown(self._found.sub(lambda found: self.stand_in(found[0]), rendered), SPELLED)

    def stand_in(self, token: str) -> str:
        """The private character that stands for a control token written by a template."""
        return chr(WRITTEN + self._index[token])

    def last_in(self, joined: str) -> int:
        """Where the last control token of a joined text ends; 0 if there is none."""
        return max((found.end() for found in _STAND_INS.finditer(joined)), default=0)

    @staticmethod
    def anchor(joined: str) -> str:
        """The stand-in that a joined text begins with; empty if it begins with other text."""
        return joined[:1] if _STAND_INS.match(joined) else ""

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of joined texts, nothing added: stand-ins come to control tokens, all else to plain text.

        Raises:
            InputError: If the tokenizer takes other text for a control token all the same.
        """
        if not any(map(self.first_in, texts)):
            shown = [self._shown(text, WRITTEN) for text in texts]
            batch = self.tokenizer(shown, add_special_tokens=False, split_special_tokens=False)
            return [list(ids) for ids in batch["input_ids"]]
        copy, original = self._copy
        unknown = self.tokenizer.unk_token_id
        control = set(self.tokenizer.convert_tokens_to_ids(self.texts)) - {unknown}
        found = []
        for text, encoding in zip(texts, copy.encode_batch(list(texts), add_special_tokens=False)):
            ids = [original.get(token, token) for token in encoding.ids]
            written = self.tokenizer.convert_tokens_to_ids([self._shown(c, WRITTEN) for c in _STAND_INS.findall(text)])
            if [token for token in ids if token in control] != [token for token in written if token != unknown]:
                raise InputError(
                    f"This tokenizer reads {self.first_in(text)!r} as a control token wherever it stands, also in a "
                    "question's own text; take it out of the question."
                )
            found.append(ids)
        return found

    def _shown(self, text: str, stand_ins: int) -> str:
        """A text with stand-ins of one kind as the tokens they stand for."""
        last = chr(stand_ins + max(0, len(self.texts) - 1))
        return re.sub(f"[{chr(stand_ins)}-{last}]", lambda found: self.texts[ord(found[0]) - stand_ins], text)

    @cached_property
    def _copy(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer with control tokens by other names, and its ids of them with the true ones."""
        from tokenizers import Tokenizer

        plain = json.loads(self.tokenizer.backend_tokenizer.to_str())
        plain |= {"truncation": None, "padding": None, "post_processor": None}
        added = {token["content"]: token["id"] for token in plain["added_tokens"]}
        for token in plain["added_tokens"]:
            if token["content"] in self._index:
                token["content"] = self.stand_in(token["content"])
        model = plain["model"]
        merged = _merged(model.get("merges") or [])
        names = {text: self.stand_in(text) for text in self.texts if text not in merged}
        if isinstance(model["vocab"], dict):
            model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
        else:
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        copy: Any = Tokenizer.from_str(json.dumps(plain))
        renamed = [self.stand_in(text) if text in self._index else text for text in added]
        return copy, dict(zip(map(copy.token_to_id, renamed), added.values()))


def _merged(merges: Iterable[Any]) -> set[str]:
    """Every text that merges take or make."""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return {part for pair in pairs for part in (*pair, "".join(pair))}
