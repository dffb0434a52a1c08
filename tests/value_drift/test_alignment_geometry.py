"""States with a planted distance between safe and unsafe texts, through everything the notebook computes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.value_drift import alignment_geometry as geometry

N = 16
LABELS = np.array(["safe", "unsafe"] * N)


def states(distance: float, seed: int = 0) -> np.ndarray:
    """Two groups of unit spread in three dimensions, so far apart along the first; noise is the same of one seed."""
    noise = np.random.default_rng(seed).normal(size=(2 * N, 3))
    return noise + np.outer(LABELS == "unsafe", [distance, 0, 0])


PLANTED = {
    ("unsafe", 0): states(4),
    ("unsafe", 2): states(3),
    ("unsafe", 6): states(1),
    ("safe", 0): states(4),
    ("safe", 2): states(5),
    ("safe", 6): states(9),
}


@pytest.fixture(scope="module")
def changes() -> pd.DataFrame:
    return geometry.changes(PLANTED, LABELS, draws=60, seed=0)


def test_a_layer_that_separates_is_told_from_one_that_does_not() -> None:
    table = geometry.layer_indices(np.stack([states(0, 1), states(6)], axis=1), [3, -1], LABELS, seed=0)
    assert list(table["layer"]) == [3, -1] and set(table["n"]) == {2 * N}
    assert list(table["apart"]) == ["at chance", "yes"]
    assert table.loc[1, "A"] > table.loc[1, "A_shuffled_95"] and table.loc[1, "D"] > table.loc[0, "D"]
    assert table.loc[1, "A"] == geometry.aqi(geometry.cluster_indices(states(6), LABELS))


def test_changes_are_those_planted_and_the_contrast_is_their_difference(changes: pd.DataFrame) -> None:
    assert list(changes["run"].unique()) == ["unsafe advice", "safe advice", "unsafe minus safe advice"]
    assert changes.groupby(["run", "step"], sort=False)["variant"].agg("".join).tolist() == ["DA"] * 6
    end = geometry.last_changes(changes)
    for variant in geometry.TESTED:
        unsafe, safe, both = end.loc[variant, "mean"][["unsafe advice", "safe advice", "unsafe minus safe advice"]]
        assert unsafe < 0 < safe and both == pytest.approx(unsafe - safe)
        assert end.loc[(variant, "safe advice"), "before"] == geometry.aqi(
            geometry.cluster_indices(states(4), LABELS), variant
        )


def test_planted_claims_hold_and_those_of_no_change_do_not(changes: pd.DataFrame) -> None:
    assert [claim.verdict for claim in geometry.findings(changes)] == ["holds"] * 6
    still = {key: states(4, seed) for seed, key in enumerate(PLANTED)} | {
        ("unsafe", 0): states(4),
        ("safe", 0): states(4),
    }
    verdicts = {claim.verdict for claim in geometry.findings(geometry.changes(still, LABELS, 60, 0))}
    assert "holds" not in verdicts


def test_the_space_is_fitted_on_the_untrained_model() -> None:
    assert np.array_equal(geometry.in_base_space(PLANTED, None, 0)["safe", 6], PLANTED["safe", 6])
    assert geometry.in_base_space(PLANTED, 1, 0)["safe", 6].shape == (2 * N, 1)


def test_step_0_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def reads(model: str, texts: list[str], layers: list[int], show_progress: bool) -> np.ndarray:
        seen.append((model, layers))
        return np.ones((len(texts), 1, 3))

    monkeypatch.setattr(geometry, "hidden_states", reads)
    series = {"unsafe": [(0, "base"), (4, "later")]}
    found = geometry.checkpoint_states(series, ["a", "b"], 7, np.zeros((2, 3)))  # type: ignore[arg-type]
    assert seen == [("later", [7])]
    assert found["unsafe", 0].sum() == 0 and found["unsafe", 4].shape == (2, 3)


def test_raw_indices_are_of_every_checkpoint() -> None:
    table = geometry.raw_indices(PLANTED, LABELS).set_index(["run", "step"])
    assert len(table) == 6 and set(table["n"]) == {2 * N}
    assert table.loc[("safe advice", 6), "chi"] == geometry.cluster_indices(states(9), LABELS)["chi"]


def test_groups_are_measured_by_themselves_and_small_ones_named() -> None:
    sentences = pd.DataFrame({"label": LABELS, "group": ["a"] * 14 + ["b"] * 14 + ["few"] * 4})
    with pytest.warns(UserWarning, match="'few' has fewer than 6"):
        table = geometry.group_changes(PLANTED, sentences, draws=20, seed=0)
    assert table.groupby("group")["variant"].agg("".join).to_dict() == {"a": "DA", "b": "DA"}
    alone = geometry.aqi_changes(states(4)[14:28], states(1)[14:28], LABELS[14:28], 20, 0)
    assert table[table["group"] == "b"]["mean"].tolist() == [row["mean"] for row in alone]


@pytest.mark.parametrize("groups", [{}, {"group": "one"}])
def test_sentences_without_groups_give_the_reason(groups: dict[str, str]) -> None:
    table = geometry.group_changes(PLANTED, pd.DataFrame({"label": LABELS}).assign(**groups), draws=5, seed=0)
    assert table.empty and "no groups" in table.attrs["reason"]


def test_figures_say_what_they_show(changes: pd.DataFrame) -> None:
    curve, flat = geometry.draw_changes(changes), geometry.draw_projection(PLANTED, LABELS, 0)
    assert "unsafe and on safe advice" in curve.get_label() and "principal components" in flat.get_label()
    assert [axes.get_title("left").replace("\n", " ") for axes in flat.axes] == [
        "before",
        "after unsafe advice",
        "after safe advice",
    ]


def test_measured_sentences_are_not_those_trained_on() -> None:
    from workbench.value_drift import texts

    measured = geometry.evaluation_sentences("written", skip=12)
    trained = {row["completion"] for label in ("safe", "unsafe") for row in texts.advice_rows(label, 12)}
    assert len(measured) == 2 * (40 - 12) and not trained & set(measured["text"])
