"""Chat templates and control tokens.

A rendered chat must contain every message, has a fixed date, and ends where an answer begins. Control tokens are
written by templates only: data that spell one are encoded as plain text.
"""

from __future__ import annotations

import ctypes
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.questions import Message

TEMPLATE_DATE = datetime(2025, 1, 1)
"""Today's date for templates, so that a score does not change overnight."""
SECONDS, ROOM = 10.0, 1 << 29
"""Time and bytes of memory that a template may take to be read or to write one chat."""
_rendering = threading.RLock()
_MARK = re.compile(
    r"[<\[{(◁«【〈⟨《「『＜]([^<>\[\]{}◁▷«»【】〈〉⟨⟩《》「」『』＜＞\n]{1,60})[>\]})▷»】〉⟩》」』＞]"
    r"|```(\w+)|(?:^|(?<=[>\]}]))[^<>\[\]{}()|\n]*\w[^<>\[\]{}()|\n]*[:.…]\W*\Z",
    re.MULTILINE,
)
"""Start of a part of a reply: a mark in brackets, a fence, or a last line such as `Here is my thinking:`."""
_NAME = re.compile(r"[^\S\n]*(\w+)\s*(?=\n|\Z|[<\[{(◁«【〈⟨《「『＜])")
"""A single word after a mark: the channel or role that it opens."""
_TURN = re.compile(r"<\|?((im_)?(start|end|return)|eot_id|start_header_id|(start|end)_of_turn)\|?>")
"""A mark between turns, which closes what earlier turns opened."""
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
"""First stand-in of control tokens written by a template; Unicode assigns none of these code points."""
SPELLED = 0x90000
"""First stand-in of control tokens spelled by data, while a template is rendered."""
_NO_TEXT = re.compile("[\ud800-\udfff\U00040000-\U000dffff]")
_STAND_INS = re.compile("[\U00040000-\U0008ffff]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A chat rendered by its template."""

    text: str
    """The whole chat."""
    header: str
    """What the template writes between the last message and the reply or its prefilled beginning."""
    more: str = ""
    """What it writes after that header when it renders a reply: what the model would write first."""


class ChatTemplate:
    """The chat template of one tokenizer, checked to render every message."""

    def __init__(self, tokenizer: Any) -> None:
        """Render nothing yet; `tokenizer` is a transformers tokenizer."""
        self.tokenizer = tokenizer
        self._around: dict[tuple[str, ...], Rendered] = {}

    def rendered(self, messages: Sequence[Message], name: str, hidden: Callable[[str], str] = str) -> Rendered:
        """Render a chat with the model's template.

        Args:
            messages: The turns; a last one of the assistant is left open, to be continued.
            name: Name of the question in error messages.
            hidden: Applied to every content before it is rendered.

        Raises:
            InputError: The template refuses the chat, or drops or changes a message.
        """
        turns = tuple(message.role for message in messages)
        if turns not in self._around:  # with unique contents, which the template cannot write itself
            marked = [f"x{n}\U000dfffd{n}x" for n in range(len(messages))]
            around = self._checked(messages, marked, name)
            more = self._after(around.header, messages, marked) if turns[-1] != "assistant" else ""
            self._around[turns] = replace(around, more=more)
        around, contents = self._around[turns], [hidden(message.content) for message in messages]
        rendered = self._checked(messages, contents, name)
        tail = around.header + (contents[-1] if turns[-1] == "assistant" else "")
        same = around.header and rendered.text.endswith(tail)
        return replace(rendered, header=around.header if same else rendered.header, more=around.more)

    def _after(self, header: str, messages: Sequence[Message], contents: list[str]) -> str:
        """What is written between a header and a rendered reply; empty if the reply has another header."""
        try:
            given = self._checked([*messages, Message("assistant", "x")], [*contents, "\U000dfffdx"], "").header
        except InputError:
            return ""
        return given[len(header) :] if given.startswith(header) else ""

    def _checked(self, messages: Sequence[Message], contents: list[str], name: str) -> Rendered:
        """The chat with these contents instead of the messages' own, each of which must occur in the result.

        They must occur in order, except for a system text, which some templates write into the last turn.
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
                    f"{message.content[:40]!r}), so the model would get another question; ask with a plain-text prompt "
                    "(chat=False), or move the text into a message that the template writes."
                )
            at = at if system else place + len(content)
            end = end if last else max(end, place + len(content))
        if prefill and not text.endswith(contents[-1]):
            raise InputError(
                f"The chat template changes the prefilled answer of question {name!r}; ask without it, or with a "
                "plain-text prompt (chat=False)."
            )
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
            with bounded():
                return str(self.tokenizer.apply_chat_template(chat, tokenize=False, **options))
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("jinja2", "builtins"):
                raise
            reason = str(error).partition("Final message to continue:")[0]
            raise InputError(
                f"The chat template refuses question {name!r} ({reason}); change its messages, for instance move the "
                "system text into the user's, or ask with a plain-text prompt (chat=False)."
            ) from error


def template_of(tokenizer: Any) -> str:
    """Return the tokenizer's chat template, and fix the date wherever this process renders it.

    Raises:
        InputError: There is none, there are several and none is the default, or it is not valid.
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
        _check_code(given)
        _compile_jinja_template(given).environment.globals["strftime_now"] = _fixed_date
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The chat template of this model is not valid ({error}); correct it, or load the questions with "
            "chat=False."
        ) from error
    return given


