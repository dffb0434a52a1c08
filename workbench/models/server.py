"""Models behind a server: the address a user writes, the HTTP connection, and what the server states of its model."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from workbench.errors import InputError, unknown
from workbench.models import fetched
from workbench.models import fingerprint as fingerprints
from workbench.models.fetched import HUB_ID

if TYPE_CHECKING:
    import httpx

FORMS = "vllm://host:port/NAME or openai+https://host/v1/NAME"
SCHEMES = {"vllm": "http", "vllm+https": "https", "openai+http": "http", "openai+https": "https"}
HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?")
SECRET = re.compile(r"key|token$|secret|password|auth", re.I)
STATED = ("id", "root", "parent", "max_model_len", "revision")
"""Fields of a model's card that tell one model from another; `created` is left out, vLLM sets it anew at each call."""
PATHS = ("tokenizer", "check_against")
"""Options whose value may be a path."""
KEY_VARIABLE = "WORKBENCH_API_KEY"
OPENAI_VARIABLE = "OPENAI_API_KEY"
OPENAI_HOST = "https://api.openai.com/"
"""The only place the second variable's key is ever sent to."""
BACKOFF = 0.5
"""Seconds before the second try; doubled with every further one."""
LONGEST_WAIT = 300.0
"""Seconds; a server that asks for a longer pause is left alone."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Address:
    """`vllm://host:port/NAME?option=value&...`, taken apart. The fields from `tokenizer` on are the options."""

    base: str
    """URL of the interface, ending in `/v1`."""
    name: str
    """The model's name there."""
    exact: bool
    """vLLM's own fields give every log-probability asked for; otherwise only the most probable tokens are shown."""
    tokenizer: str = ""
    """Folder or hub id of the tokenizer; by default the model's name, or what the server has it from."""
    check_against: str = ""
    """A local model that must give the same numbers."""
    revision: str = ""
    """What the user says is served, where the server does not."""
    context: int = 0
    """Most tokens of prompt and answer, where the server does not say."""
    top_k: int = 5
    """Most probable tokens asked for where only those are shown."""
    concurrency: int = 16
    """Most requests at once."""
    timeout: float = 120.0
    """Seconds an answer may take."""
    retries: int = 6
    """How often a request is sent again."""
    tolerance: float = 0.0
    """Largest difference the contract test lets pass, in nats; 0 for its own."""
    price_in: float = 0.0
    """Price of a million tokens read."""
    price_out: float = 0.0
    """Price of a million tokens written."""


@dataclass(slots=True)
class Ledger:
    """What was asked of a server so far."""

    calls: int = 0
    """Answered requests."""
    retries: int = 0
    """Requests sent again."""
    prompt_tokens: int = 0
    """Tokens read, as the server's `usage` says."""
    completion_tokens: int = 0
    """Tokens written, as the server's `usage` says."""
    unmetered_calls: int = 0
    """Answers without `usage`, whose tokens are not in the counts."""


