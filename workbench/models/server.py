"""Models behind a server: addresses, what a server states of its model, and its answers.

What enters is parsed, reduced to the fields that the workbench reads (`COMPLETION`, `STATED`, the message of an error),
and freed of the key; nothing behind this module needs to know the key.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from os.path import isdir
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from workbench.errors import InputError, unknown
from workbench.models import fetched
from workbench.models import fingerprint as fingerprints
from workbench.models.connection import Answer, Connection
from workbench.models.fetched import HUB_ID
from workbench.models.packaged import MODELS
from workbench.models.secrets import RUN_OF_ADDRESS, RUN_OF_TOKENS, SHORTEST, Secret
from workbench.reading import kind_of, parse_json, printable

CHECK = "check the address and the port"
FORMS = "vllm://host:port/NAME, openai+https://host/v1/NAME or chat+https://host/v1/NAME"
SCHEMES = {"vllm": "http", "vllm+https": "https", "openai+http": "http", "openai+https": "https"}
SCHEMES |= {"chat+http": "http", "chat+https": "https"}
HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?")
SECRET = re.compile(r"key|token$|secret|password|auth", re.I)
STATED = ("id", "root", "parent", "max_model_len", "revision")
"""Fields of a model card that identify the model. `created` is not one: vLLM sets it anew at each call."""
META = {"n_ctx": "max_model_len", "n_vocab": "n_vocab", "n_params": "n_params", "size": "size", "ftype": "ftype"}
"""Fields of `meta` in the card of llama.cpp's server that identify the model, and what they are called here."""
PATHS = ("tokenizer", "check_against")
"""Options whose value may be a path."""
KEY_VARIABLE = "WORKBENCH_API_KEY"
OPENAI_VARIABLE = "OPENAI_API_KEY"
OPENAI_HOST = "https://api.openai.com/"
"""The only host that the key in `OPENAI_VARIABLE` is sent to."""
BACKOFF = 0.5
"""Seconds before the first retry; doubled with each further one."""
LONGEST_WAIT = 300.0
"""Seconds that all pauses of a request may take, as far as the server demands them."""
LONGEST_TRIES = 1.5
"""A request is sent again until it has taken so many times its `timeout`, without the pauses."""
LARGEST, LARGEST_PER_TOKEN = 1 << 22, 2048
"""Bytes of a model list or an answer, and those more for each token that the request sends or wants."""
MOST, MOST_PER_BYTE = 1 << 16, 1 / 64
"""Values of an answer in JSON, and those more for each byte that it may have."""
HIGHEST = 2**31 - 1
"""Largest count or token id."""
HALVES = re.compile("[\ud800-\udfff]")
COUNTS = ("calls", "retries", "prompt_tokens", "completion_tokens", "unmetered_calls")
"""Answered requests, requests sent again, tokens by the server's `usage`, and answers without `usage`."""


ANSWER: dict[str, Any] = {
    "model": str,
    "system_fingerprint": str,
    "usage": {"prompt_tokens": int, "completion_tokens": int},
}
TOKEN: dict[str, Any] = {"id": int, "token": str, "bytes": [int], "logprob": float}
COMPLETION: dict[str, Any] = ANSWER | {
    "choices": [
        {
            "text": str,
            "finish_reason": str,
            "token_ids": [int],
            "prompt_token_ids": [int],
            "logprobs": {
                "tokens": [str],
                "token_logprobs": [float],
                "top_logprobs": [(float,)],
                "content": [TOKEN | {"top_logprobs": [TOKEN]}],
            },
            "prompt_logprobs": [({"logprob": float, "decoded_token": str},)],
        }
    ],
}
"""The fields of a completion that enter, with their types, each of which may be null; a tuple is an object with any
names, all of whose values have one type."""
CHAT: dict[str, Any] = ANSWER | {
    "choices": [
        {
            "message": {"content": str, "reasoning_content": str, "reasoning": str},
            "logprobs": {"content": [TOKEN | {"top_logprobs": [TOKEN]}]},
        }
    ],
}
"""The same of a chat completion."""