@lru_cache(8)
def _check_code(template: str) -> None:
    """Raise an error for a template that is not valid, takes too long to be read, or computes x**y."""
    from jinja2 import Environment
    from transformers.utils.chat_template_utils import _compile_jinja_template

    code = [text for _, kind, text in Environment().lex(template) if kind not in ("whitespace", "data")]
    if any(text == "**" and before not in ("(", ",") for before, text in pairwise(code)):  # but not f(**names)
        raise ValueError("it computes a power with **, which no time limit can stop")
    with bounded():
        _compile_jinja_template(template)


@contextmanager
def bounded() -> Iterator[None]:
    """Stop a model's template, which is a program, after `SECONDS`, and on Linux if it takes `ROOM` of memory.

    Raises:
        InputError: It was stopped.
    """
    thread, ended, stopping = ctypes.c_ulong(threading.get_ident()), False, threading.Lock()
    raises = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def stop() -> None:
        with stopping:
            if not ended:
                raises(thread, ctypes.py_object(TimeoutError))

    timer = threading.Timer(SECONDS, stop)
    timer.daemon = True
    timer.start()
    try:
        with _rendering, _little_memory():
            yield
    except (TimeoutError, MemoryError) as error:
        raise InputError(
            f"The chat template of this model takes more than {SECONDS:g} s or {ROOM >> 20} MB for one chat; correct "
            "it, or load the questions with chat=False."
        ) from error
    finally:
        with stopping:
            ended = True
        timer.cancel()
        raises(thread, None)


@contextmanager
def _little_memory() -> Iterator[None]:
    """Limit the memory of this process to what it has and `ROOM`, where the system can."""
    before = None
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        most = pages * resource.getpagesize() + ROOM
        if before[0] == resource.RLIM_INFINITY or most < before[0]:
            resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        if before is not None:
            resource.setrlimit(resource.RLIMIT_AS, before)


