"""The one reader of users' files: what stands in them comes back exactly, or a sentence names file and line."""

import csv
import gzip
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.datasets.formats import number
from workbench.datasets.rows import Row, as_text, divided, read_columns, read_rows
from workbench.errors import InputError

COLUMNS = ("one", "two", "three")
LIKELY = [
    "None",
    "NA",
    "NULL",
    "nan",
    "007",
    "1e5",
    "1.0",
    "TRUE",
    "a, b",
    'say "so"',
    "x\ny",
    "x\r\ny",
    "a|b",
    " a",
    "",
]
ODD = ["\u2028", "\x0b", "\x85", "\x1c", "\ufeff", "2³", "é", "—", "\\", "\\|", ' "a"', "; ", "\t"]
TEXT = st.one_of(
    st.sampled_from([*LIKELY, *ODD]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
TABLE = st.lists(
    st.tuples(TEXT, TEXT, TEXT).filter(lambda row: any(cell.strip() for cell in row)), min_size=1, max_size=5
)


def as_csv(path, table, header=COLUMNS):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *table])
    return path


def as_json(path, table, ascii=False):
    lines = [json.dumps(dict(zip(COLUMNS, row)), ensure_ascii=ascii) for row in table]
    text = "\n".join(lines) if path.suffix == ".jsonl" else f"[{', '.join(lines)}]"
    path.write_bytes(text.encode())
    return path


