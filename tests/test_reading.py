"""Whatever a file from outside contains, reading it ends in a value or in one sentence."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.files import digests, sha256_of
from workbench.reading import (
    DEEPEST,
    field,
    opened_file,
    parse_json,
    parse_yaml,
    printable,
    read_bytes,
    read_json,
    read_text,
    read_yaml,
    text_lines,
)

BOMB = "a0: &a0 [x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "line 1, is not JSON"),
        ("[" * 2000, "levels deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "levels deep"),
        ('{"a": 1, "a": 2}', "it has 'a' twice"),
        ("[NaN]", "NaN is not JSON"),
        ("-Infinity", "write null"),
        (r'["\ud800"]', "half a character"),
        ("9" * 5000, "is not JSON"),
    ],
)
def test_json_that_is_refused(text, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        parse_json(text, "file.json")


def test_json_of_other_programs_may_have_infinities_and_repeated_names():
    assert parse_json('{"a": 1, "a": Infinity}', "config.json", strict=False) == {"a": float("inf")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (BOMB, "by its aliases"),
        (MERGES, "by its aliases"),
        ("a: &a [*a]", "levels deep"),
        ("[" * 150 + "]" * 150, "levels deep"),
        ("[" * 5000, "levels deep"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' occurs twice"),
        ("? [a]\n: b", "a key is a list or a mapping"),
        ("a: !!python/object/apply:os.system [id]", "not well-formed YAML"),
        ("a: !!int x", "not well-formed YAML"),
        ("a: !!float {}", "not well-formed YAML"),
        ("a: !!timestamp 2020-99-99", "not well-formed YAML"),
        ("a: 'b", "not well-formed YAML"),
        ("a: b\n---\nc: d", "not well-formed YAML"),
        ("x" * (1 << 23), "more than the"),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
def test_yaml_that_is_refused(text, sentence, typed):
    with pytest.raises(InputError, match=re.escape(sentence)):
        parse_yaml(text, "file.yaml", typed)


def test_yaml_of_many_keys_takes_linear_time():
    assert len(parse_yaml("\n".join(f"k{i}: v" for i in range(5000)), "file.yaml")) == 5000


@pytest.mark.parametrize("typed", [True, False])
def test_words_and_odd_numbers_of_yaml_stay_text(typed):
    text = "[yes, 010, 12:30, 2020-01-01, 1_000, 0x1F, .inf, 7, 0.5, null]"
    words = ["yes", "010", "12:30", "2020-01-01", "1_000", "0x1F", ".inf"]
    assert parse_yaml(text, "f", typed) == [*words, 7, 0.5, None]
    assert parse_yaml("[true, False]", "f", typed) == ([True, False] if typed else ["true", "False"])


@pytest.mark.parametrize("read", [read_bytes, read_text, read_json, read_yaml, lambda path: list(text_lines(path))])
def test_no_reader_waits_for_a_pipe_or_takes_a_device_or_folder(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    odd = [tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "none", tmp_path / "loop", tmp_path / ("x" * 300)]
    for path in [*odd, tmp_path / "a\0b", tmp_path / "\ud800", "/proc/kcore"]:
        with pytest.raises(InputError) as caught:
            read(type(tmp_path)(path))
        assert "\n" not in str(caught.value) and str(caught.value).isprintable()


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"1,099,511,627,776 bytes, more than the 268,435,456"):
        read_json(tmp_path / "big")


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="no /proc")
@pytest.mark.parametrize(
    "read", [read_bytes, sha256_of, lambda path: digests([path]), lambda path: list(text_lines(path))]
)
def test_files_without_a_size_are_not_read_for_ever(read):
    with pytest.raises(InputError, match="has content but no size, as files of /proc"):
        read(Path("/proc/self/pagemap"))


def test_text_that_is_not_utf8_is_named_by_line_and_byte(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\ntw\xe9\n")
    for read in (read_text, lambda path: list(text_lines(path))):
        with pytest.raises(InputError, match=r"a\.txt, line 2, contains the byte 0xE9"):
            read(tmp_path / "a.txt")


def test_an_error_of_the_caller_is_not_an_error_of_the_file(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(ZeroDivisionError), opened_file(tmp_path / "a"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "is a list [...], not an object"),
        ({}, "has no field 'n'"),
        ({"n": "1"}, "is text, and must be a whole number"),
        ({"n": True}, "is true or false, and must be a whole number"),
        ({"n": None}, "is null"),
    ],
)
def test_a_field_of_another_type_is_a_sentence(content, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        field(content, "n", int, "x.json")
    assert field({"n": 3}, "n", (int, float), "x.json") == 3


@given(st.text(st.characters(), max_size=60), st.integers(1, 40))
def test_printable_text_cannot_steer_a_terminal(text, longest):
    shown = printable(f"\x1b]0;title\x07\x1b[31m{text}\x1b[0m\x9b2J", longest)
    assert len(shown) <= longest and not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", shown)
    assert "title" not in shown or "title" in text


@given(st.binary(max_size=200) | st.text("{}[]:,*&!<\"' \n-?|>ab0~#%@", max_size=200).map(str.encode))
def test_any_bytes_end_in_a_value_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(content)
    for read in (read_json, read_yaml, lambda path: read_yaml(path, typed=True), lambda path: list(text_lines(path))):
        try:
            json.dumps(read(path), default=str)
        except InputError as error:
            assert str(error).isprintable()
