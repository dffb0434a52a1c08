"""An HTTP connection to a completions server: retries with back-off, a key that stays in memory, a ledger of tokens."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import weakref
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "WORKBENCH_API_KEY"
OPENAI_VARIABLE = "OPENAI_API_KEY"
OPENAI_HOST = "https://api.openai.com/"
"""The only place the second variable's key is ever sent to."""
BACKOFF = 0.5
"""Seconds before the second try; doubled with every further one."""
LONGEST_WAIT = 300.0
"""Seconds; a server that asks for a longer pause is left alone."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


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
            InputError: If `httpx` is not installed, or the key in the environment cannot be one.
        """
        try:
            import httpx
        except ImportError as error:
            raise InputError(
                "Models behind a server need httpx; install it with pip install 'workbench[server]'."
            ) from error
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