@dataclass(frozen=True)
class Address:
    """Parts of `vllm://host:port/NAME?option=value&...`. The fields from `tokenizer` on are the options."""

    base: str
    """URL of the API, ending in `/v1`."""
    name: str
    """The model's name there."""
    exact: bool
    """Whether every requested log-probability is returned (vLLM), or only the `top_k` most probable tokens."""
    chat: bool = False
    """Whether it takes messages, which it renders itself, and shows the first token of its answer."""
    tokenizer: str = ""
    """Folder or hub id of the tokenizer; by default the model's name or `root` of its card."""
    check_against: str = ""
    """A local model that must give the same numbers."""
    revision: str = ""
    """Revision that is served, where the server does not state one."""
    context: int = 0
    """Context length in tokens, where the server does not state one."""
    top_k: int = 5
    """Number of most probable tokens to request from servers that return only those; by default 20 for chats."""
    thinking: str = ""
    """`off` asks a chat template with a switch not to open a chain of thought."""
    concurrency: int = 16
    """Largest number of simultaneous requests."""
    timeout: float = 120.0
    """Seconds that an answer may take; a request with its retries takes at most two and a half times as long."""
    retries: int = 6
    """Largest number of retries of a request."""
    tolerance: float = 0.0
    """Largest difference that passes the contract test, in nats; 0 for the defaults."""
    price_in: float = 0.0
    """Price of a million prompt tokens."""
    price_out: float = 0.0
    """Price of a million completion tokens."""


