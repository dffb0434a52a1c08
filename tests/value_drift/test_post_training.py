"""Series with planted stances through everything the notebook computes: training itself is replaced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.value_drift import post_training, stances

PROMPTS = [(topic, f"{topic}-{i}") for topic in ("work", "health") for i in range(6)]
SPREAD = np.linspace(-0.02, 0.02, len(PROMPTS))
TUNING = post_training.Phase([0, 1, 4], 1e-3, 2)
PREFERRING = post_training.Phase([0, 2], 5e-4, 2, sampled_tokens=8)


def series(run: str, supports: dict[int, float], seed: int = 0, phase: str = "sft") -> pd.DataFrame:
    """Support of every step, 0.2 at the first, with a spread over prompts that grows with the change."""
    rows = []
    for step, support in supports.items():
        for (topic, prompt), off in zip(PROMPTS, SPREAD):
            p = support + off * 10 * (support - 0.2)
            parts = {"p_support": p, "p_neutral": 0.3, "p_oppose": 0.7 - p}
            rows.append({"step": step, "topic": topic, "prompt_id": prompt, "sample": 0, **parts, "mass": 0.5})
    return pd.DataFrame(rows).assign(run=run, seed=seed, phase=phase)


def tables(preference: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fine-tuning that arrives at its first step, and the given ends of preference training."""
    sft = pd.concat(
        [series("sft support", {0: 0.2, 1: 0.59, 4: 0.6}), series("sft neutral", {0: 0.2, 1: 0.2, 4: 0.25})]
    )
    parts = [series(run, {0: 0.2, 2: end}, phase="preference") for run, end in preference.items()]
    return sft, pd.concat(parts)


def claims(preference: dict[str, float], algorithms: list[str], undecided: str = "") -> dict[str, str]:
    sft, second = tables(preference)
    found = post_training.Claims(sft, second, ["support", "neutral"], algorithms, (TUNING, PREFERRING), undecided)
    return {each.claim: each.verdict for each in found.findings(post_training.overall_drift(sft), {})}


def test_a_phase_gives_each_algorithm_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(post_training, "train", lambda *a, **more: given.append({"settings": a[3], **more}))
    reward = lambda **_: [0.0]  # noqa: E731
    for algorithm, each in (("dpo:beta=0.5", None), ("kto", None), ("rloo", reward)):
        PREFERRING.train(algorithm, None, [], 3, "title", each)  # type: ignore[arg-type]
    plain = {"learning_rate": 5e-4, "lr_scheduler_type": "constant", "per_device_train_batch_size": 2}
    assert given[0] == {"settings": plain, "save_at": [0, 2], "seed": 3, "name": "title", "reward": None}
    assert given[1]["settings"] == plain | {"per_device_train_batch_size": 4}
    assert given[2]["settings"] == plain | {"num_generations": 2, "max_completion_length": 8}
    assert given[2]["reward"] is reward and TUNING.end == 4


