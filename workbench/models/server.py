"""Models behind a server: the address a user writes, what the server states of its model, and the `Model` of both."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from workbench.errors import InputError, unknown
from workbench.models import embedded
from workbench.models import fingerprint as fingerprints
from workbench.models.connection import KEY_VARIABLE, Connection
from workbench.models.model import Model

FORMS = "vllm://host:port/NAME or openai+https://host/v1/NAME"
SCHEMES = {"vllm": "http", "vllm+https": "https", "openai+http": "http", "openai+https": "https"}
HOST = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?")
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
SECRET = re.compile(r"key|token$|secret|password|auth", re.I)
STATED = ("id", "root", "parent", "max_model_len", "revision")
"""Fields of a model's card that tell one model from another; `created` is left out, vLLM sets it anew at each call."""
PATHS = ("tokenizer", "check_against")
"""Options whose value may be a path."""


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
    names: Any = field(default=None, repr=False)
    """What the tokenizer calls each token, to compare with the server's names, once something was read."""
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


def open_model(source: str, trust_remote_code: bool = False) -> Model:
    """The model at an address; the server is asked what it serves, and the tokenizer's files are found.

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
    return Model(
        name=source,
        folder=folder,
        adapter=None,
        device="server",
        dtype="as served",
        fingerprint=digest,
        revision=address.revision,
        note="its weights were not seen: the fingerprint is what the server states and the tokenizer's files",
        trust_remote_code=trust_remote_code,
        # an answer takes one token of room, and the encoder counts the last option token as free
        server=Server(address, connection, stated, longest - 2, f"{tokenizer} {commit}".strip()),
    )


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
    if name == embedded.NAME:
        return name
    for text in (name, root):
        if HUB_ID.fullmatch(text.partition("@")[0]) or (Path(text).is_absolute() and Path(text).is_dir()):
            return text
    raise InputError(
        f"There is no tokenizer {name!r}; name its folder or hub id: ?tokenizer=FOLDER_OR_HUB_ID in the address."
    )


def _tokenizer_folder(source: str, named: bool) -> tuple[Path, str]:
    """Folder and commit of the tokenizer: a short name, a folder (by a relative path if `named`), or a hub id."""
    from workbench.models.loading import hub_snapshot

    folder = Path(source).expanduser()
    if source == embedded.NAME:
        return embedded.located(), ""
    if folder.is_dir() and (named or folder.is_absolute()):
        return folder, ""
    name, _, revision = source.partition("@")
    if not HUB_ID.fullmatch(name):
        raise InputError(
            f"There is no tokenizer {source!r}; name its folder or hub id: ?tokenizer=FOLDER_OR_HUB_ID in the address."
        )
    try:
        return hub_snapshot(name, revision or None, weights=False)
    except InputError as error:
        raise InputError(f"{str(error)[:-1]} (?tokenizer=FOLDER in the model's address names one).") from error
