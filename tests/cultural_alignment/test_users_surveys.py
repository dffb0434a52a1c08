"""Survey items, shares and microdata in users' files: "None" is an answer, an empty cell is none, all is counted."""

from collections import Counter

import pandas as pd
import pytest

from workbench.cultural_alignment.instruments import country_scores, load_instrument, load_personas
from workbench.cultural_alignment.populations import load_microdata, load_shares, load_values_survey
from workbench.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_none_is_an_answer_with_its_share(write):
    items = load_instrument(write("id,text,scale\nq,How many?,None|One|NA\n"))
    assert items[0].scale == ("None", "One", "NA")
    shares = load_shares(write("item,group,option,share\nq,NA,None,.5\nq,NA,One,.3\nq,NA,NA,.2\n"), items)
    assert shares["share"].tolist() == [0.5, 0.3, 0.2] and set(shares["group"]) == {"NA"}
    data = write("COUNTRY,q\nNA,None\nNA,None\nNA,One\nNA,NA\nNA,\n,One\nnull,nan\nnull,One\n")
    found = load_microdata(data, {"q": ["None", "One", "NA"]})
    assert found["group"].unique().tolist() == ["NA", "null"]
    assert found[found.group == "NA"]["share"].tolist() == [0.5, 0.25, 0.25]
    assert found[["n_used", "n_dropped"]].drop_duplicates().to_numpy().tolist() == [[4, 1], [1, 1]]
    assert found.attrs["dropped"] == {"respondents without a group": 1}


def test_one_stray_text_drops_one_respondent_and_no_item(write):
    data = write("COUNTRY,Q1,Q2\nA,1,1\nA,2,x\nA,refused,2\nB,1.0,\nC,01,9\n")
    found = load_microdata(data, {"Q1": [1, 2], "Q2": [1, 2]})
    counts = found[found.level == 0].set_index(["item", "group"])[["n_used", "n_dropped"]]
    assert counts.loc[("Q1", "A")].tolist() == [2, 1] and counts.loc[("Q1", "C")].tolist() == [1, 0]
    assert counts.loc[("Q2", "A")].tolist() == [2, 1]
    assert found.attrs["dropped"] == {"items times groups without a valid answer": 2}


def test_an_item_of_which_nothing_is_left_is_refused_or_counted(write):
    data = write("COUNTRY,Q1,Q2\nA,1,Yes\nA,2,No\n")
    with pytest.raises(
        InputError, match=r"No answer to 'Q2' in a.csv has one of the codes 1, 2; its values are 'Yes', 'No'"
    ):
        load_microdata(data, {"Q1": [1, 2], "Q2": [1, 2]})
    with pytest.raises(InputError, match="No answer to 'Q1'"):
        load_microdata(write("COUNTRY,Q1,W\nA,1,0\nA,2,\n"), {"Q1": [1, 2]}, weight="W")
    data, dropped = write("COUNTRY,Q1,Q2\nA,1,Yes\nA,2,No\n"), Counter()
    assert set(load_microdata(data, {"Q1": [1, 2], "Q2": [1, 2]}, dropped=dropped)["item"]) == {"Q1"}
    assert dropped == {"items without a valid answer": 1}
    with pytest.raises(InputError, match=r"a.csv has no valid code in column 'Q2'"):
        load_values_survey(write("S003,S017,Q1,Q2\n752,1,1,-1\n752,1,2,\n"), ["Q1", "Q2"])


def test_codes_that_are_text_are_compared_as_text(write):
    data = write("COUNTRY,zip\nA,02138\nA,2138\nA,2138.0\n")
    assert load_microdata(data, {"zip": ["02138", "2138"]})["n_used"].tolist() == [2, 2]
    assert load_microdata(data, {"zip": [2138, 1]})["n_used"].tolist() == [3, 3]


def test_parquet_gives_what_csv_gives(tmp_path, write):
    frame = pd.DataFrame({"S003": [752.0, None, 716], "S017": [1.0, 1, 0.5], "F063": pd.array([3, 4, None], "Int64")})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.parquet", "a.csv"):
        found = load_values_survey(tmp_path / name, ["F063"])
        assert found["country"].tolist() == ["Sweden", "Zimbabwe"] and found["F063"].isna().tolist() == [False, True]
        shares = load_microdata(tmp_path / name, {"F063": [3, 4]}, "S003", "S017")
        assert shares["share"].tolist() == [1, 0] and shares.attrs["dropped"]["respondents without a group"] == 1
    frame.to_parquet(tmp_path / "b.parquet", index=True)
    with pytest.raises(InputError, match=r"b.parquet lacks the column 'F064'"):
        load_values_survey(tmp_path / "b.parquet", ["F064"])


LONG = "item,group,option,share\nq,N,1,.5,\n"
TWICE = "country;pdi;idv;mas;uai;ltowvs;ivr\n" + "Sweden;31;71;5;29;53;78\n" * 2
SAYS = [
    (lambda path: load_microdata(path, {"Q": [1, 2]}), "COUNTRY,Q\nA,1,2\n", "line 2 has 3 cells where"),
    (lambda path: load_microdata(path, {"Q": [1, 2]}), "COUNTRY,Q\nA\n", "line 2 has 1 cell where"),
    (lambda path: load_values_survey(path, ["Q"]), "S003,S017,Q\n752,1,NA\n", "line 2: 'NA' in column 'Q'"),
    (lambda path: load_instrument(path), "text,scale\nHow, really?,a|b\n", "line 2 has 3 cells"),
    (lambda path: load_instrument(path), "text,scale\nHow?,a||b\n", "line 2: scale contains an empty text"),
    (lambda path: load_instrument(path), "text,scale\nHow?,a\n", "line 2: .*one option"),
    (lambda path: load_instrument(path), "text,scale,positions\nHow?,a|b,1|x\n", "line 2: 'x' in column 'positions'"),
    (lambda path: load_instrument(path), "text,ordinal\nHow?,maybe\n", "line 2: ordinal is 'maybe'"),
    (lambda path: load_instrument(path), "text\n\u2028\n", "a.csv has no rows"),
    (lambda path: load_instrument(path), "id,text\na,b\na,c\n", "a.csv: .*id twice"),
    (lambda path: load_shares(path, load_instrument()), LONG, "line 2 has 5 cells where the header has 4"),
    (lambda path: load_shares(path, load_instrument()), "item,group,option,share\nq,N,1,\n", "'q' in a.csv, line"),
    (lambda path: load_personas(path), "name,text\nNorth,You live, there.\n", "line 2 has 3 cells"),
    (lambda path: load_personas(path), "name,text\nNorth,\n", "line 2: text is empty"),
    (lambda path: country_scores(path), TWICE, "line 3: the country 'Sweden' occurs twice"),
    (lambda path: country_scores(path), "country,pdi\nSweden,31\n", "divided by commas.*save it with semicolons"),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "says"), SAYS, ids=[says for *_, says in SAYS])
def test_mistakes_name_file_and_line(write, read, text, says):
    with pytest.raises(InputError, match=says) as caught:
        read(write(text))
    assert "a.csv" in str(caught.value)


def test_an_option_number_is_a_number_in_digits(write):
    items = load_instrument(write("id,text,scale\nq,How?,a|b\n"))
    with pytest.raises(InputError, match="line 2: '²' is no option of item 'q'"):
        load_shares(write("item,group,option,share\nq,N,²,1\n"), items)
