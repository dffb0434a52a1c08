"""Bytes, text, JSON and YAML from outside: files of users, of other programs and of earlier runs.

Every function raises `InputError`, in one sentence, for whatever is wrong with what it reads. A line ends at a line
feed, a carriage return or both, as in an editor, and at no other character.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import yaml

from workbench.errors import InputError, one_line

T = TypeVar("T")
LARGEST = 1 << 28
"""Bytes of a file that is read as a whole."""
LARGEST_YAML = 1 << 22
"""Bytes of a YAML file, of which a second reads about a million."""
DEEPEST = 100
"""Levels of nesting in JSON and YAML."""
BLOCK = 1 << 20
"""Bytes that are searched at once."""
LONGEST_LINE = 1 << 24
"""Characters of a line."""
MOST_NODES = 1_000_000
"""Values of a YAML file after its aliases are expanded."""
MOST_VALUES = 10_000_000
"""Values of a JSON text, each of which takes about 100 bytes of memory."""
SIGNATURES = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PK\x03\x04": "an Excel workbook or a zip archive; save the sheet as CSV in UTF-8",
    b"\x1f\x8b": "compressed; unpack it",
    b"PAR1": "a Parquet file; end its name in .parquet",
}
"""First bytes of a file that is not text -> its format and the way out."""
KINDS: dict[Any, str] = {
    dict: "an object {...}",
    list: "a list [...]",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
"""Type -> its name in JSON, for errors."""


def printable(text: object, longest: int = 300) -> str:
    """Return text from outside on one line of at most this many characters, safe for a terminal and UTF-8.

    Escape sequences are removed; other control characters and line ends become spaces.
    """
    return one_line(" ".join(one_line(text, 20 * longest).split()), longest)


@contextmanager
def opened_file(path: Path, largest: int | None = None) -> Iterator[BufferedReader]:
    """Open a regular file for reading in binary.

    Args:
        path: The file.
        largest: Most bytes it may have; None for no limit.

    Raises:
        InputError: The file does not exist, is a folder, pipe or device, is a file without a size that has content (of
            /proc; some of them never end), is too large, or cannot be read; also for such an error while it is read.
    """
    name = printable(path)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise InputError(f"{name} {_why(error, path)}.") from None
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(state.st_mode) else "a pipe or a device"
        raise InputError(f"{name} is {what}, not a file; name a file.")
    with os.fdopen(handle, "rb") as file:
        if largest is not None and state.st_size > largest:
            raise InputError(
                f"{name} has {state.st_size:,} bytes, more than the {largest:,} that are read; check the path."
            )
        try:
            if not state.st_size and file.read(1) != b"":
                raise InputError(f"{name} has content but no size, as files of /proc have; copy it and name the copy.")
            file.seek(0)
            yield file
        except OSError as error:
            raise InputError(f"{name} {_why(error, path)}.") from None


def _why(error: OSError | ValueError, path: Path) -> str:
    """Return why a file cannot be read, and the way out."""
    code = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENOTDIR):
        where = "" if os.path.isabs(path) else ", neither in the current folder nor in the checkout"
        return f"does not exist{where}; check the path"
    if code == errno.EISDIR or os.path.isdir(path):  # as Windows reports a folder as one without permission
        return "is a folder, not a file; name a file"
    if code in (errno.EACCES, errno.EPERM):
        return "cannot be read: this user has no permission; change its permissions"
    return f"cannot be read ({printable(getattr(error, 'strerror', None) or error)}); check the path"


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """Return the bytes of a regular file of at most `largest` bytes.

    Raises:
        InputError: The file cannot be read, see `opened_file`.
    """
    with opened_file(path, largest) as file:
        content = file.read(largest + 1)
    if len(content) > largest:  # files grow
        raise InputError(f"{printable(path)} has more than the {largest:,} bytes that are read; check the path.")
    return content


def read_text(path: Path, largest: int = LARGEST) -> str:
    """Return the text of a UTF-8 file, without a byte order mark; every line end becomes a line feed.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    content = read_bytes(path, largest)
    try:
        if b"\0" not in content:
            return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        pass
    raise not_utf8(path)


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file of any size, line ends included.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    try:
        with opened_file(path) as raw, open(raw.fileno(), encoding="utf-8-sig", newline="", closefd=False) as file:
            while line := file.readline(LONGEST_LINE):
                if "\0" in line:
                    raise not_utf8(path)
                if len(line) == LONGEST_LINE:
                    raise InputError(
                        f"{printable(path)} has a line of more than {LONGEST_LINE:,} characters; check the path."
                    )
                yield line
    except UnicodeDecodeError:
        raise not_utf8(path) from None