class Server:
    """A served model: sends requests, from several threads, counts them, and checks that the model stays the same."""

    def __init__(self, address: Address) -> None:
        """Connect to the server and read the model's card.

        Raises:
            InputError: If the key in the environment has characters that no key can have, the server is unreachable, or
                it does not serve the model.
        """
        self.address = address
        self.contract: Any = None
        """Result of the contract test; None before the first question."""
        self.witness: Callable[[], None] | None = None
        """Repeats one item of the contract test and raises if its number has changed; set by that test."""
        self._secret = Secret(_key_for(address.base))
        self._connection = Connection(address.base, self._secret, address.timeout)
        self._lock, self._counts = threading.Lock(), dict.fromkeys(COUNTS, 0)
        self._first: dict[str, Any] = {}
        self._systems: dict[str, None] = {}
        self._semaphore = threading.Semaphore(address.concurrency)
        self.stated = self._card()
        llama = "n_params" in self.stated
        self._also: dict[str, Any] = {"cache_prompt": False} if llama else {}  # it changes numbers of quantised models
        if address.thinking:
            self._also["chat_template_kwargs"] = {"enable_thinking": False}
        longest = address.context or self.stated.get("max_model_len")
        if address.chat:
            longest = longest or HIGHEST
        if not isinstance(longest, int) or not 8 <= longest <= HIGHEST:
            raise InputError(
                f"The server at {address.base} does not state the context length of {address.name!r}; add "
                "?context=NUMBER to the address."
            )
        # an answer takes one token of room, and the encoder counts the last option token as free
        self.context_length = longest - 2
        self.tokenizer, self.folder = "the server's, as its chat template", None
        if not address.chat:
            self.tokenizer, self.folder = _tokenizer(address, str(self.stated.get("root", "")))

    def complete(self, body: dict[str, Any], question: str = "") -> dict[str, Any]:
        """Return the answer to a request, with the fields of `COMPLETION` or `CHAT`, and count its tokens.

        Args:
            body: The request; with `messages`, of a chat completion.
            question: What it is for, in errors.

        Raises:
            InputError: The request fails, the answer has fields of other types or repeats the key, or another model
                answers than before.
        """
        chat = "messages" in body
        path, kind = ("chat/completions", CHAT) if chat else ("completions", COMPLETION)
        length = len(body.get("prompt", "")) + body.get("max_tokens", 0)
        length += (body.get("top_logprobs") if chat else body.get("logprobs")) or 0
        most = LARGEST + LARGEST_PER_TOKEN * length
        with self._semaphore:
            content = {"model": self.address.name, **self._also, **body}
            received = self._request("POST", path, content, self.address.retries, most, question)
        texts: list[str] = []
        try:
            answer = _reduced(received, kind, "", texts)
        except _WrongType as wrong:
            raise InputError(
                f"The server at {self.address.base} answers in an unknown format ({wrong} has another type){question}; "
                "this answer is not used."
            ) from None
        self.refuse_key("".join(texts), question)
        names = ("model", "system_fingerprint")
        now = self._shown({name: answer.get(name) for name in names})
        answer |= now
        system = now.pop("system_fingerprint") if chat else None  # services answer from several systems at once
        usage = answer.get("usage") or {}
        read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        with self._lock:
            self._counts["calls"] += 1
            if read is not None and written is not None:
                self._counts["prompt_tokens"] += read
                self._counts["completion_tokens"] += written
            else:
                self._counts["unmetered_calls"] += 1
            self._first = self._first or now
            self._systems |= {system: None} if system else {}
        _check_same(self._first, now, self.address)
        return answer

    def refuse_key(self, text: str, question: str = "") -> None:
        """Refuse texts of tokens that spell the key.

        Raises:
            InputError: They do.
        """
        if self._secret.within(text, RUN_OF_TOKENS):
            raise InputError(
                f"The server at {self.address.base} repeats {RUN_OF_TOKENS} characters of the API key as the text "
                f"of tokens{question}; this answer is not used (if the prompt has the same words, use another key)."
            )

    def _shown(self, texts: dict[str, Any]) -> dict[str, Any]:
        """Return texts of the server without the key, on one line each; numbers and the model's own name stay."""
        words = {n: printable(text) for n, text in texts.items() if isinstance(text, str) and text != self.address.name}
        return texts | dict(zip(words, self._secret.removed(*words.values())))

    def confirm(self) -> None:
        """Read the model's card and one number of the contract test again, and refuse changes."""
        _check_same(self.stated, self._card(), self.address)
        if self.witness is not None:
            self.witness()

    def spent(self) -> dict[str, float]:
        """Return the counts (`COUNTS`) so far, and the price of the tokens where prices were given."""
        with self._lock:
            spent: dict[str, float] = dict(self._counts)
        if self.address.price_in or self.address.price_out:
            price = spent["prompt_tokens"] * self.address.price_in
            spent["cost"] = (price + spent["completion_tokens"] * self.address.price_out) / 1e6
        return spent

    def facts(self) -> dict[str, str]:
        """Return what a run records of the server."""
        returns = "every requested log-probability" if self.address.exact else f"the {self.address.top_k} most probable"
        return {
            "server": f"{self.address.base} ({returns})",
            "stated": ", ".join(f"{name}={value}" for name, value in self.stated.items() if value is not None),
            "tokenizer": self.tokenizer,
            "contract": str(self.contract or "not tested, since no question was sent"),
            "spent": ", ".join(f"{name} {value:g}" for name, value in self.spent().items()),
        } | ({"systems": ", ".join(self._systems)} if self._systems else {})

    def fingerprint(self) -> str:
        """Return the SHA-256 over the kind of server, what it states of the model, and the tokenizer's files."""
        if self.folder is None:
            statement = json.dumps(["chat", self.address.top_k, self.stated, self.address.revision, self._also])
            return hashlib.sha256(statement.encode()).hexdigest()
        files = fingerprints.settings_files(self.folder)
        if not any(path.name.startswith(("tokenizer", "vocab")) or path.suffix == ".model" for path in files):
            raise InputError(
                f"There is no tokenizer in {str(self.folder)!r}; name its folder or hub id with ?tokenizer=."
            )
        tier = "vllm" if self.address.exact else f"top {self.address.top_k}"
        statement = json.dumps([tier, self.stated, self.address.revision], sort_keys=True)
        return hashlib.sha256(f"{statement}\n{fingerprints.of_files(files, 'as served')}".encode()).hexdigest()

    def _card(self) -> dict[str, Any]:
        """Return the identifying fields of the model's card at `/v1/models`."""
        base, name = self.address.base, self.address.name
        listed = self._request("GET", "models", None, min(2, self.address.retries), LARGEST).get("data")
        if not isinstance(listed, list):
            raise InputError(f"The server at {base} does not list its models as servers of completions do; {CHECK}.")
        cards = [card for card in listed if isinstance(card, dict)]
        for card in cards:
            if card.get("id") == name:
                stated = {field: card[field] for field in STATED if card.get(field) is not None}
                if isinstance(meta := card.get("meta"), dict):
                    stated |= {name: meta[field] for field, name in META.items() if meta.get(field) is not None}
                for field, value in stated.items():
                    if type(value) is not (str if field in ("id", "root", "parent", "revision", "ftype") else int):
                        raise InputError(f"The server at {base} states the {field} of {name!r} in an unknown format.")
                return self._shown(stated)
        others = [card["id"] for card in cards if isinstance(card.get("id"), str)][:10]
        served = self._shown(dict(zip(map(str, range(10)), others))).values()
        raise InputError(f"The server at {base} does not serve {name!r}; it serves {', '.join(served) or 'nothing'}.")

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, retries: int, largest: int, question: str = ""
    ) -> dict[str, Any]:
        """Send a request, retry transient failures, and return the JSON object of the answer."""
        base, spent, paused = self.address.base, 0.0, 0.0
        for attempt in range(retries + 1):
            start = time.monotonic()
            answer = self._connection.request(method, path, body, largest)
            spent += time.monotonic() - start
            problem = answer.problem or self._problem(answer)
            if not problem:
                return self._object(answer.content, largest, question)
            if answer.lasting or (answer.status and answer.status not in (408, 429) and answer.status < 500):
                raise InputError(f"The server at {base} {problem}{question}.")
            pause = answer.pause or BACKOFF * 2**attempt * (0.5 + random.random())
            late = spent > LONGEST_TRIES * self.address.timeout
            if attempt == retries or late or paused + pause > LONGEST_WAIT:
                break
            with self._lock:
                self._counts["retries"] += 1
            time.sleep(pause)
            paused += pause
        wanted = f", asks for a pause of {answer.pause:.0f} s" if answer.pause else ""
        raise InputError(
            f"The server at {base} {problem}{wanted}, tried {attempt + 1} times in {spent + paused:.0f} s; check the "
            "address, or run again when the server is back (finished answers are stored)."
        )

    def _problem(self, answer: Answer) -> str:
        """Return the status of an answer and what the server says of it; "" if it is a success."""
        if answer.status < 300:
            return ""
        if answer.status < 400 and answer.location:
            (place,) = self._secret.removed(printable(answer.location))
            return f"redirects to {place} ({answer.status}), which is not followed; write that address if it is right"
        (message,) = self._secret.removed(_message(answer.content))
        return f"answers {answer.status} ({message}){_advice(answer.status)}"

    def _object(self, content: bytes, largest: int, question: str) -> dict[str, Any]:
        """Return the JSON object in an answer; repeated names are refused, since either value may be the right one."""
        try:
            text, most = content.decode("utf-8-sig"), MOST + int(largest * MOST_PER_BYTE)
            answer = parse_json(text, "the answer", finite=False, most=most)
            problem = "" if isinstance(answer, dict) else f"the answer is {kind_of(answer)}"
        except (InputError, UnicodeDecodeError) as error:
            ours = isinstance(error, InputError)
            problem = str(error).partition(";")[0].rstrip(".") if ours else "the answer is not UTF-8"
        if problem:
            (problem,) = self._secret.removed(printable(problem, 200))
            raise InputError(
                f"The server at {self.address.base} does not answer in JSON that can be used{question}: {problem}; "
                "it is not used; if all answers are such, check the address and the port."
            )
        return dict(answer)


