"""Survey items, shares and microdata in users' files: "None" is an answer, an empty cell is none, all is counted."""

from collections import Counter

import pandas as pd
import pytest

from workbench.cultural_alignment.instruments import country_scores, load_instrument, load_personas, load_vsm
from workbench.cultural_alignment.populations import load_microdata, load_shares, load_values_survey
from workbench.cultural_alignment.surveys import Instrument, SurveyItem
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


def test_shares_of_items_that_a_short_run_leaves_out_are_skipped_and_unknown_ones_refused(write):
    items = Instrument("own", [SurveyItem(f"q{i}", f"Statement {i}.", scale=("no", "yes")) for i in range(3)]).head(1)
    rows = [f"q{i},all,{option},0.5\n" for i in range(3) for option in ("no", "yes")]
    text = "item,group,option,share\n" + "".join(rows)
    assert load_shares(write(text), items)["item"].unique().tolist() == ["q0"]
    assert items.head(None).left_out == {"q1", "q2"}
    with pytest.raises(InputError, match="Unknown item 'q3'"):
        load_shares(write(text + "q3,all,no,1\n"), items)
    with pytest.raises(InputError, match=r"No row is about an item of this run \(q0\)"):
        load_shares(write("item,group,option,share\n" + "".join(rows[2:])), items)


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


SURVEY = Instrument("mine", [SurveyItem("a", "How often?", scale=("Never", "Sometimes", "Always"))])
SHARES, MATRIX = "item,group,option,share\n", "country;pdi;idv;mas;uai;ltowvs;ivr\n"


def microdata(path):
    return load_microdata(path, {"Q": [1, 2]})


def weighted(path):
    return load_microdata(path, {"Q": [1, 2]}, weight="W")


def shares(path):
    return load_shares(path, SURVEY)


def values(path):
    return load_values_survey(path, ["Q"])


REFUSED = [
    (microdata, "COUNTRY,Q\nA,1,2\n", "line 2 has 3 cells where"),
    (microdata, "COUNTRY,Q\nA\n", "line 2 has 1 cell where"),
    (microdata, "COUNTRY,Q\nA,-1\n", "one of the codes"),
    (microdata, "COUNTRY,Q2\nA,1\n", "a.csv lacks the column 'Q'"),
    (weighted, "COUNTRY,Q,W\nA,1,-2\n", "line 2: the weight in 'W' is -2"),
    (values, "S003,S017,Q\n752,1,NA\n", "line 2: 'NA' in column 'Q'"),
    (values, "S003,S017,Q\n752,heavy,3\n", "'heavy' in column 'S017'"),
    (values, "S003,S017,Q\n752,1,3\n716,-1,3\n", "line 3: the weight in"),
    (load_instrument, "id,scale\na,x|y\n", "lacks the column 'text'"),
    (load_instrument, "text,key\nWe agree.,2\n", "line 2: key is '2'"),
    (load_instrument, "text,key\nWe agree.,yes\n", "line 2: 'yes' in column 'key' is not a number"),
    (load_instrument, "text,scale\nHow, really?,a|b\n", "line 2 has 3 cells"),
    (load_instrument, "text,scale\nHow?,a||b\n", "line 2: scale .* empty"),
    (load_instrument, "text,scale\nHow?,a\n", "line 2: .*one option"),
    (load_instrument, "text,scale\nHow?,a|b|a\n", "option twice"),
    (load_instrument, "text,scale,positions\nHow?,a|b|c,1|2\n", "one position per option"),
    (load_instrument, "text,scale,positions\nHow?,a|b|c,3|2|1\n", "rising from the lowest"),
    (load_instrument, "text,scale,positions\nHow?,a|b,1|x\n", "line 2: 'x' in column 'positions'"),
    (load_instrument, "text,ordinal\nHow?,maybe\n", "line 2: ordinal is 'maybe'"),
    (load_instrument, "text\n\u2028\n", "a.csv .* no rows"),
    (load_instrument, "id,text\na,b\na,c\n", "a.csv: .*id twice"),
    (shares, SHARES + "a,N,1,.5,\n", "line 2 has 5 cells where the header has 4"),
    (shares, SHARES + "z,N,1,1\n", "Unknown item 'z' in a.csv, line"),
    (shares, SHARES + "a,N,1,0.5\na,N,2,0.6\na,N,3,0.1\n", "add up to 1.2; correct the file"),
    (shares, SHARES + "a,N,1,0.5\na,N,3,0.5\n", "lacks an option"),
    (shares, SHARES + "a,N,1,0.5\na,N,1,0.5\na,N,2,0\n", "twice"),
    (shares, SHARES + "a,N,1,-0.5\na,N,2,0.5\na,N,3,1\n", "negative"),
    (shares, SHARES + "a,N,Often,1\n", "not an option of item 'a'"),
    (shares, SHARES + "a,N,\u00b2,1\n", "line 2: '\u00b2' is not an option of item 'a'"),  # a digit, but no decimal
    (shares, SHARES + "a,N,1,half\n", "'half' in column 'share' is not a number"),
    (load_personas, "name,text\nNorth,You live, there.\n", "line 2 has 3 cells"),
    (load_personas, "name,text\nNorth,\n", "line 2: text is empty"),
    (country_scores, MATRIX + "Sweden;31;71;5;29;53;78\n" * 2, "line 3: the country 'Sweden' occurs twice"),
    (country_scores, MATRIX + "Sweden;low;71;5;29;53;78\n", "'low' in column 'PDI' is not a number"),
    (country_scores, "country,pdi\nSweden,31\n", "commas.*semicolons"),
    (load_vsm, "id,text,scale\na,How?,x|y\n", "m01 to m24"),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_errors_name_file_and_line(write, read, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(text))
    assert "a.csv" in str(caught.value)
