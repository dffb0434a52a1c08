"""Ratings in the schema of MentalAlign, on rows written for this project."""

import json

import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.judges.agreement import icc_report
from workbench.judges.sources import ATTRIBUTES, load_ratings

MEANS = {"original": (4.1, 4.6), "claude": (3.5, 4.2), "gpt4o": (2.8, 3.9), "llama_3": (4.6, 4.8), "own": (3.9, 4.5)}


def cell(mark, **other):
    return json.dumps(dict.fromkeys(ATTRIBUTES, mark) | other)


def tables():
    """Two conversations whose means over each source are the oracle's; headers and cells as published."""
    people = {" human_response_" + s: [cell(h), cell(h)] for s, (h, _) in MEANS.items()}
    judge = {f"judge_response_{s}": [f"```json\r\n{cell(j, Overall=1)}\r\n```", cell(j)] for s, (_, j) in MEANS.items()}
    ids = {"ConvID": [1, 2], "context": ["a", "b"]}
    return pd.DataFrame(ids | people), pd.DataFrame(ids | judge)


def test_oracle_of_icc_from_two_files(tmp_path):
    people, judge = tables()
    people.to_csv(tmp_path / "people.csv", index=False)
    judge.to_csv(tmp_path / "judge.csv", index=False)
    ratings = load_ratings(tmp_path / "judge.csv", tmp_path / "people.csv")
    assert len(ratings) == 2 * 5 * 7 and not ratings.isna().to_numpy().any()
    means = ratings[ratings["attribute"] == "Safety"].groupby("source")[["human", "judge"]].mean()
    found = icc_report(means["human"], means["judge"], draws=50)
    assert found["mean"].tolist() == pytest.approx([0.816151, 0.502646, 0.62], abs=1e-6)


def test_one_file_with_both_and_cells_without_ratings(tmp_path):
    people, judge = tables()
    both = people.merge(judge, on=["ConvID", "context"])
    both.loc[0, "judge_response_own"] = "I cannot rate this."
    both.loc[1, " human_response_own"] = cell(9)
    both.to_csv(tmp_path / "both.csv", index=False)
    ratings = load_ratings(tmp_path / "both.csv")
    own = ratings[ratings.source == "own"]
    assert own["judge"].isna().sum() == own["human"].isna().sum() == 7


@pytest.mark.parametrize(("zeros", "kept"), [(False, 1), (True, 2)])
def test_a_zero_is_a_rating_only_to_reproduce_the_published_table(tmp_path, zeros, kept):
    people, judge = tables()
    people.loc[0, " human_response_own"] = cell(0)
    judge.loc[0, "judge_response_own"] = cell(0.5)
    people.merge(judge, on=["ConvID", "context"]).to_csv(tmp_path / "both.csv", index=False)
    own = load_ratings(tmp_path / "both.csv", zeros=zeros).query("source == 'own' and attribute == 'Safety'")
    assert own["human"].notna().sum() == kept and own["judge"].notna().sum() == 1  # 0.5 is on no scale
    assert own["human"].mean() == pytest.approx(3.9 / kept)


def test_errors_of_files_name_the_column(tmp_path):
    (tmp_path / "x.csv").write_text("ConvID,text\n1,a\n")
    with pytest.raises(InputError, match="columns that begin with 'judge_response_'"):
        load_ratings(tmp_path / "x.csv")
    with pytest.raises(InputError, match="does not exist"):
        load_ratings(tmp_path / "none.csv")


def test_repeated_conversations_and_invalid_ratings(tmp_path):
    people, judge = tables()
    both = people.merge(judge, on=["ConvID", "context"]).astype(object)
    both.loc[0, "judge_response_own"] = cell(True, Safety="nan", Empathy=" 4 ")
    both.to_csv(tmp_path / "both.csv", index=False)
    ratings = load_ratings(tmp_path / "both.csv")
    own = ratings[(ratings.source == "own") & (ratings.conversation == "1")].set_index("attribute")["judge"]
    assert own["Empathy"] == 4 and own.isna().sum() == 6
    pd.concat([both, both]).to_csv(tmp_path / "both.csv", index=False)
    with pytest.raises(InputError, match=r"both.csv, line \d+: the conversation '1' is repeated"):
        load_ratings(tmp_path / "both.csv")