def is_address(source: str) -> bool:
    """Whether a text is the address of a served model."""
    return source.partition("://")[0] in SCHEMES


def parse(source: str) -> Address:
    """Return the parts of an address.

    Raises:
        InputError: If it is not an address, contains a key, or has an unknown option.
    """
    _refuse_key_in(source)
    scheme, _, rest = source.partition("://")
    where, _, query = rest.partition("?")
    host, _, path = where.partition("/")
    if scheme not in SCHEMES:
        raise InputError(f"A model's address does not begin with {scheme}://; write {FORMS}.")
    if "@" in host:
        raise InputError(f"A model's address must not contain a user or key; put the key into {KEY_VARIABLE}.")
    kind = scheme.partition("+")[0]
    parts = re.fullmatch(r"()(.+)" if kind == "vllm" else r"((?:.*?/)?)v1/(.+)", path)
    if not HOST.fullmatch(host) or not parts:
        raise InputError(f"Cannot read the address {scheme}://{where}; write {FORMS}.")
    base = f"{SCHEMES[scheme]}://{host}/{parts[1]}v1"
    options = ({"top_k": 20} if kind == "chat" else {}) | _options(query)
    if options.get("thinking", "off") != "off" or (kind != "chat" and "thinking" in options):
        raise InputError("Option thinking of a model's address is `off`, and for chat+http(s)://... alone.")
    return Address(base=base, name=unquote(parts[2]), exact=kind == "vllm", chat=kind == "chat", **options)