class Connection:
    """Sends requests to one server and counts them; several threads may use it."""

    def __init__(self, base: str, timeout: float, retries: int, concurrency: int) -> None:
        """Prepare; nothing is sent.

        Args:
            base: URL of the interface, ending in `/v1`.
            timeout: Seconds an answer may take.
            retries: How often a request is sent again.
            concurrency: Most requests at once.

        Raises:
            InputError: If the key in the environment cannot be one.
        """
        import httpx

        self.base, self.retries, self.concurrency = base, retries, concurrency
        self._key = _key_for(base)
        self._lock, self._ledger = threading.Lock(), Ledger()
        self._slots = threading.Semaphore(concurrency)
        host = base.partition("://")[2].partition("/")[0]
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            limits=httpx.Limits(max_connections=concurrency + 1, max_keepalive_connections=concurrency + 1),
            trust_env=not host.startswith(LOOPBACK),
        )
        weakref.finalize(self, self._client.close)

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path; tried a few times only."""
        return self._sent("GET", path, None, min(2, self.retries))

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the completions endpoint answers; counted in the ledger."""
        with self._slots:
            answer = self._sent("POST", "completions", body, self.retries)
        usage = answer.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        with self._lock:
            self._ledger.calls += 1
            if isinstance(read, int) and isinstance(written, int):
                self._ledger.prompt_tokens += read
                self._ledger.completion_tokens += written
            else:
                self._ledger.unmetered_calls += 1
        return answer

    def spent(self) -> dict[str, int]:
        """The ledger so far, by name."""
        with self._lock:
            return asdict(self._ledger)

    def _sent(self, method: str, path: str, body: dict[str, Any] | None, retries: int) -> dict[str, Any]:
        """One request, sent again where that may help.

        Raises:
            InputError: If the server refuses it, stays away, or answers something else than a JSON object.
        """
        import httpx

        trouble = ""
        for attempt in range(retries + 1):
            pause = BACKOFF * 2**attempt * (0.5 + random.random())
            try:
                response = self._client.request(method, f"{self.base}/{path}", json=body)
            except httpx.TransportError as error:
                trouble = f"does not answer ({type(error).__name__})"
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise InputError(
                    f"The server at {self.base} cannot be asked ({type(error).__name__}); check the address."
                ) from error
            else:
                text = self._scrubbed(response.text)
                if response.status_code < 300:
                    return _object(text, self.base)
                trouble = f"answers {response.status_code} ({_message(text)})"
                if response.status_code not in (408, 429) and response.status_code < 500:
                    raise InputError(f"The server at {self.base} {trouble}{_way_out(response.status_code)}.")
                pause = _asked_pause(response) or pause
            if attempt == retries or pause > LONGEST_WAIT:
                break
            with self._lock:
                self._ledger.retries += 1
            time.sleep(pause)
        raise InputError(
            f"The server at {self.base} {trouble}, tried {attempt + 1} times; what was read before is kept, so run "
            "again when it is back."
        )

    def _scrubbed(self, text: str) -> str:
        """Text without the key, should a server repeat it."""
        return text.replace(self._key, "[key]") if self._key else text


@dataclass
class Server:
    """A served model: where it is, what the server stated when it was opened, and what was found since."""

    address: Address
    """Where it is."""
    connection: Connection = field(repr=False)
    """The way there."""
    stated: dict[str, Any]
    """What the server says of the model."""
    context_length: int
    """Most tokens of a prompt with its option."""
    tokenizer: str
    """Where the tokenizer's files come from."""
    contract: Any = None
    """Result of the contract test, once something was read."""
    seen: dict[str, Any] = field(default_factory=dict, repr=False)
    """`model` and `system_fingerprint` of the first answer."""
    witness: Callable[[], None] | None = field(default=None, repr=False)
    """Asks one item of the contract test again, and raises if its number is another; set by that test."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while `seen` is set."""

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a request for a completion, by the model it answered with before.

        Raises:
            InputError: If it cannot be had, or another model answers.
        """
        answer = self.connection.complete({"model": self.address.name, **body})
        found = {name: answer.get(name) for name in ("model", "system_fingerprint")}
        with self.lock:
            self.seen = self.seen or found
        _same(self.seen, found, self.address)
        return answer

    def confirm(self) -> None:
        """Ask the server again what it serves, and for one number it gave before.

        Raises:
            InputError: If that is no longer what it stated or gave at first.
        """
        _same(self.stated, _card(self.connection, self.address), self.address)
        if self.witness is not None:
            self.witness()

    def spent(self) -> dict[str, float]:
        """Calls, retries and tokens so far, and their price where prices were given."""
        spent: dict[str, float] = dict(self.connection.spent())
        if self.address.price_in or self.address.price_out:
            price = spent["prompt_tokens"] * self.address.price_in
            spent["cost"] = (price + spent["completion_tokens"] * self.address.price_out) / 1e6
        return spent

    def facts(self) -> dict[str, str]:
        """What a run records of the server."""
        stated = ", ".join(f"{name}={value}" for name, value in self.stated.items() if value is not None)
        how = "every log-probability asked for" if self.address.exact else f"the {self.address.top_k} most probable"
        found = str(self.contract or "nothing was read, so the contract was not tested")
        spent = ", ".join(f"{name} {value:g}" for name, value in self.spent().items())
        facts = {"server": f"{self.address.base} ({how})", "stated": stated, "tokenizer": self.tokenizer}
        return facts | {"contract": found, "spent": spent}


def is_address(source: str) -> bool:
    """Whether a text is the address of a model behind a server."""
    return source.partition("://")[0] in SCHEMES


def parse(source: str) -> Address:
    """The parts of an address.

    Raises:
        InputError: If it is none, holds a key, or has an option nobody knows.
    """
    scheme, _, rest = source.partition("://")
    where, _, query = rest.partition("?")
    host, _, path = where.partition("/")
    if scheme not in SCHEMES:
        raise InputError(f"A model's address does not begin with {scheme}://; write {FORMS}.")
    if "@" in host:
        raise InputError(f"The address of a model holds no user or key; put the key into the variable {KEY_VARIABLE}.")
    kind = scheme.partition("+")[0]
    found = re.fullmatch(r"()(.+)" if kind == "vllm" else r"((?:.*?/)?)v1/(.+)", path)
    if not HOST.fullmatch(host) or not found:
        raise InputError(f"Cannot read the address {scheme}://{where}; write {FORMS}.")
    base = f"{SCHEMES[scheme]}://{host}/{found[1]}v1"
    return Address(base=base, name=unquote(found[2]), exact=kind == "vllm", **_options(query))


def paths_in(source: str, parts_of: Callable[[str], list[str]]) -> list[str]:
    """An address in parts, of which every second one, from the second on, is a path; see `models.paths_in`.

    Args:
        source: The address.
        parts_of: Takes the value of an option that may be a path apart.

    Raises:
        InputError: If it is no address, or holds a key.
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