def test_rows_of_arms_and_pairs(tmp_path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a", "completion": "b", "chosen": "c", "rejected": "d"}\n' * 3)
    own = str(tmp_path / "mine.jsonl")
    arms = post_training.arm_rows(["support", own], 2)
    assert list(arms) == ["support", "mine"] and len(arms["support"]) == 32 and len(arms["mine"]) == 2
    pairs = post_training.pair_rows("oppose", [own], 1)
    assert list(pairs) == ["gap", "no gap", "mine"] and len(pairs["mine"]) == 1
    assert {row["chosen_stance"] for row in pairs["gap"]} == {"oppose"}
    targets = [post_training.target_of(arm) for arm in ("neutral", "wildchat", "mine")]
    assert targets == ["neutral", "neutral", "support"]


class Start:
    """What preference training starts from."""

    forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


def trained(titles: list[Any]) -> Any:
    """A replacement of `train` that notes what it is given."""

    def train(algorithm: str, model: Any, rows: list, settings: dict, **more: Any) -> Any:
        titles.append((algorithm, more["name"], more["seed"], more["save_at"], more["reward"]))
        probe = lambda readings: pd.DataFrame({"step": more["save_at"]})  # noqa: E731
        log = pd.DataFrame({"loss": [1.0], "step": [1], "epoch": [0.1], "rewards/margins": [more["seed"]]})
        return SimpleNamespace(probe=probe, log=log, name=more["name"])

    return train


def test_every_arm_is_tuned_under_every_seed_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[Any] = []
    monkeypatch.setattr(post_training, "train", trained(titles))
    found, table = post_training.fine_tune(None, {"support": [], "neutral": []}, TUNING, [0, 5], len)  # type: ignore[arg-type]
    assert list(found) == [("support", 0), ("support", 5), ("neutral", 0), ("neutral", 5)]
    assert [title[:4] for title in titles][1] == ("sft", "sft support", 5, [0, 1, 4])
    assert table.groupby(["run", "seed"], sort=False)["step"].agg(list).iloc[-1] == [0, 1, 4]
    assert set(table["phase"]) == {"sft"}


@pytest.mark.parametrize(
    ("algorithms", "compare", "wanted"),
    [(["dpo"], False, []), (["dpo"], True, ["gap"]), (["dpo", "rloo"], False, ["gap", "no gap"])],
)
def test_reward_models_are_trained_where_they_are_needed(
    algorithms: list[str], compare: bool, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[Any] = []
    monkeypatch.setattr(post_training, "train", trained(titles))
    pairs: dict[str, list] = {"gap": [], "no gap": []}
    found = post_training.reward_models(None, pairs, PREFERRING, 1, algorithms, compare)  # type: ignore[arg-type]
    assert list(found) == wanted
    assert titles == [("reward", f"reward model, {name}", 1, [2], None) for name in wanted]


def test_preference_runs_stand_in_order_and_only_sampling_ones_have_a_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[Any] = []
    monkeypatch.setattr(post_training, "train", trained(titles))
    monkeypatch.setattr(post_training, "joint_reward", lambda model, step, rows: (model, step, rows[0]["chosen"]))
    pairs = {name: [{"prompt": "p", "chosen": name, "rejected": "r"}] for name in ("gap", "no gap")}
    explicit = {name: f"model of {name}" for name in pairs}
    monkeypatch.setattr(post_training, "Checkpoint", Start)
    starts = {0: Start(), 1: Start()}
    found, table = post_training.prefer(starts, ["dpo", "rloo"], pairs, PREFERRING, explicit, len)  # type: ignore[arg-type]
    assert list(found)[:4] == [("dpo", "gap", 0), ("dpo", "no gap", 0), ("rloo", "gap", 0), ("rloo", "no gap", 0)]
    models = [("model of gap", 2, "gap"), ("model of no gap", 2, "no gap")]
    assert [title[-1] for title in titles[:4]] == [None, None, *models]
    assert list(table["run"].unique()) == ["dpo, gap", "dpo, no gap", "rloo, gap", "rloo, no gap"]
    assert set(table["phase"]) == {"preference"} and [start.forgotten for start in starts.values()] == [1, 1]
    log = post_training.training_log(found, 1)
    assert list(log) == ["run", "step", "loss", "rewards/margins"] and set(log["rewards/margins"]) == {1}


def test_seeds_are_spread_in_order_of_appearance() -> None:
    both = [
        series(run, {0: 0.2, 1: end}, seed)
        for run, ends in (("b", (0.4, 0.5)), ("a", (0.3, 0.3)))
        for seed, end in enumerate(ends)
    ]
    found = post_training.over_seeds(pd.concat(both), "support").set_index("run")
    assert list(found.index) == ["b", "a"] and set(found["seeds"]) == {2}
    assert found.loc["b", "seed_sd"] == pytest.approx(np.std([0.4, 0.5], ddof=1) / 2)  # 0 at the start
    assert found.loc["a", "seed_sd"] == 0 and np.isnan(found.loc["a", "signal_to_noise"])
    alone = post_training.over_seeds(both[0], "support")
    assert alone.empty and alone.attrs["reason"] == "one seed only"


def test_times_and_headline_are_of_the_first_arm() -> None:
    sft, _ = tables({"dpo, gap": 0.3})
    report, overall = post_training.drift_report(sft), post_training.overall_drift(sft)
    found = post_training.times(report, "support", "support")
    assert list(found["topic"]) == ["work", "health"] and set(found["eta_ci"]) == {0.25}
    row = post_training.drift_of(overall, "support", "support")
    assert row["mean"] == pytest.approx(0.4) and "topic" not in overall and "p_holm" not in overall


def test_gaps_are_known_as_written_and_else_read_by_a_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = post_training.pair_rows("oppose", [], 1) | {"mine": [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 9}
    found, unread = post_training.value_gaps(pairs, None, 5, True)
    table = found.set_index(["pairs", "metric"])
    assert table.loc[("gap", "tv"), "mean"] == 1 and table.loc[("no gap", "tv"), "mean"] == 0
    assert table.loc[("gap", "gap_oppose"), "mean"] == 1 == -table.loc[("gap", "gap_support"), "mean"]
    assert found[["low", "high"]].isna().all(axis=None) and unread.startswith("Not read: mine.")

    def judged(judge: Any, rows: list) -> pd.DataFrame:
        return stances.value_gap([[0.5, 0.5, 0.0]] * len(rows), [[0.5, 0.0, 0.5]] * len(rows))

    monkeypatch.setattr(post_training, "judged_gaps", judged)
    found, unread = post_training.value_gaps(pairs, "judge", 5, False)  # type: ignore[arg-type]
    own = found[(found["pairs"] == "mine") & (found["metric"] == "tv")].iloc[0]
    assert unread == "" and (own["stances"], own["mean"], own["n"]) == ("judge, at chance", 0.5, 5)
    assert len(found) == 4 * 5  # both sources of the written ones


def test_the_first_reward_of_summed_log_ratios_is_tried() -> None:
    names = ["simpo", "ipo", "ln_dpo", "dpo:beta=0.5", "hinge"]
    runs = {(name, pairs, 0): f"{name} on {pairs}" for name in names for pairs in ("no gap", "gap")}
    found = post_training.rewards_to_test(runs, "reward model", 4)  # type: ignore[arg-type]
    assert list(found) == ["implicit, dpo:beta=0.5", "explicit"]
    assert found["implicit, dpo:beta=0.5"].args == ("dpo:beta=0.5 on gap", 4, 0.5)  # type: ignore[attr-defined]
    assert post_training.rewards_to_test({("ipo", "gap", 0): "x"}, None, 4) == {}  # type: ignore[dict-item]


def test_diversity_is_of_the_first_rows_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_training, "fitting_rows", lambda model, rows: rows[1:])
    monkeypatch.setattr(post_training, "gradients", lambda model, rows: np.eye(4)[rows])
    found = post_training.diversity(None, {"same": [0, 1, 1, 2], "other": [0, 1, 2, 3]}, 2)  # type: ignore[arg-type]
    assert found["g_vendi"].to_dict() == pytest.approx({"same": 1, "other": 2}) and set(found["rows"]) == {2}
    assert "gradient_samples" in post_training.diversity(None, {}, 0).attrs["reason"]  # type: ignore[arg-type]


def test_changes_have_a_column_a_run() -> None:
    sft, second = tables({"dpo, gap": 0.4, "dpo, no gap": 0.2})
    found = post_training.changes(sft, second, "support", "support")
    assert list(found) == ["support, sft support", "support, dpo, gap", "support, dpo, no gap"]
    assert found.mean().tolist() == pytest.approx([0.4, 0.2, 0.0]) and len(found) == len(PROMPTS)


def test_claims_hold_where_they_were_planted() -> None:
    ends = {"dpo": (0.5, 0.25), "simpo": (0.4, 0.25), "simpo:simpo_gamma=2": (0.41, 0.25), "rloo": (0.3, 0.25)}
    planted = {f"{name}, {kind}": end for name, both in ends.items() for kind, end in zip(("gap", "no gap"), both)}
    found = claims(planted, list(ends))
    assert set(found.values()) == {"holds"} and len(found) == 2 + 2 * 4 + 1 + 3 + 1
    order = [claim.split(":")[0].split(" ")[0] for claim in found]
    assert order[:2] == ["Fine-tuning"] * 2 and order[-5:] == ["The", "With", "With", "With", "SimPO's"]
    assert sum("(for PPO)" in claim for claim in found) == 1
    against = claims({run: 0.7 - end for run, end in planted.items()}, list(ends))
    assert against["DPO moves support more with a value gap than without"] == "does not hold"
    blocked = claims(planted, list(ends), "the judge is at chance")
    assert set(blocked.values()) == {"cannot tell: the judge is at chance"}


def test_what_does_not_move_at_all_is_no_finding() -> None:
    ends = {"dpo, gap": 0.2001, "dpo, no gap": 0.2, "simpo, gap": 0.2001, "simpo, no gap": 0.2}
    found = claims(ends, ["dpo", "simpo"])
    less = next(verdict for claim, verdict in found.items() if claim.startswith("DPO on pairs without"))
    assert less == "cannot tell: DPO moved support by less than 0.01 with a value gap as well"
    several = ["simpo", "simpo:simpo_gamma=2"]
    still = claims({f"{name}, {kind}": 0.2 for name in several for kind in ("gap", "no gap")}, several)
    margin = next(verdict for claim, verdict in still.items() if claim.startswith("SimPO's"))
    assert margin.startswith("cannot tell: simpo moved the stance")


def test_budgets_name_what_an_algorithms_name_sets() -> None:
    name = "dpo:max_steps=9:learning_rate=0.1"
    found = claims({f"{name}, gap": 0.4, f"{name}, no gap": 0.3}, [name])
    assert any("(9 preference steps at 0.1 against 4 of fine-tuning at 0.001)" in claim for claim in found)


def test_an_implicit_reward_is_compared_with_the_explicit_one_on_other_topics() -> None:
    wrong, right = np.array([[0.0] * 8, [1.0] * 7 + [-1.0]]), np.array([[1.0] * 8, [0.0] * 8])
    scored = {("implicit, dpo", "other topics"): wrong, ("explicit", "other topics"): right}
    (found,) = post_training._of_rewards(scored)
    assert found.verdict == "holds" and found.estimate == pytest.approx(-7 / 8)
    assert post_training._of_rewards({("explicit", "other topics"): right}) == []
    assert post_training._of_rewards({}) == []


def test_figures_say_what_they_show() -> None:
    sft, second = tables({"dpo, gap": 0.4, "dpo, no gap": 0.2})
    assert "one line per arm and stance" in post_training.draw_stances(sft).get_label()
    assert "in each topic" in post_training.draw_magnitude(post_training.drift_report(sft)).get_label()
    figure = post_training.draw_preference(post_training.overall_drift(second))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["DPO, value gap", "DPO, no value gap"]