def paths_in(source: str, parts_of: Callable[[str], list[str]]) -> list[str]:
    """Return an address in parts, of which the second, fourth and so on are paths; see `models.paths_in`.

    `parts_of` splits the value of an option that may be a path in the same way.

    Raises:
        InputError: If it is not an address, or contains a key.
    """
    parse(source)
    where, mark, query = source.partition("?")
    parts = [where + mark]
    for number, pair in enumerate(query.split("&")):
        name, equals, value = pair.partition("=")
        first, *others = parts_of(unquote(value)) if name in PATHS and value else [value]
        parts += [""] * (len(parts) % 2 == 0)
        parts[-1] += "&" * (number > 0) + name + equals + first
        parts += others
    return parts


def _options(query: str) -> dict[str, Any]:
    """Return the options behind the question mark, converted to their types."""
    kinds: dict[str, Any] = {option.name: type(option.default) for option in fields(Address)[4:]}
    options: dict[str, Any] = {}
    for name, _, text in (pair.partition("=") for pair in query.split("&") if pair):
        if name not in kinds and SECRET.search(name):
            raise InputError(
                f"A model's address must not contain a key; put it into the environment variable {KEY_VARIABLE}."
            )
        if name not in kinds:
            raise unknown("option", name, list(kinds), " of a model's address")
        try:
            options[name] = kinds[name](unquote(text))
        except ValueError:
            raise InputError(f"Option {name}={text!r} of a model's address must be {kinds[name].__name__}.") from None
        if kinds[name] is not str and not 0 <= options[name] < 1e9:
            raise InputError(f"Option {name}={text!r} of a model's address is out of range.")
    for name in ("top_k", "concurrency", "timeout"):
        if options.get(name, 1) <= 0:
            raise InputError(f"Option {name} of a model's address must be above 0.")
    return options


def _check_same(before: dict[str, Any], now: dict[str, Any], address: Address) -> None:
    changed = [f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in (before | now) if before.get(k) != now.get(k)]
    if changed:
        raise InputError(
            f"The server at {address.base} changed its model during use ({'; '.join(changed)}); finished answers are "
            "stored, load the model again to continue with the new one."
        )


