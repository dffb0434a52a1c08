"""Chat templates and control tokens.

Of a template every message is written, the date is fixed, and what follows is an answer. Control tokens are what a
template may write, and plain text wherever data spell them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from workbench.errors import InputError
from workbench.questions import Message

TEMPLATE_DATE = datetime(2025, 1, 1)
"""The date that templates asking for today are given, so that a reading does not change overnight."""
_MARK = re.compile(
    r"[<\[{(◁«【〈⟨《「『＜]([^<>\[\]{}◁▷«»【】〈〉⟨⟩《》「」『』＜＞\n]{1,60})[>\]})▷»】〉⟩》」』＞]"
    r"|```(\w+)|(?:^|(?<=[>\]}]))[^<>\[\]{}()|\n]*\w[^<>\[\]{}()|\n]*[:.…]\W*\Z",
    re.MULTILINE,
)
"""What sets a part of a reply apart: a mark in brackets, a fence, or a last line such as `Here is my thinking:`."""
_NAME = re.compile(r"[^\S\n]*(\w+)\s*(?=\n|\Z|[<\[{(◁«【〈⟨《「『＜])")
"""A word alone behind a mark: the channel or the role that it opens."""
_TURN = re.compile(r"<\|?((im_)?(start|end|return)|eot_id|start_header_id|(start|end)_of_turn)\|?>")
"""A mark between turns: what an earlier turn opened is no part of the reply."""
_THOUGHT = re.compile(
    r"think|thought|reason|plan|analy|reflect|rationale|deliberat|scratch|monolog|inner_|(?<![a-z])cot(?![a-z])"
)
_NOT = re.compile(r"no[_ -]?(think|thought|reason)|off|disabl|skip")
_CLOSING = re.compile(r"/|(?<![a-z])eo|end|clos|stop|finish|suffix")
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


@dataclass(frozen=True, slots=True)
class Rendered:
    """A chat as its template writes it."""

    text: str
    """All of it."""
    header: str
    """What the template writes between the last message and the reply, or the prefilled beginning of the reply."""
    more: str = ""
    """What it writes behind that header where it is given the reply, so what the model would write first."""


class ChatTemplate:
    """The chat template of one tokenizer, held to writing every message."""

    def __init__(self, tokenizer: Any) -> None:
        """Nothing is rendered yet.

        Args:
            tokenizer: A transformers tokenizer.
        """
        self.tokenizer = tokenizer
        self._around: dict[tuple[str, ...], Rendered] = {}

    def rendered(self, messages: Sequence[Message], name: str, hidden: Callable[[str], str] = str) -> Rendered:
        """A chat as the model's own template writes it.

        Args:
            messages: The turns; a last one of the assistant's is left open, for the reply to go on.
            name: What the question is called in messages.
            hidden: Applied to every content before it is rendered.

        Raises:
            InputError: If the template refuses the chat, or drops or changes a message.
        """
        turns = tuple(message.role for message in messages)
        if turns not in self._around:  # short contents may also stand in what the template writes itself
            marked = [f"x{n}\U000dfffd{n}x" for n in range(len(messages))]
            around = self._checked(messages, marked, name)
            more = self._behind(around.header, messages, marked) if turns[-1] != "assistant" else ""
            self._around[turns] = replace(around, more=more)
        around, contents = self._around[turns], [hidden(message.content) for message in messages]
        found = self._checked(messages, contents, name)
        tail = around.header + (contents[-1] if turns[-1] == "assistant" else "")
        same = around.header and found.text.endswith(tail)
        return replace(found, header=around.header if same else found.header, more=around.more)

    def _behind(self, header: str, messages: Sequence[Message], contents: list[str]) -> str:
        """What stands between a header and a reply that is given; empty where it does not begin with that header."""
        try:
            given = self._checked([*messages, Message("assistant", "x")], [*contents, "\U000dfffdx"], "").header
        except InputError:
            return ""
        return given[len(header) :] if given.startswith(header) else ""

    def _checked(self, messages: Sequence[Message], contents: list[str], name: str) -> Rendered:
        """The chat with these contents in the place of the messages' own, each of which must stand in what is written.

        They stand in order, but for a system text, which some templates write into the last turn.
        """
        text = self._applied(messages, contents, name)
        prefill = messages[-1].role == "assistant"
        at = end = 0
        for number, (message, content) in enumerate(zip(messages, map(str.strip, contents)), 1):
            system, last = message.role == "system", prefill and number == len(messages)
            place = text.find(content, 0 if system else at)
            if place < 0:
                raise InputError(
                    f"The chat template drops or changes message {number} of question {name!r} (the {message.role}'s "
                    f"{message.content[:40]!r}), so the model would be asked something else; ask with a plain-text "
                    "prompt (chat=False), or move the text into a message that the template writes."
                )
            at = at if system else place + len(content)
            end = end if last else max(end, place + len(content))
        if prefill and not text.endswith(contents[-1]):
            raise InputError(f"The chat template changes the prefilled answer of question {name!r}.")
        return Rendered(text, text[end : len(text) - len(contents[-1]) if prefill else None])

    def _applied(self, messages: Sequence[Message], contents: list[str], name: str) -> str:
        prefill = messages[-1].role == "assistant"
        options: dict[str, Any] = {
            "add_generation_prompt": not prefill,
            "continue_final_message": prefill,
            "enable_thinking": False,
            "date_string": TEMPLATE_DATE.strftime("%d %b %Y"),
            "chat_template": template_of(self.tokenizer),
        }
        chat = [{"role": message.role, "content": content} for message, content in zip(messages, contents)]
        try:
            return str(self.tokenizer.apply_chat_template(chat, tokenize=False, **options))
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("jinja2", "builtins"):
                raise
            reason = str(error).partition("Final message to continue:")[0]
            raise InputError(
                f"The chat template refuses question {name!r} ({reason}); change its messages, for instance move "
                "the system text into the user's, or ask with a plain-text prompt."
            ) from error


def template_of(tokenizer: Any) -> str:
    """The tokenizer's chat template, with the date fixed wherever this process renders it.

    Raises:
        InputError: If there is none, or several and no default among them, or it is no template.
    """
    from transformers.utils.chat_template_utils import _compile_jinja_template

    given = tokenizer.chat_template
    if not given:
        raise InputError("This model has no chat template; load the questions with chat=False.")
    if isinstance(given, dict) and "default" in given:
        given = given["default"]
    if not isinstance(given, str):
        names = ", ".join(given) if isinstance(given, dict) else f"a {type(given).__name__}"
        raise InputError(
            f"This model's chat_template is several templates ({names}), none of them called 'default'; set "
            "chat_template to the text of one, or load the questions with chat=False."
        )
    try:
        _compile_jinja_template(given).environment.globals["strftime_now"] = _fixed_date
    except Exception as error:
        raise InputError(
            f"The chat template of this model is no valid template ({error}); correct it, or load the questions with "
            "chat=False."
        ) from error
    return given


def thought_opened(header: str) -> str:
    """The mark by which a header opens a chain of thought, or a channel that is not the final one; "" if none is open.

    What is opened and closed again, as templates do where thinking is switched off, is not open.
    """
    opened: list[str] = []
    for found in _MARK.finditer(header):
        mark = found[0].strip().lower()
        behind = _NAME.match(header, found.end())
        name = behind[1].lower() if behind else ""
        closes = _CLOSING.search(mark)
        if "channel" in mark:
            closes = closes or re.fullmatch(r"<[^|].*\|>", mark)
            opened = [] if closes or name in ("final", "answer", "response") else [mark + name]
        elif _THOUGHT.search(mark):
            if not _NOT.search(mark):
                opened = opened[:-1] if closes else [*opened, mark]
        else:
            opened = [] if _TURN.fullmatch(mark) else opened
            opened += [mark + name] * bool(_THOUGHT.search(name) and not _NOT.search(name))
    return opened[-1] if opened else ""


def _fixed_date(format: str) -> str:
    return TEMPLATE_DATE.strftime(format)


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
