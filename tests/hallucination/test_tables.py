import numpy as np
import pytest
import yaml

from workbench.datasets.sources import names_of
from workbench.errors import InputError
from workbench.hallucination import tables

DICTIONARY = {
    "columns": {
        "years": {"says": "age", "unit": "years"},
        "job": {"says": "work", "values": {1: "baker", 2: "pilot"}, "missing": "no work"},
    },
    "tasks": {
        "sleep": {
            "describe": "A made-up person.",
            "features": ["years", "job"],
            "target": {"column": "hours", "above": 7},
            "question": "Does this person sleep long?",
            "choices": ["No", "Yes"],
            "ask_probability": "How probable is long sleep?",
            "group": "job",
        }
    },
}
CSV = "years,job,hours\n30,1,8\n41.5,2.0,6\n52,,7.5\n"


@pytest.fixture
def files(tmp_path):
    def write(csv=CSV, **changes):
        (tmp_path / "rows.csv").write_text(csv)
        content = yaml.safe_load(yaml.safe_dump(DICTIONARY))
        content["tasks"]["sleep"] |= changes
        (tmp_path / "columns.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "rows.csv", tmp_path / "columns.yaml"

    return write


def test_a_users_csv_becomes_questions(files):
    table = tables.load_table(*files())
    assert table.labels.tolist() == [1, 0, 1]
    assert table.groups() == ["baker", "pilot", "no work"]
    questions = tables.row_questions(table)
    assert len(questions) == 6 and len({q.id for q in questions}) == 6
    assert "- age: 41.5 years\n- work: pilot" in questions[2].prompt
    for order, question in zip(("0-1", "1-0"), questions[:2]):
        shown = question.prompt.split("\n")[-3:-1]
        assert shown == (["A. No", "B. Yes"] if order == "0-1" else ["A. Yes", "B. No"])
        by_letter = {o.text: (o.value, o.role) for o in question.options}
        positive = "B" if order == "0-1" else "A"
        assert by_letter[f" {positive}"] == by_letter[positive] == (1.0, "correct")
        assert question.tags["order"] == order and question.tags["label"] == 1


def test_numeric_questions_end_before_the_digits(files):
    table = tables.load_table(*files())
    plain = tables.row_questions(table, "numeric", digits=2)
    assert plain[0].prompt.endswith(": 0.") and len(plain[0].options) == 100
    assert plain[0].options[7].value == pytest.approx(0.075)
    chat = tables.row_questions(table, "numeric", chat=True)[0]
    assert (chat.prompt[-1].role, chat.prompt[-1].content) == ("assistant", "0.")


def test_features_for_supervised_models(files):
    features = tables.load_table(*files()).features()
    assert features["years"].tolist() == [30, 41.5, 52]
    assert features["job"].tolist() == ["baker", "pilot", "no work"]


@pytest.mark.parametrize(("name", "n", "rate"), [("anes96", 944, 0.4163), ("fair", 6366, 0.3225)])
def test_packaged_tables(name, n, rate):
    table = tables.load_table(name)
    assert len(table.rows) == n
    assert table.labels.mean() == pytest.approx(rate, abs=1e-4)
    assert len(set(table.groups())) == 2
    assert len(tables.row_questions(tables.load_table(name, n=4))) == 8


def test_a_draw_is_seeded():
    one, two, three = (tables.load_table("anes96", n=20, seed=s).rows for s in (1, 1, 2))
    assert one.equals(two) and not one.equals(three)


def test_acs_rows_in_the_format_of_the_census(tmp_path):
    header = "AGEP,COW,SCHL,MAR,RELP,WKHP,SEX,RAC1P,PINCP,EXTRA"
    rows = ["34,1,21,1,0,40,2,1,62000.0,x", "16,1,16,5,2,20,1,2,9000.0,x", "51,6.0,16,3,0,25,1,6,18000,x"]
    (tmp_path / "person.csv").write_text("\n".join([header, *rows]))
    table = tables.load_table(tmp_path / "person.csv", "acs_income")
    assert len(table.rows) == 2 and table.labels.tolist() == [1, 0]
    assert table.groups() == ["White", "Asian"]
    assert "self-employed in an unincorporated business" in tables.row_questions(table)[2].prompt
    wanted = ("income", "employment", "public_coverage", "mobility", "travel_time")
    assert {f"acs_{name}" for name in wanted} <= set(names_of("tables"))


PERSON = {
    **{"AGEP": 30, "SCHL": 21, "MAR": 1, "SEX": 2, "DIS": 2, "ESP": "", "CIT": 1, "MIL": 4, "ANC": 1, "NATIVITY": 1},
    **{"RELP": 0, "DEAR": 2, "DEYE": 2, "DREM": 2, "RAC1P": 1, "GCL": "", "COW": 1, "ESR": 1, "WKHP": 40, "JWMNP": 25},
    **{"PINCP": 20000, "MIG": 1, "JWTR": 1, "POVPIP": 501, "FER": 2, "PUBCOV": 2},
}


def acs(tmp_path, task, *people):
    rows = [",".join(str(value) for value in (PERSON | person).values()) for person in people]
    (tmp_path / "person.csv").write_text("\n".join([",".join(PERSON), *rows]))
    return tables.load_table(tmp_path / "person.csv", task)


def test_acs_mobility_is_about_young_adults_who_stayed(tmp_path):
    table = acs(tmp_path, "acs_mobility", {"AGEP": 18}, {"AGEP": 19}, {"AGEP": 34, "MIG": 3, "JWMNP": ""}, {"AGEP": 35})
    assert table.rows["AGEP"].tolist() == ["19", "34"] and table.labels.tolist() == [1, 0]
    prompt = tables.row_questions(table)[2].prompt
    assert "- time to get to work: does not work or works at home" in prompt
    assert "one year before" in prompt and "residence" not in prompt
    features = table.features()
    assert features[["JWMNP", "JWMNP is missing"]].to_numpy().tolist() == [[25, 0], [0, 1]]


def test_acs_travel_time_counts_those_who_work_at_home_as_not_above_20_minutes(tmp_path):
    home = {"JWMNP": "", "JWTR": 11}
    table = acs(tmp_path, "acs_travel_time", {}, {"JWMNP": 20}, home, {"ESR": 6, "JWMNP": ""}, {"AGEP": 16})
    assert table.labels.tolist() == [1, 0, 0]
    assert "minutes" not in tables.row_questions(table)[0].prompt.split("Question:")[0]


def test_acs_employment_is_about_all_ages(tmp_path):
    child = {"AGEP": 2, "SCHL": "", "MIL": "", "ESR": "", "DREM": "", "ESP": 4, "MAR": 5}
    assert acs(tmp_path, "acs_employment", {}, {"AGEP": 93, "ESR": 6}, child).labels.tolist() == [1, 0, 0]
    assert acs(tmp_path, "acs_public_coverage", {"PUBCOV": 1}, {"AGEP": 65}, {"PINCP": 30001}).labels.tolist() == [1]


def test_worked_examples_are_taken_out_of_the_table_and_balanced(files):
    rows = "".join(f"{30 + i},{1 + i % 2},{8 if i < 8 else 5}\n" for i in range(20))
    table = tables.load_table(*files("years,job,hours\n" + rows))
    examples, rest = tables.split_examples(table, 3, seed=1)
    assert sorted(examples.labels) == [0, 1, 1] and len(rest.rows) == 17
    assert set(examples.rows["years"]).isdisjoint(rest.rows["years"])
    for question in tables.row_questions(rest, examples=examples)[:2]:
        *shown, own = question.prompt.split("\n\nA made-up person.")
        for number, (part, label) in enumerate(zip(shown, examples.labels)):
            assert part[-1] == "AB"[int(label) if number % 2 == 0 else 1 - int(label)]
        assert own.endswith("Answer:") and question.tags["shots"] == 3
    chat = tables.row_questions(rest, chat=True, examples=examples)[0].prompt
    assert [message.role for message in chat] == ["user", "assistant"] * 3 + ["user"]
    with pytest.raises(InputError, match="take fewer"):
        tables.split_examples(table, 16)
    with pytest.raises(InputError, match="not probabilities"):
        tables.row_questions(rest, "numeric", examples=examples)


def test_yes_and_no_are_words_without_quotes(files):
    csv, columns = files("years,job,hours\n30,1,yes\n41,2,no\n52,,no\n")
    text = (
        columns.read_text().replace("above: 7", "positive: yes").replace("- 'No'", "- No").replace("- 'Yes'", "- Yes")
    )
    columns.write_text(text)
    table = tables.load_table(csv, columns)
    assert table.labels.tolist() == [1, 0, 0] and table.task.settings["choices"] == ["No", "Yes"]
    columns.write_text(text.replace("positive: yes", "positive: true"))
    csv.write_text("years,job,hours\n30,1,True\n41,2,False\n")
    assert tables.load_table(csv, columns).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("csv", "changes", "message"),
    [
        (CSV.replace("41.5,2.0", "41.5,3"), {}, r"Column 'job' contains '3' in line 3.*known: 1, 2"),
        (CSV.replace("30,1", ",1"), {}, r"Column 'years' has no value in line 2"),
        (CSV.replace("30,1", "old,1"), {}, r"Column 'years' contains 'old' in line 2, not a number of years"),
        (CSV, {"group": "town"}, r"rows.csv lacks the column 'town'"),
        (CSV, {"group": {"column": "years"}}, "`above` and two texts"),
        (CSV, {"gruop": "job"}, "Unknown key 'gruop' of task 'sleep' of columns.yaml. Did you mean 'group'"),
        (CSV, {"keep": {"years": 30}}, "least and the greatest"),
        (CSV, {"target": {"column": "hours", "above": 7, "missing": "no"}}, "negative or positive"),
        (CSV, {"target": {"column": "hours"}}, "either `positive` or `above`"),
        (CSV.replace("job", "work"), {}, r"rows.csv lacks the column 'job'"),
        (CSV.replace(",8\n", ",\n"), {}, "Target column 'hours' has no value in line 2"),
        (CSV.replace(",8\n", ",long\n"), {}, "contains 'long' in line 2, which is not a number"),
        (CSV, {"target": {"column": "hours", "positive": "yes"}}, "never contains yes"),
        (CSV, {"target": {"column": "hours", "above": "7h"}}, "`above` of the target is '7h'; write a number"),
        (CSV, {"target": {"column": "hours", "positive": None}}, "null as `positive`; write it in quotes"),
        (CSV, {"keep": {"years": ["18y", None]}}, "`keep` contains '18y'"),
        (CSV, {"question": None}, "needs a text as 'question'"),
        (CSV, {"features": ["height"]}, "Unknown column 'height' of columns.yaml"),
        (CSV, {"choices": ["Yes"]}, "two choices"),
        (CSV, {"choices": ["None of the above", "Yes"]}, "a choice refers to the other one"),
        (CSV, {"keep": {"years": [90, None]}}, "No row is left"),
        ("", {}, "rows.csv is empty"),
    ],
)
def test_errors_name_the_column_and_the_value(files, csv, changes, message):
    with pytest.raises(InputError, match=message):
        tables.load_table(*files(csv, **changes))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tables.load_table("anes69"), "Did you mean 'anes96'"),
        (lambda: tables.load_table("rows.csv"), "needs a column dictionary"),
        (lambda: tables.load_table("missing.csv", "acs_income"), "does not exist"),
        (lambda: tables.load_table("acs_income"), "path of a .csv file"),
        (lambda: tables.load_table("rows.csv", "missing.yaml"), "no column dictionary"),
        (lambda: tables.row_questions(tables.load_table("fair", n=1), "words"), "Unknown style"),
        (lambda: tables.row_questions(tables.load_table("fair", n=1), digits=3), "digits must"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_dictionary_without_its_parts_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text(CSV)
    (tmp_path / "columns.yaml").write_text("columns: {}")
    with pytest.raises(InputError, match="two parts"):
        tables.load_table(tmp_path / "rows.csv", tmp_path / "columns.yaml")
    (tmp_path / "columns.yaml").write_text("columns: {}\ntasks: {}")
    with pytest.raises(InputError, match="contains no task"):
        tables.load_table(tmp_path / "rows.csv", tmp_path / "columns.yaml")
    (tmp_path / "columns.yaml").write_text("columns: [")
    with pytest.raises(InputError, match="well-formed YAML"):
        tables.load_table(tmp_path / "rows.csv", tmp_path / "columns.yaml")


def shown(files, csv, **columns):
    """The first row's facts."""
    rows, path = files(csv, features=[*columns])
    content = yaml.safe_load(path.read_text())
    content["columns"] |= {name: {"says": name} | more for name, more in columns.items()}
    path.write_text(yaml.safe_dump(content, default_style='"').replace('"7"', "7"))
    prompts = [question.prompt for question in tables.row_questions(tables.load_table(rows, path))[::2]]
    return [[line[2:] for line in prompt.splitlines() if line.startswith("- ")] for prompt in prompts]


def test_cells_reach_the_prompt_as_the_file_has_them(files):
    csv = 'zip,pay,note,share,job,hours\n02138,15000000000,"None, or ""NA""",41.50,1,8\n1e5,21.0,NULL,1.0,1,6\n'
    facts = shown(files, csv, zip={}, pay={"unit": "dollars"}, note={}, share={})
    assert facts[0] == ["zip: 02138", "pay: 15000000000 dollars", 'note: None, or "NA"', "share: 41.50"]
    assert facts[1] == ["zip: 1e5", "pay: 21 dollars", "note: NULL", "share: 1.0"]


def test_codes_are_the_same_text_or_the_only_one_of_the_same_value(files):
    kinds = {"01": "first", "1": "second", "2": "third", "None": "none", "nan": "no number"}
    csv = "kind,job,hours\n01,1,8\n1,1,8\n2.0,1,6\nNone,1,6\nnan,1,6\n"
    assert [row[0].partition(": ")[2] for row in shown(files, csv, kind={"values": kinds})] == list(kinds.values())
    with pytest.raises(InputError, match=r"Column 'kind' contains '1.0' in line 2, which its dictionary does not"):
        shown(files, csv.replace("\n01,", "\n1.0,"), kind={"values": kinds})


def test_keys_of_a_dictionary_stay_text(files):
    rows, path = files("job,at,hours\n010,12:30,8\nNo,1_0,6\n", features=["job", "at"], group=None)
    text = path.read_text().split("tasks:")[1].replace("      group: null\n", "").replace("    group: null\n", "")
    head = "columns:\n  job: {values: {010: ten, No: none}}\n  at: {values: {12:30: noon, 1_0: night}}\ntasks:"
    path.write_text(head + text)
    first, _, second, _ = tables.row_questions(tables.load_table(rows, path))
    assert "- job: ten\n- at: noon" in first.prompt and "- job: none\n- at: night" in second.prompt
    path.write_text(head.replace("010: ten", "null: ten") + text)
    with pytest.raises(InputError, match="null among its `values`"):
        tables.load_table(rows, path)


def test_none_is_an_outcome_and_rows_left_out_are_counted(files):
    csv = "years,job,hours\n30,1,None\n41,2,Some\n,2,Some\n90,2,Some\n"
    table = tables.load_table(*files(csv, target={"column": "hours", "positive": "None"}, keep={"years": [18, 60]}))
    assert table.labels.tolist() == [1, 0] and tables.row_questions(table).dropped == table.dropped
    assert table.dropped == {"no value in 'years', which the task limits": 1, "'years' outside the task's limits": 1}
    with pytest.raises(InputError, match=r"rows.csv, line 3: 'old' in column 'years' is not a number"):
        tables.load_table(*files(csv.replace("41", "old"), keep={"years": [18, 60]}))
    with pytest.raises(InputError, match=r"rows.csv, line 2 has 4 cells where the header has 3"):
        tables.load_table(*files(csv.replace("30,", "30,5,")))


@pytest.mark.parametrize("column", ["age", {"says": "work", "values": ["baker"]}])
def test_columns_of_another_shape_are_refused(files, column):
    rows, columns = files()
    content = yaml.safe_load(columns.read_text())
    content["columns"]["job"] = column
    columns.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"Column 'job' of columns\.yaml needs keys"):
        tables.load_table(rows, columns)


def test_labels_are_numbers():
    assert np.isin(tables.load_table("fair", n=30).labels, (0, 1)).all()


def test_a_cell_of_neither_outcome_is_no_negative_one(files):
    csv = "years,job,hours\n30,1,yes\n41,2,no\n52,,unknown\n35,1,-9\n36,1,unknown\n37,1,no\n"
    target = {"column": "hours", "positive": "yes"}
    with pytest.raises(InputError, match=r"'hours' contains 'no', 'unknown', '-9' besides yes; list .* `negative`"):
        tables.load_table(*files(csv, target=target))
    table = tables.load_table(*files(csv, target=target | {"negative": ["no"]}))
    assert table.labels.tolist() == [1, 0, 0] and table.rows["years"].tolist() == ["30", "41", "37"]
    assert table.dropped == {
        "'hours' is 'unknown', which is neither outcome": 2,
        "'hours' is '-9', which is neither outcome": 1,
    }
    assert tables.load_table(*files(csv, target=target | {"negative": "no"}), n=2).dropped == table.dropped
    for bad in ({"negative": "yes"}, {"negative": None}):
        with pytest.raises(InputError, match=r"as `negative`; leave one out|contains no null"):
            tables.load_table(*files(csv, target=target | bad))