def _tokenizer(address: Address, root: str) -> tuple[str, Path]:
    """Return the tokenizer's source, with its commit at the hub, and its folder.

    By default the source is the model's name or `root` of its card: a hub id, or an absolute path that is also a
    folder here. A relative path that the server states would start from the server's folder and is not used.
    """
    chosen = bool(address.tokenizer)
    for source in [address.tokenizer] if chosen else [address.name, root]:
        if source in MODELS and source in (address.tokenizer, address.name):
            return source, MODELS[source].located()
        folder = Path(source).expanduser() if chosen else Path(source)
        if isdir(folder) and (chosen or folder.is_absolute()):
            return source, folder
        name, _, revision = source.partition("@")
        if HUB_ID.fullmatch(name):
            try:
                folder, commit = fetched.hub_snapshot(name, revision or None, weights=False)
            except InputError as error:
                raise InputError(f"{str(error)[:-1]} (?tokenizer=FOLDER in the model's address names one).") from error
            return f"{source} {commit}".strip(), folder
    raise InputError(
        f"There is no tokenizer {address.tokenizer or address.name!r}; name its folder or hub id: "
        "?tokenizer=FOLDER_OR_HUB_ID in the address."
    )


def _key_for(base: str) -> str:
    """Return the key in the environment that may be sent to a server; empty if there is none."""
    openai = not os.environ.get(KEY_VARIABLE) and base.startswith(OPENAI_HOST)
    name = OPENAI_VARIABLE if openai else KEY_VARIABLE
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"The key in {name} has characters that no key can have; set it again.")
    if 0 < len(key) < SHORTEST:
        raise InputError(
            f"The key in {name} has {len(key)} characters, too few to recognise it in what a server says; unset {name} "
            "if the server needs no key (as with a dummy such as EMPTY), or start the server with a key of at least "
            f"{SHORTEST} characters."
        )
    return key


def _refuse_key_in(source: str) -> None:
    """Refuse an address that contains the whole key, or 16 characters of it, since records contain the address.

    Raises:
        InputError: It does; the message does not quote it.
    """
    for name in (KEY_VARIABLE, OPENAI_VARIABLE):
        key = os.environ.get(name, "").strip()
        if len(key) >= SHORTEST and Secret(key).within(source, RUN_OF_ADDRESS):
            raise InputError(
                f"The model's address contains the key in {name}, and addresses are recorded; write it without the "
                "key, which is sent in a header."
            )


class _WrongType(Exception):
    """A field of an answer has another type; the message is its place."""


def _reduced(value: Any, kind: Any, place: str, texts: list[str]) -> Any:
    """Return a value of an answer with the fields of `kind` alone (see `COMPLETION`); `texts` gets those of tokens.

    Raises:
        _WrongType: A value has another type, is a whole number that no count can be, or contains half a character.
    """
    if value is None and place:
        return None
    if isinstance(kind, list) and isinstance(value, list):
        return [_reduced(each, kind[0], place, texts) for each in value]
    if isinstance(kind, dict) and isinstance(value, dict):
        return {n: _reduced(value[n], kind[n], f"{place}.{n}".lstrip("."), texts) for n in kind if n in value}
    if isinstance(kind, tuple) and isinstance(value, dict):
        return {_reduced(n, str, place, texts): _reduced(v, kind[0], place, texts) for n, v in value.items()}
    if kind is str and isinstance(value, str) and not HALVES.search(value):
        if place.startswith("choices"):
            texts.append(value)
        return value
    if kind is int and type(value) is int and 0 <= value <= HIGHEST:
        return value
    if kind is float and (type(value) is float or (type(value) is int and abs(value) <= HIGHEST)):
        return value
    raise _WrongType(place)


def _message(content: bytes) -> str:
    """Return the error message in a server's answer, on one short line."""
    message: Any = content.decode("utf-8", "replace")
    with suppress(InputError):
        message = parse_json(message, "", strict=False)
    for name in ("error", "message", "detail"):
        message = message.get(name, message) if isinstance(message, dict) else message
    first = message[0] if isinstance(message, list) and message else message
    message = first.get("msg") if isinstance(first, dict) else first
    lines = message.strip().splitlines() if isinstance(message, str) else []
    return printable(lines[0] if lines else "", 200).rstrip(". ") or "no reason given"


def _advice(status: int) -> str:
    if status in (401, 403):
        return f"; put the server's key into the environment variable {KEY_VARIABLE}"
    return "; check the address" if status in (301, 302, 307, 308, 404, 405) else ""