def not_utf8(path: Path) -> InputError:
    """Return the error for a file that is not UTF-8: its format, or the line and byte that break the encoding."""
    name = printable(path.name)
    with opened_file(path) as file:
        start = file.read(4)
        file.seek(0)
        for signature, format in SIGNATURES.items():
            if start.startswith(signature):
                return InputError(f"{name} is {format}.")
        text, count = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape"), 1
        while part := text.readline(BLOCK):
            if bad := re.search("[\0\udc80-\udcff]", part):
                return InputError(
                    f"{name}, line {count}, contains the byte 0x{ord(bad[0]) & 0xFF:02X}, which is not UTF-8; save the "
                    "file as UTF-8 (in a spreadsheet: CSV UTF-8)."
                )
            count += part.endswith("\n")
    return InputError(f"{name} is not UTF-8 text; save it as UTF-8.")


def read_json(path: Path, strict: bool = True, largest: int = LARGEST) -> Any:
    """Return the value in a JSON file; see `parse_json`.

    Raises:
        InputError: The file cannot be read, or is not JSON.
    """
    return parse_json(read_text(path, largest), printable(path), strict)


def parse_json(text: str, where: str, strict: bool = True, finite: bool = True, most: int = MOST_VALUES) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text.
        where: Name of the file or place, for errors.
        strict: Whether to refuse NaN and infinities, names that occur twice in one object, control characters, and
            halves of characters.
        finite: Whether NaN and infinities are among these.
        most: Values that it may have, by its commas and brackets.

    Raises:
        InputError: The text is not JSON, has too many values, or is nested more than `DEEPEST` levels deep.
    """
    pairs, constant = _pairs if strict else None, _constant if strict and finite else None
    if sum(map(text.count, ",[{")) > most:
        raise InputError(f"{where} has more than {most:,} values; check that it is the right file, or divide it.")
    try:
        value = json.loads(text, strict=strict, object_pairs_hook=pairs, parse_constant=constant)
        if strict and "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise InputError(f"{where}, line {error.lineno}, is not JSON ({error.msg} at column {error.colno}).") from None
    except UnicodeEncodeError:
        raise InputError(f"{where} contains half a character (a lone surrogate); write the character itself.") from None
    except RecursionError:
        raise too_deep(where) from None
    except ValueError as error:
        raise InputError(f"{where} is not JSON ({printable(error)}).") from None
    check_depth(value, where)
    return value


def check_depth(value: Any, where: str) -> None:
    """Refuse a JSON value that is nested more than `DEEPEST` levels deep.

    Raises:
        InputError: The value is nested too deeply.
    """
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, dict | list)]:
        if (depth := depth + 1) > DEEPEST:
            raise too_deep(where)
        level = [child for v in level for child in (v.values() if isinstance(v, dict) else v)]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name, value in pairs:
        if name in merged:
            raise ValueError(f"it has {name!r} twice")
        merged[name] = value
    return merged


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON; write null where there is no number")


def too_deep(where: str) -> InputError:
    """Return the error for JSON or YAML that is nested too deeply."""
    return InputError(f"{where} is nested more than {DEEPEST} levels deep; check that it is the right file.")


def field(content: Any, name: str, kind: type[T] | tuple[type[T], ...], where: str) -> T:
    """Return a field of a JSON object.

    Args:
        content: The object.
        name: The field.
        kind: Its type, or several; true and false are no numbers.
        where: Name of the file or place, for errors.

    Raises:
        InputError: `content` is no object, or the field is missing or of another type.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(content, dict):
        raise InputError(f"{where} is {kind_of(content)}, not an object {{...}} with the field {name!r}.")
    if name not in content:
        raise InputError(f"{where} has no field {name!r}.")
    value = content[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(KINDS.get(each, each.__name__) for each in kinds)
        raise InputError(f"{where}: the field {name!r} is {kind_of(value)}, and must be {wanted}.")
    return value


def kind_of(value: Any) -> str:
    """Return the name of a value's type in JSON, for errors."""
    return "null" if value is None else KINDS.get(type(value), type(value).__name__)


class _Plain(yaml.SafeLoader):
    """Safe YAML in which only null and plain decimal numbers have types; yes, no, 010, 12:30 and dates stay text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


class _Typed(_Plain):
    """The same with true, false and the merge key <<."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


_Typed.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"([Tt]rue|[Ff]alse)$"), list("tTfF"))
_Typed.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<$"), ["<"])
for _loader in (_Plain, _Typed):
    _loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|)$"), ["~", "n", "N", ""])
    for _name, _pattern in (("int", r"-?(0|[1-9][0-9]*)$"), ("float", r"-?[0-9]+\.[0-9]+$")):
        _loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list("-0123456789"))


