"""Settings that a user writes in YAML: texts stay text, and a key that stands twice is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from workbench.datasets.row_formats import not_utf8
from workbench.errors import InputError

NUMBERS = (("int", r"-?(0|[1-9][0-9]*)$"), ("float", r"-?[0-9]+\.[0-9]+$"))


class _Words(yaml.SafeLoader):
    """Safe YAML in which all but null and plain decimal numbers is text: yes and no, 010, 12:30, 1_000, dates."""

    yaml_implicit_resolvers = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, if none of its keys stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.value[i][0].start_mark
                )
        return super().construct_mapping(node, deep)


_Words.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|)$"), ["~", "n", "N", ""])
for _name, _pattern in NUMBERS:
    _Words.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(_pattern), list("-0123456789"))


def user_text(path: Path) -> str:
    """The text of a user's file.

    Raises:
        InputError: It cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from None


def user_settings(text: str, name: str) -> Any:
    """What a text in YAML says; `name` is that of its file.

    Raises:
        InputError: It is no YAML, or a key stands twice.
    """
    try:
        return yaml.load(text, Loader=_Words)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{name} is not well-formed YAML: {' '.join(str(error).split())[:300]}") from None