def connect(source: str) -> tuple[Server, Path, str]:
    """The server at an address, the folder of the model's tokenizer, and the fingerprint of both.

    The server is asked what it serves, and the tokenizer's files are found.

    Raises:
        InputError: If the server is not there or does not serve this model, or there is no tokenizer.
    """
    address = parse(source)
    connection = Connection(address.base, address.timeout, address.retries, address.concurrency)
    stated = _card(connection, address)
    longest = address.context or stated.get("max_model_len")
    if not isinstance(longest, int) or longest < 8:
        raise InputError(
            f"The server at {address.base} does not say how many tokens {address.name!r} takes; add "
            "?context=NUMBER to the address."
        )
    tokenizer = address.tokenizer or _likely_tokenizer(address.name, str(stated.get("root", "")))
    folder, commit = _tokenizer_folder(tokenizer, named=bool(address.tokenizer))
    files = fingerprints.settings_files(folder)
    if not any(path.name.startswith(("tokenizer", "vocab")) or path.suffix == ".model" for path in files):
        raise InputError(f"There is no tokenizer in {str(folder)!r}; name its folder or hub id with ?tokenizer=.")
    tier = "vllm" if address.exact else f"top {address.top_k}"
    said = json.dumps([tier, stated, address.revision], sort_keys=True)
    digest = hashlib.sha256(f"{said}\n{fingerprints.of_files(files, 'as served')}".encode()).hexdigest()
    # an answer takes one token of room, and the encoder counts the last option token as free
    server = Server(address, connection, stated, longest - 2, f"{tokenizer} {commit}".strip())
    return server, folder, digest


def _options(query: str) -> dict[str, Any]:
    """The options behind the question mark, in their types."""
    kinds = {name: type(getattr(Address, name)) for name in list(Address.__dataclass_fields__)[3:]}
    found: dict[str, Any] = {}
    for name, _, text in (pair.partition("=") for pair in query.split("&") if pair):
        if name not in kinds and SECRET.search(name):
            raise InputError(f"An address holds no key; put it into the environment variable {KEY_VARIABLE}.")
        if name not in kinds:
            raise unknown("option", name, list(kinds), " of a model's address")
        try:
            found[name] = kinds[name](unquote(text))
        except ValueError:
            raise InputError(f"Option {name}={text!r} of a model's address is no {kinds[name].__name__}.") from None
        if kinds[name] is not str and not 0 <= found[name] < 1e9:
            raise InputError(f"Option {name}={text!r} of a model's address is out of range.")
    for name in ("top_k", "concurrency", "timeout"):
        if found.get(name, 1) <= 0:
            raise InputError(f"Option {name} of a model's address must be above 0.")
    return found