def cells(path):
    return [tuple(row.text(name) for name in COLUMNS) for row in read_rows(path, COLUMNS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@given(TABLE, st.booleans())
@settings(max_examples=100, deadline=None)
def test_every_text_comes_back_as_it_was_written(folder, table, ascii):
    assert cells(as_csv(folder / "t.csv", table)) == table
    assert cells(as_json(folder / "t.jsonl", table, ascii)) == table
    assert cells(as_json(folder / "t.json", table, ascii)) == table
    pd.DataFrame(table, columns=COLUMNS).to_parquet(folder / "t.parquet")
    assert cells(folder / "t.parquet") == table
    frame = read_columns(folder / "t.csv", ["two"])
    assert frame["two"].tolist() == [row[1] for row in table] and frame.index[0] == 2


@given(TABLE, st.data())
@settings(max_examples=100, deadline=None)
def test_a_row_with_a_cell_more_or_less_is_refused_with_its_line(folder, table, data):
    rows = [list(row) for row in table]
    bad = data.draw(st.integers(0, len(rows) - 1))
    rows[bad] = rows[bad][:-1] if data.draw(st.booleans()) and any(map(str.strip, rows[bad][:-1])) else [*rows[bad], ""]
    path = as_csv(folder / "m.csv", rows)
    before = sum(text.replace("\r\n", "\n").replace("\r", "\n").count("\n") for row in table[:bad] for text in row)
    with pytest.raises(InputError) as caught:
        cells(path)
    assert str(caught.value).startswith(f"m.csv, line {2 + bad + before} has {len(rows[bad])} cell")


@given(TABLE, st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_refused_by_name_or_read_as_a_part_of_itself(folder, table, data):
    for path in (
        as_csv(folder / "d.csv", table),
        as_json(folder / "d.jsonl", table),
        as_json(folder / "d.json", table),
    ):
        content = path.read_bytes()
        at = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:at])
        try:
            found = cells(path)
        except InputError as error:
            assert "d." in str(error) and str(error).endswith(".")
            continue
        assert found[:-1] == table[: len(found) - 1]  # of the last row a cell may be cut, which no reader can see
        assert path.suffix == ".csv" or found == table[: len(found)]


SAYS = {
    b"question,answer,score\nWhat is it?,Paris,5,\n": r"line 2 has 4 cells where the header has 3; put text",
    b"a,b\n1,2\n\n\"x\ny\",3\n4\n": r"line 6 has 1 cell where the header has 2",
    b"a,b\r1,2\r3\r": r"line 3 has 1 cell",
    b"a;b\n1;2\n": r"is divided by semicolons: its header is 'a;b'; save it with commas",
    b"a\tb\n1\t2\n": r"is divided by tabs",
    b"a|b\n1|2\n": r"is divided by bars: its header is 'a\|b'; save it with commas",
    b"a,a\n1,2\n": r"has the column 'a' twice",
    b",a\n0,2\n": r"has no name for column 1",
    b"a,b,\n1,2,\n": r"has no name for column 3",
    b"": r"is empty; write a header",
    b"a,b\n": r"has no rows",
    b"a,b\n,\n ,\n": r"has no rows",
    b'a,b\n1,"x\n2,y\n': r"a double quote is not closed in the row that begins on line 2",
    b'a,b\n1,"x"y\n': r"line 2: not a well-formed CSV row",
    b'a,b\n1, "x"\n': r"line 2 has a space before the opening double quote",
    b"a,b\n1,caf\xe9\n": r"line 2, contains the byte 0xE9, which is not UTF-8; save the file as UTF-8",
    b"a,b\r1,2\r1,caf\xe9\r": r"line 3, contains the byte 0xE9",
    b"a,b\n1,x\0\n": r"line 2, contains the byte 0x00",
    "a,b\n1,2\n".encode("utf-16"): r"is UTF-16 text; save it as UTF-8",
    "a,b\n1,2\n".encode("utf-16-le"): r"line 1, contains the byte 0x00",
    gzip.compress(b"a,b\n1,2\n"): r"is compressed; unpack it",
    b"PK\x03\x04\x14\x00\x06\x00": r"an Excel workbook",
    b"a,b\n1," + b"c" * 131_073 + b"\n": r"line 2: a cell has more than 131,072 characters.*JSON lines",
}  # fmt: skip


@pytest.mark.parametrize("content", SAYS, ids=list(SAYS.values()))
def test_what_no_csv_can_mean_is_one_sentence(tmp_path, content):
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(InputError, match=SAYS[content]) as caught:
        read_rows(tmp_path / "mine.csv")
    assert str(caught.value).startswith("mine.csv")


JSON_SAYS = {
    '{"a": 1}\n{"a": 2': "line 2 is not JSON",
    '{"a": 1}\n\n{"a": NaN}': "line 3 is not JSON .NaN is not JSON; write null",
    '{"a": -Infinity}': "write null",
    '{"a": 1e999}': "too large for a number; put it in quotes",
    '{"a": 123456789012345678901234}': "too large for a number",
    '{"a": 1, "b": 2, "a": 3}': "line 1 is not JSON .it has 'a' twice",
    '{"a": "\\ud800"}': r"line 1 contains half a character \(a lone surrogate\)",
    '[{"a": 1}]': r"line 1 is a JSON array; write one object a line",
    "7": "line 1 is not a JSON object",
    '{"a": 1},': "line 1 is not JSON .',' after its end",
    '{"a": 1} {"a": 2}': "after its end",
    "[" * 100_000: "line 1 is nested more than 100 levels deep",
    '{"b": 1}': "line 1 lacks the column 'a'; it has b",
}


@pytest.mark.parametrize("content", JSON_SAYS, ids=range(len(JSON_SAYS)))
def test_what_no_json_line_can_mean_is_one_sentence(tmp_path, content):
    (tmp_path / "mine.jsonl").write_text(content)
    with pytest.raises(InputError, match=JSON_SAYS[content]):
        read_rows(tmp_path / "mine.jsonl", ["a"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[\n{"a": 1},\n{"a": 2},\n]', "line 4 is not JSON"),
        ('[\n{"a": 1}\n{"a": 2}]', "line 3 is not JSON .'{' where , or ] is needed"),
        ('[{"a": 1}', "the end where , or ] is needed"),
        ('[{"a": 1}]\nmore', "'more' after its end"),
        ('{"a": 1}', "'{' where \\[ is needed"),
        ("[]", "has no rows"),
        ("", "where \\[ is needed"),
    ],
)
def test_an_array_is_read_with_its_lines(tmp_path, content, says):
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(InputError, match=says):
        read_rows(tmp_path / "mine.json")
    (tmp_path / "mine.json").write_text('[\n {"a": 1},\n\n {"a": 2}]\n')
    assert [row.where for row in read_rows(tmp_path / "mine.json")] == ["mine.json, line 2", "mine.json, line 4"]


def test_numbers_of_json_keep_their_text_and_their_type(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 42, "b": 1.50, "c": 1e5, "d": true, "e": null, "f": [1]}')
    (row,) = read_rows(tmp_path / "a.jsonl")
    assert [row.text(name) for name in "abcex"] == ["42", "1.50", "1e5", "", ""]
    assert [row.number(name) for name in "abcex"] == [42, 1.5, 100_000, None, None]
    assert row["d"] is True and "e" in row and "x" not in row and row["b"] * 2 == 3
    for column in "df":
        with pytest.raises(InputError, match=f"a.jsonl, line 1: {column} is .* not a text"):
            row.text(column)
        with pytest.raises(InputError, match="is not a number"):
            row.number(column)


@pytest.mark.parametrize(
    "text", ["nan", "NA", "None", "inf", "1_000", "1,5", "0x10", "١٢", "1e", "5 5", "1e999", "TRUE"]
)
def test_what_is_no_number_is_named(text):
    assert number(text) is None
    with pytest.raises(InputError, match=r"x.csv, line 3: .* in column 'a' is not a number"):
        Row({"a": text}, "x.csv, line 3").number("a")


def test_numbers_are_read_as_written():
    assert [number(each) for each in (" 5 ", "-.5", "1e5", "+3.", 2, True, None)] == [5, -0.5, 1e5, 3, 2, None, None]
    assert [as_text(each) for each in (752.0, 0.5, 15e9, float("nan"), None, 7, "07")] == [
        *("752", "0.5", "15000000000", "", "", "7", "07")
    ]


@given(st.lists(st.text("ab|\\", min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=4))
def test_texts_with_bars_are_written_with_a_backslash(texts):
    import re

    escaped = [re.sub(r"(\\*)\|", r"\1\1\\|", text) for text in texts]
    ends = [re.sub(r"(\\+)$", r"\1\1", text) for text in escaped[:-1]]
    assert divided("|".join([*ends, escaped[-1]])) == texts


def test_backslashes_before_anything_else_are_text():
    assert divided(r"C:\dir|\alpha\\|x") == [r"C:\dir", "\\alpha\\", "x"] and divided("a\\") == ["a\\"]


def test_only_columns_that_are_taken_need_a_name_of_their_own(tmp_path):
    (tmp_path / "a.csv").write_text(",x,y,y\n0,1,2,3\n")
    assert read_columns(tmp_path / "a.csv", ["x"])["x"].tolist() == ["1"]
    with pytest.raises(InputError, match="'y' twice"):
        read_columns(tmp_path / "a.csv", ["y"])
    with pytest.raises(InputError, match="no name for column 1"):
        read_rows(tmp_path / "a.csv")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    for name, text in (
        ("a.csv", "x,y\n1,2\n"),
        ("a.jsonl", '{"x": "1", "y": "2"}'),
        ("a.json", '[{"x": "1", "y": "2"}]'),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert [dict(row) for row in read_rows(tmp_path / name, ["x"])] == [{"x": "1", "y": "2"}]


def test_comments_are_lines_and_never_parts_of_cells(tmp_path):
    (tmp_path / "a.csv").write_text('# by hand\na,b\n# more\n1,"x\n# y"\n')
    (row,) = read_rows(tmp_path / "a.csv", comments=True)
    assert row["b"] == "x\n# y" and row.where == "a.csv, line 4"


def test_files_that_are_not_there_or_none_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.csv does not exist; give the path of a file of marks"):
        read_rows(tmp_path / "none.csv", what="marks")
    with pytest.raises(InputError, match="is a folder, not a file"):
        read_rows(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"a.parquet is damaged, or not a .parquet file"):
        read_rows(tmp_path / "a.parquet")


def test_parquet_columns_that_are_no_text_are_refused_and_single_precision_is_short(tmp_path):
    path = tmp_path / "a.parquet"
    for bad, said in ([["x", "y"], ["z"]], "list"), ([{"a": 1}, {"a": 2}], "struct"), ([b"x", b"y"], "binary"):
        pd.DataFrame({"text": ["a", "b"], "more": bad}).to_parquet(path)
        assert [row["text"] for row in read_rows(path, ["text"], ())] == ["a", "b"]
        for columns in ((["text", "more"], ()), (["text"], None)):
            with pytest.raises(InputError, match=rf"a.parquet: column 'more' has type {said}.*save the column as text"):
                read_rows(path, *columns)
    pd.DataFrame({"x": pd.array([0.1, None, 3], "Float32"), "y": [0.1, 2.5, 7]}).to_parquet(path)
    assert [(row["x"], row["y"]) for row in read_rows(path)] == [("0.1", "0.1"), ("", "2.5"), ("3", "7")]
