"""Stages with planted stances through everything the notebook computes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.value_drift import post_training, released_checkpoints, stances

PROMPTS = [(topic, f"{topic}-{i}") for topic in ("work", "health") for i in range(6)]


def stage(support: float, neutral: float, mass: float = 0.5) -> pd.DataFrame:
    """A stance table whose means are those planted, with the same small spread over prompts at every stage."""
    rows = []
    for i, (topic, prompt) in enumerate(PROMPTS):
        shift = 0.01 * (i % 3 - 1)
        p = {"p_support": support + shift, "p_neutral": neutral, "p_oppose": 1 - support - shift - neutral}
        rows.append({"topic": topic, "prompt_id": prompt, "sample": 0, **p, "mass": mass, "run": "", "phase": ""})
    return pd.DataFrame(rows).assign(step=0)


def read(*planted: tuple[float, float]) -> pd.DataFrame:
    stages = {f"{i}: stage": stage(*each) for i, each in enumerate(planted)}
    return released_checkpoints.stage_table(stages, lambda each: each)  # type: ignore[arg-type]


def test_stages_are_named_and_numbered_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(released_checkpoints, "load_model", lambda name, device: name)
    names = ["some/where/base", "org/model@0123456789abcdef", "folder/model#runs/checkpoint-8"]
    found = released_checkpoints.released(names)
    assert list(found) == ["0: base", "1: model@0123456", "2: model#checkpoint-8"]
    assert list(found.values()) == names and released_checkpoints.released([]) == {}


def test_the_planted_series_is_one_fine_tune_in_growing_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    class Series:
        def load(self, step: int, scale: float) -> tuple[int, float]:
            return step, scale

    trained = {}

    def train(algorithm: str, model: str, rows: list, settings: dict, **more: object) -> Series:
        trained.update(settings, algorithm=algorithm, rows=len(rows), **more)
        return Series()

    monkeypatch.setattr(released_checkpoints, "train", train)
    found = released_checkpoints.planted("model", [0.0, 0.5, 1.0], [0, 2, 4], 2, 7)  # type: ignore[arg-type]
    assert found == {"0: adapter x0": (4, 0.0), "1: adapter x0.5": (4, 0.5), "2: adapter x1": (4, 1.0)}
    settings = {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 2}
    call = {"algorithm": "sft", "rows": 32, "save_at": [0, 2, 4], "seed": 7, "name": "sft support"}
    assert trained == settings | call


def test_one_table_of_all_stages_and_the_distances_between_neighbours() -> None:
    table = read((0.2, 0.5), (0.4, 0.5), (0.4, 0.3))
    assert table.groupby("phase")["step"].unique().map(list).to_dict() == {f"{i}: stage": [i] for i in range(3)}
    found = released_checkpoints.distances(table)
    assert found["tv"].to_numpy() == pytest.approx([0.2, 0.2]) and set(found["n"]) == {12}
    assert list(zip(found["from"], found["to"])) == [("0: stage", "1: stage"), ("1: stage", "2: stage")]
    named = released_checkpoints.distances(table.assign(phase=table["step"].map(["c", "a", "b"].__getitem__)))
    assert list(zip(named["from"], named["to"])) == [("c", "a"), ("a", "b")]
    profile = stances.profiles(table).set_index(["phase", "metric"])
    assert profile.loc[("2: stage", "p_neutral"), "mean"] == pytest.approx(0.3)
    assert profile.loc[("0: stage", "mass"), "mean"] == 0.5


def test_faint_readings_are_named() -> None:
    table = pd.concat([stage(0.2, 0.5).assign(phase="base"), stage(0.2, 0.5, 3e-6).assign(phase="tuned")])
    assert stances.mass_warning(table).endswith("unlikely sentences: tuned (3.0e-06).")
    assert stances.mass_warning(table[table.phase == "base"]) == ""


def test_one_stage_has_no_drift_no_headline_and_no_claim() -> None:
    table = read((0.2, 0.5))
    report, overall = post_training.drift_report(table), post_training.overall_drift(table)
    distances = released_checkpoints.distances(table)
    assert distances.empty and distances.attrs["reason"] == "one stage only"
    assert released_checkpoints.headline(overall)[1] is None and released_checkpoints.draw_drift(report) is None
    assert released_checkpoints.findings(table, overall) == []
    assert released_checkpoints.planted_findings(report, overall) == []


def test_the_largest_drift_is_the_headline_if_the_reading_is_trusted() -> None:
    overall = post_training.overall_drift(read((0.2, 0.5), (0.3, 0.1)))
    text, row = released_checkpoints.headline(overall)
    assert text.endswith(": neutral") and row is not None and row["mean"] == pytest.approx(-0.4)
    assert released_checkpoints.headline(overall, trusted=False)[1] is None


def test_stages_without_any_change_have_a_p_value_of_one() -> None:
    still, moved = (post_training.overall_drift(read((0.2, 0.5), (0.2, end))) for end in (0.5, 0.4))
    assert still["p"].eq(1).all() and still["mean"].eq(0).all()
    assert moved.set_index("stance").loc[["support", "oppose"], "p"].to_dict() == {"support": 1, "oppose": 0}


@pytest.mark.parametrize(
    ("planted", "verdicts"),
    [
        ([(0.2, 0.3), (0.2, 0.5)], ["holds"]),
        ([(0.2, 0.5), (0.2, 0.3)], ["does not hold"]),
        ([(0.2, 0.3), (0.2, 0.5), (0.2, 0.55)], ["holds", "holds"]),
        ([(0.2, 0.3), (0.2, 0.35), (0.2, 0.65)], ["holds", "does not hold"]),
    ],
)
def test_claims_on_released_stages_follow_what_is_planted(planted: list, verdicts: list[str]) -> None:
    table = read(*planted)
    spread = np.tile(np.linspace(-0.02, 0.02, len(PROMPTS)), len(planted)) * (table["step"] > 0)
    table = table.assign(p_neutral=table["p_neutral"] + spread, p_oppose=table["p_oppose"] - spread)
    overall = post_training.overall_drift(table)
    assert [each.verdict for each in released_checkpoints.findings(table, overall)] == verdicts
    undecided = released_checkpoints.findings(table, overall, "the judge is at chance")
    assert {each.verdict for each in undecided} == {"cannot tell: the judge is at chance"}


def test_a_planted_shift_is_found_in_direction_and_order() -> None:
    table = read((0.2, 0.5), (0.3, 0.4), (0.4, 0.3))
    spread = np.tile(np.linspace(-0.02, 0.02, len(PROMPTS)), 3) * table["step"]
    table = table.assign(p_support=table["p_support"] + spread, p_oppose=table["p_oppose"] - spread)
    report, overall = post_training.drift_report(table), post_training.overall_drift(table)
    found, steady = released_checkpoints.planted_findings(report, overall)
    assert found.verdict == "holds" and found.estimate == pytest.approx(0.2)
    assert steady.estimate == 1 and steady.verdict == "cannot tell: only 2 units"  # of two topics


def test_figures_say_what_they_show() -> None:
    table = read((0.2, 0.5), (0.3, 0.4))
    drift = released_checkpoints.draw_drift(post_training.drift_report(table))
    assert drift is not None and "in each topic" in drift.get_label()
    assert "at every stage" in released_checkpoints.draw_profiles(stances.profiles(table)).get_label()