def _card(connection: Connection, address: Address) -> dict[str, Any]:
    """What the server states of the model, of `STATED`."""
    cards = connection.get("models").get("data")
    cards = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    for card in cards:
        if card.get("id") == address.name:
            return {name: card[name] for name in STATED if card.get(name) is not None}
    raise InputError(
        f"The server at {address.base} does not serve {address.name!r}; it serves "
        f"{', '.join(str(card.get('id')) for card in cards[:10]) or 'nothing'}."
    )


def _same(before: dict[str, Any], now: dict[str, Any], address: Address) -> None:
    changed = [f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in (before | now) if before.get(k) != now.get(k)]
    if changed:
        raise InputError(
            f"The server at {address.base} changed its model while it was asked ({'; '.join(changed)}); what was read "
            "before is kept, load the model again to go on with the new one."
        )


def _likely_tokenizer(name: str, root: str) -> str:
    """The model's name, or where the server has it from: a hub id, or a whole path that is a folder here too.

    A path that is not whole starts from the server's folder, not from this one.
    """
    if name == fetched.EMBEDDED:
        return name
    for text in (name, root):
        if HUB_ID.fullmatch(text.partition("@")[0]) or (Path(text).is_absolute() and Path(text).is_dir()):
            return text
    raise InputError(
        f"There is no tokenizer {name!r}; name its folder or hub id: ?tokenizer=FOLDER_OR_HUB_ID in the address."
    )


def _tokenizer_folder(source: str, named: bool) -> tuple[Path, str]:
    """Folder and commit of the tokenizer: a short name, a folder (by a relative path if `named`), or a hub id."""
    folder = Path(source).expanduser()
    if source == fetched.EMBEDDED:
        return fetched.located(), ""
    if folder.is_dir() and (named or folder.is_absolute()):
        return folder, ""
    name, _, revision = source.partition("@")
    if not HUB_ID.fullmatch(name):
        raise InputError(
            f"There is no tokenizer {source!r}; name its folder or hub id: ?tokenizer=FOLDER_OR_HUB_ID in the address."
        )
    try:
        return fetched.hub_snapshot(name, revision or None, weights=False)
    except InputError as error:
        raise InputError(f"{str(error)[:-1]} (?tokenizer=FOLDER in the model's address names one).") from error


def _key_for(base: str) -> str:
    """The key in the environment that may be sent to a server."""
    name = KEY_VARIABLE
    if not os.environ.get(name) and base.startswith(OPENAI_HOST):
        name = OPENAI_VARIABLE
    key = os.environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"The key in {name} has characters no key can have; set it again.")
    return key


def _once(pairs: list[tuple[str, Any]], base: str) -> dict[str, Any]:
    """An object of JSON in which no name stands twice: of two numbers under one name, none is known to be right."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise InputError(f"The server at {base} gives {twice!r} twice in one answer; this number is not taken.")
    return found


def _object(text: str, base: str) -> dict[str, Any]:
    try:
        answer = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, base))
    except InputError:
        raise
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise InputError(f"The server at {base} does not answer in JSON; check the address and the port.")
    return answer


def _message(text: str) -> str:
    """What a server says is wrong, on one short line."""
    try:
        said = json.loads(text)
    except ValueError:
        said = text
    for name in ("error", "message", "detail"):
        said = said.get(name, said) if isinstance(said, dict) else said
    lines = str(said).strip().splitlines() or ["no reason given"]
    return lines[0][:200].rstrip(". ")


def _way_out(status: int) -> str:
    if status in (401, 403):
        return f"; put the server's key into the environment variable {KEY_VARIABLE}"
    return "; check the address" if status in (301, 302, 307, 308, 404, 405) else ""


def _asked_pause(response: httpx.Response) -> float | None:
    """Seconds the server asks to wait, by `Retry-After` as a number or a date."""
    text = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
