"""The value drift notebooks, end to end with a step or two of training.

One trains the embedded model and one reads it; the others train random networks of two layers.
"""

from __future__ import annotations

import json

import pandas as pd
import pytest
import tiny
from records import assert_comparable

from workbench.runs import execute, plan
from workbench.value_drift import texts

pytestmark = [pytest.mark.notebook, pytest.mark.model]
SMALL = {
    "post_training": {
        "per_topic": 1,
        "arms": ["support"],
        "algorithms": ["dpo"],
        "sft_saves": [0, 1],
        "preference_saves": [0, 1],
        "batch": 1,
        "gradient_samples": 0,
        "reward_model": True,
    },
    "likelihood_displacement": {"n": 3, "saves": [0, 1], "batch": 1},
    "alignment_geometry": {"saves": [0, 1], "batch": 1, "draws": 10, "layers": [-1], "n_train": 20},
    "released_checkpoints": {"per_topic": 1, "stages": ["smollm2-135m-instruct"]},
}
EMBEDDED = ("alignment_geometry", "released_checkpoints")


def own_texts(notebook, folder):
    """Parameters that name pairs and sentences of a user's own."""
    if notebook == "likelihood_displacement":
        rows = [row for kind in ("similar", "dissimilar") for row in texts.displacement_pairs(kind, 4)]
        lines = (json.dumps({name: row[name] for name in ("prompt", "chosen", "rejected")}) for row in rows)
        (folder / "pairs.jsonl").write_text("\n".join(lines))
        return {"more_pairs": [str(folder / "pairs.jsonl")], "percentiles": [0, 100], "subset": 3}
    if notebook == "alignment_geometry":
        pd.DataFrame(texts.safety_sentences(12)).assign(group=["a", "a", "b", "b"] * 6).to_csv(
            folder / "sentences.csv", index=False
        )
        return {"sentences": str(folder / "sentences.csv")}
    return {}


@pytest.mark.parametrize("notebook", list(SMALL))
def test_the_notebook_runs_and_leaves_a_report(notebook, tmp_path, tiny_model):
    given = SMALL[notebook] | own_texts(notebook, tmp_path) | ({} if notebook in EMBEDDED else {"model": tiny_model})
    (planned,) = plan("value_drift", "quick", given, notebook=notebook)
    run = execute(planned, tmp_path)
    assert run.status == "ok", run.failure
    assert_comparable(run)
    assert (run.folder / "report.html").stat().st_size < 2_000_000
    assert (run.headline is None) == (notebook == "released_checkpoints")  # one stage alone does not drift
    if run.headline:
        verdicts = set(run.frame("what_holds")["verdict"].str.split(":").str[0])
        assert verdicts <= {"holds", "does not hold", "cannot tell"}
    if notebook == "likelihood_displacement":
        by_percentile = run.frame("own_percentiles").query("metric == 'ches'").set_index("percentile")["mean"]
        assert by_percentile["0 %"] < by_percentile["100 %"] and run.frame("own_scores")["kept"].sum() == 4
    if notebook == "alignment_geometry":
        assert run.frame("groups").groupby("group")["n"].first().to_dict() == {"a": 12, "b": 12}


def test_every_algorithm_and_a_judge_run_in_post_training(tmp_path):
    """On two tiny networks without any skill: the judge is said to be one, and no finding is decided by it."""
    pairs = tmp_path / "mine.jsonl"
    row = {"prompt": "Should it open?", "chosen": "Yes, it should.", "rejected": "No, never."}
    pairs.write_text("".join(json.dumps(row) + "\n" for _ in range(3)))
    for seed, name in enumerate(("model", "judge")):
        tiny.network(seed=seed).save_pretrained(tmp_path / name)
        tiny.byte_tokenizer().save_pretrained(tmp_path / name)
    settings = SMALL["post_training"] | {
        "model": str(tmp_path / "model"),
        "judge": str(tmp_path / "judge"),
        "samples": 2,
        "max_new_tokens": 4,
        "sampled_tokens": 4,
        "batch": 2,
        "algorithms": ["dpo", "simpo", "simpo:simpo_gamma=2", "kto", "rloo", "grpo", "sft"],
        "more_pairs": [str(pairs)],
        "judged_pairs": 4,
    }
    (planned,) = plan("value_drift", "quick", settings, notebook="post_training")
    run = execute(planned, tmp_path / "out")
    assert run.status == "ok", run.failure
    judge = run.frame("judge").set_index(["stance", "metric"]).loc[("all", "right")]
    assert judge["against_chance"].startswith("not distinguishable from chance")
    told = run.frame("what_holds").set_index("claim")["verdict"]
    assert set(told[~told.index.str.contains("implicit reward")]) == {"cannot tell: the judge is at chance"}
    gaps = run.frame("value_gap").query("metric == 'tv'").set_index(["pairs", "stances"])
    assert gaps.loc[("gap", "as written"), "mean"] == 1 and gaps.loc[("no gap", "as written"), "mean"] == 0
    assert gaps.loc[("mine", "judge, at chance"), "n"] == 3
    moved = run.frame("preference_drift")["run"]
    assert {name.split(", ")[0] for name in moved} == set(settings["algorithms"])
    assert run.frame("what_holds")["claim"].str.startswith("SimPO's margin has little effect").sum() == 1
    logged = run.frame("training_log").query("step == 1").set_index("run")["loss"]
    assert logged["simpo, gap"] != logged["simpo:simpo_gamma=2, gap"]
    assert run.frame("training_log").query("run == 'rloo, gap'")["reward"].notna().all()
    assert "implicit, dpo and brevity" in set(run.frame("joined_rewards")["reward"])


def test_a_judge_reads_the_stages_of_a_released_model(tmp_path):
    """Three tiny networks as stages, a fourth as judge: without skill, so that no finding is decided by it."""
    for seed, name in enumerate(("base", "sft", "dpo", "judge")):
        tiny.network(seed=seed).save_pretrained(tmp_path / name)
        tiny.byte_tokenizer().save_pretrained(tmp_path / name)
    settings = {
        "stages": [str(tmp_path / name) for name in ("base", "sft", "dpo")],
        "judge": str(tmp_path / "judge"),
        "per_topic": 1,
        "samples": 2,
        "max_new_tokens": 4,
        "chat": True,
    }
    (planned,) = plan("value_drift", "quick", settings, notebook="released_checkpoints")
    run = execute(planned, tmp_path / "out")
    assert run.status == "ok", run.failure
    assert set(run.frame("profiles")["phase"]) == {"0: base", "1: sft", "2: dpo"}
    judge = run.frame("judge").set_index(["stance", "metric"]).loc[("all", "right")]
    assert judge["against_chance"].startswith("not distinguishable from chance") and judge["n"] == 33
    found = run.frame("what_holds")
    assert len(found) == 2 and set(found["verdict"]) == {"cannot tell: the judge is at chance"}


@pytest.mark.parametrize("notebook", ["likelihood_displacement", "released_checkpoints"])
def test_a_model_without_a_chat_template_is_trained_and_asked_in_plain_text(notebook, tmp_path):
    tiny.network(seed=0).save_pretrained(tmp_path / "bare")
    tiny.byte_tokenizer(template=None).save_pretrained(tmp_path / "bare")
    settings = {name: value for name, value in SMALL[notebook].items() if name != "stages"}
    (planned,) = plan("value_drift", "quick", settings | {"model": str(tmp_path / "bare")}, notebook=notebook)
    run = execute(planned, tmp_path / "out")
    assert run.status == "ok", run.failure