def read_yaml(path: Path, typed: bool = False) -> Any:
    """Return the value in a YAML file; see `parse_yaml`.

    Raises:
        InputError: The file cannot be read, or is not YAML.
    """
    return parse_yaml(read_text(path, LARGEST_YAML), printable(path.name), typed)


def parse_yaml(text: str, where: str, typed: bool = False, texts: bool = False) -> Any:
    """Return the value of a YAML text.

    Args:
        text: The text.
        where: Name of the file or place, for errors.
        typed: Whether true and false have a type beside null and decimal numbers; 010, 12:30, no and dates stay text.
        texts: Whether every value stays text.

    Raises:
        InputError: The text is not YAML, a key occurs twice or is no plain value, or it is too long, too deeply nested,
            or too large once its aliases are expanded.
    """
    if len(text) > LARGEST_YAML:
        raise InputError(f"{where} has more than the {LARGEST_YAML:,} characters that are read as YAML; shorten it.")
    try:
        loader = (yaml.BaseLoader if texts else _Typed if typed else _Plain)(text)
        node = loader.get_single_node()
        _check_node(node, where)
        return None if node is None else loader.construct_document(node)
    except InputError:
        raise
    except RecursionError:
        raise too_deep(where) from None
    except Exception as error:  # tags such as !!int and !!timestamp raise whatever their conversion raises
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        at = f"{where}, line {mark.line + 1}," if mark else where
        raise InputError(f"{at} is not well-formed YAML ({printable(problem)}); correct it there.") from None


def _check_node(root: yaml.Node | None, where: str) -> None:
    """Refuse repeated keys, cycles, deep nesting, and aliases that expand to too many values."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > DEEPEST or sizes.get(id(node)) == 0:  # 0: its content is being counted, so it contains itself
            raise too_deep(where)
        if id(node) not in sizes:
            sizes[id(node)] = 0
            mapping = isinstance(node, yaml.MappingNode)
            children = [each for pair in node.value for each in pair] if mapping else node.value
            if mapping:
                _check_keys([key for key, _ in node.value], where)
            nested = children if isinstance(node, yaml.CollectionNode) else []
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in nested)
        return sizes[id(node)]

    if root is not None and size(root, 1) > MOST_NODES:
        raise InputError(f"{where} expands to more than {MOST_NODES:,} values by its aliases (*name); write it out.")


def _check_keys(keys: list[yaml.Node], where: str) -> None:
    seen: set[str] = set()
    for key in keys:
        at = f"{where}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise InputError(f"{at}: a key is a list or a mapping; write the key as text.")
        if key.value in seen:  # also 1 and "1"
            raise InputError(f"{at}: the key {key.value!r} occurs twice; keep one of them.")
        seen.add(key.value)