def thought_opened(header: str) -> str:
    """Return the mark by which a header opens a chain of thought, or a channel that is not the final one; else "".

    Parts that are opened and closed again, as by templates with thinking switched off, do not count.
    """
    opened: list[str] = []
    for match in _MARK.finditer(header):
        mark = match[0].strip().lower()
        following = _NAME.match(header, match.end())
        name = following[1].lower() if following else ""
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
    """The control tokens of one tokenizer, and encoding that separates those of a template from those in data.

    `tokenizers` matches an added token wherever its text occurs; only those marked special can be switched off. So a
    text that spells one is encoded with a copy of the tokenizer in which control tokens are private characters.
    """

    def __init__(self, tokenizer: Any, written: str = "") -> None:
        """Collect the control tokens.

        Args:
            tokenizer: A transformers tokenizer over the `tokenizers` library.
            written: What its chat template writes around messages; added tokens in it are control tokens.
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
        self._pattern = re.compile(longest_first or "(?!)")

    def first_in(self, text: str) -> str:
        """Return the first control token spelled in a text, or ""."""
        match = self._pattern.search(text)
        return match[0] if match else ""

    @staticmethod
    def check(text: str) -> None:
        """Raise InputError if data have a code point that is not a character: half a surrogate pair, or a stand-in."""
        if match := _NO_TEXT.search(text):
            at = max(0, match.start() - 20)
            raise InputError(
                f"The text {text[at : at + 40]!r} contains U+{ord(match[0]):X}, which is not a character; remove it."
            )

    def hidden(self, text: str) -> str:
        """Return data with stand-ins for the control tokens that they spell."""
        return self._pattern.sub(lambda match: chr(SPELLED + self._index[match[0]]), text)

    def joined(self, rendered: str) -> str:
        """Return a chat rendered from hidden data, with stand-ins for the template's tokens and data as spelled."""
        return self._shown(self._pattern.sub(lambda match: self.stand_in(match[0]), rendered), SPELLED)

    def stand_in(self, token: str) -> str:
        """Return the private character for a control token written by a template."""
        return chr(WRITTEN + self._index[token])

    def last_in(self, joined: str) -> int:
        """Return where the last control token of a joined text ends; 0 if there is none."""
        return max((match.end() for match in _STAND_INS.finditer(joined)), default=0)

    @staticmethod
    def anchor(joined: str) -> str:
        """Return the stand-in at the start of a joined text, or ""."""
        return joined[:1] if _STAND_INS.match(joined) else ""

    def encoded(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of joined texts: control tokens for stand-ins, plain text otherwise; no tokens are added.

        Raises:
            InputError: The tokenizer reads other text as a control token all the same.
        """
        if not any(map(self.first_in, texts)):
            shown = [self._shown(text, WRITTEN) for text in texts]
            batch = self.tokenizer(shown, add_special_tokens=False, split_special_tokens=False)
            return [list(ids) for ids in batch["input_ids"]]
        copy, original = self._copy
        unknown = self.tokenizer.unk_token_id
        control = set(self.tokenizer.convert_tokens_to_ids(self.texts)) - {unknown}
        encoded = []
        for text, encoding in zip(texts, copy.encode_batch(list(texts), add_special_tokens=False)):
            ids = [original.get(token, token) for token in encoding.ids]
            written = self.tokenizer.convert_tokens_to_ids([self._shown(c, WRITTEN) for c in _STAND_INS.findall(text)])
            if [token for token in ids if token in control] != [token for token in written if token != unknown]:
                raise InputError(
                    f"This tokenizer reads {self.first_in(text)!r} as a control token wherever it occurs, also in the "
                    "text of a question; remove it from the question."
                )
            encoded.append(ids)
        return encoded

    def _shown(self, text: str, stand_ins: int) -> str:
        """A text with stand-ins of one kind replaced by their tokens."""
        last = chr(stand_ins + max(0, len(self.texts) - 1))
        return re.sub(f"[{chr(stand_ins)}-{last}]", lambda match: self.texts[ord(match[0]) - stand_ins], text)

    @cached_property
    def _copy(self) -> tuple[Any, dict[int, int]]:
        """The tokenizer with control tokens renamed to stand-ins, and its ids -> the true ids."""
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
    """Every text that merges use or produce."""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return {part for pair in pairs for part in (*pair, "".join(pair))}
