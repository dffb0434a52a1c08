"""Looking up package archives where the user's own pip settings point, and opening them as pip would."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener, url2pathname

from workbench.errors import InputError

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
Settings = Mapping[str, str]


def pip_settings() -> Settings:
    """Return the settings of the running interpreter's pip: environment over `[download]` over `[global]`.

    `index-url` is always among them, by default pip's own.

    Raises:
        InputError: This environment has no pip.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in _pip("config", "list").splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in sections and value:
            sections[section][option] = str(ast.literal_eval(value))
    settings = sections["global"] | sections["download"] | {k: v for k, v in sections[":env:"].items() if v}
    if "index-url" not in settings:
        default = re.search(r"--index-url.*?\(default\s+(\S+?)\)", _pip("download", "--help"), re.DOTALL)
        settings["index-url"] = default.group(1) if default else ""
    return settings


def find_archive(project: str, filename: str, sha256: str, settings: Settings) -> str:
    """Return the URL of an archive from find-links or the first index that lists it.

    Raises:
        InputError: The archive is listed nowhere, no place can be reached, or the listed hash differs.
    """
    problems, other_hashes = [], []
    for place, is_index in _places(settings):
        page = f"{place.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/" if is_index else place
        try:
            url, listed = _links(page, settings).get(filename, ("", ""))
        except (OSError, HTTPException, ValueError) as error:
            if not _is_absent(page, error):
                problems.append(f"{shown(page)} ({reason(error)})")
            continue
        if url and listed in ("", sha256):
            return url
        if url:
            other_hashes.append(f"{shown(page)} lists it with SHA-256 {listed}")
    if other_hashes:
        raise InputError(f"{filename} is not the pinned file: {'; '.join(other_hashes)}, expected {sha256}.")
    way_out = "see `pip config list`, or bring the file and use `workbench fetch --from-folder DIR`"
    if problems:
        raise InputError(f"{filename} cannot be looked up, no answer from {'; '.join(problems)}: {way_out}.")
    raise InputError(f"{filename} is in none of the package indexes pip is set to use: {way_out}.")


def opened(url: str, settings: Settings, accept: str = "*/*") -> BinaryIO:
    """Open an http(s) or file URL with pip's certificates, proxy, timeout, user name and password."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path)).open("rb")
    host = parts.netloc.rpartition("@")[2]
    request = Request(urlunsplit(parts._replace(netloc=host)), headers={"Accept": accept, "User-Agent": "workbench"})
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login).decode())
    proxy = settings.get("proxy")
    handlers = [ProxyHandler({"http": proxy, "https": proxy})] if proxy else []
    opener = build_opener(HTTPSHandler(context=_tls(host, settings)), *handlers)
    timeout = float(settings.get("timeout") or settings.get("default-timeout") or 15)
    return opener.open(request, timeout=timeout)


def shown(url: str) -> str:
    """Return a URL without its user name, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def reason(error: BaseException) -> str:
    """Return an error's cause in a few words."""
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    environment = os.environ | {"COLUMNS": "1000"}  # keeps the help from wrapping inside a URL
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(
            f"pip does not answer here ({last}): run `python -m ensurepip`, or use `workbench fetch --from-folder DIR`."
        )
    return done.stdout


def _places(settings: Settings) -> list[tuple[str, bool]]:
    """Return pairs (URL, whether it is an index) in the order of search."""
    places = [(place, False) for place in settings.get("find-links", "").split()]
    if settings.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        for key in ("index-url", "extra-index-url"):
            places += [(place, True) for place in settings.get(key, "").split()]
    return [(p if "://" in p else Path(p).expanduser().absolute().as_uri(), index) for p, index in places]


def _links(page: str, settings: Settings) -> dict[str, tuple[str, str]]:
    """Return file name -> (URL, listed SHA-256 or ""), from a folder, an HTML page or a JSON page."""
    if page.startswith("file:"):
        folder = Path(url2pathname(urlsplit(page).path))
        if folder.is_dir() and not (folder / "index.html").is_file():
            return {path.name: (path.as_uri(), "") for path in folder.iterdir()}
        page = (folder / "index.html").as_uri() if folder.is_dir() else page
    with opened(page, settings, ACCEPT) as response:
        base = getattr(response, "url", None) or page
        is_json = "json" in getattr(response, "headers", {}).get("Content-Type", "")
        body = response.read()
    if is_json:
        listed = [(file["url"], file.get("hashes", {}).get("sha256", "")) for file in json.loads(body)["files"]]
    else:
        anchors = _Anchors()
        anchors.feed(body.decode("utf-8", "replace"))
        split = [urldefrag(href) for href in anchors.hrefs]
        listed = [(url, mark.removeprefix("sha256=") if mark.startswith("sha256=") else "") for url, mark in split]
    urls = [(_with_login(urljoin(base, url), page), sha256) for url, sha256 in listed]
    return {unquote(urlsplit(url).path.rpartition("/")[2]): (url, sha256) for url, sha256 in urls}


def _with_login(url: str, page: str) -> str:
    """Return a URL with the user name and password of the page that lists it, if both are on the same host."""
    parts, page_host = urlsplit(url), urlsplit(page).netloc
    same_host = parts.netloc == page_host.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=page_host)) if same_host else url


class _Anchors(HTMLParser):
    """Collects the `href` of every anchor."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _is_absent(page: str, error: BaseException) -> bool:
    """Whether an error means that a place does not have the project."""
    if page.startswith("file:"):
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return isinstance(error, HTTPError) and error.code in (404, 410)


def _tls(host: str, settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.get("cert") or None)
    if not settings.get("cert") and find_spec("certifi"):  # some Pythons come without any root certificates
        import certifi

        context.load_verify_locations(certifi.where())
    if settings.get("client-cert"):
        context.load_cert_chain(settings["client-cert"])
    if {host, host.rpartition(":")[0]} & set(settings.get("trusted-host", "").split()):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
