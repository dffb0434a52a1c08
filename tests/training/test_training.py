"""Training on tiny networks: every algorithm, the settings TRL gets, resuming, determinism, series and probes."""

from __future__ import annotations

import copy
import errno
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

import oracle_losses as paper  # noqa: E402
import tiny  # noqa: E402

import workbench as wb  # noqa: E402
from workbench import progress  # noqa: E402
from workbench.errors import InputError  # noqa: E402
from workbench.training import CheckpointSeries, train  # noqa: E402
from workbench.training.algorithms import ALGORITHMS  # noqa: E402
from workbench.training.trainers import (  # noqa: E402
    _check_dropped,
    make_trainer,
)
from workbench.value_drift import likelihood_displacement, post_training, stances  # noqa: E402
from workbench.value_drift.probes import (  # noqa: E402
    ches_scores,
    fitting_rows,
    gradients,
    next_token,
    response_states,
    response_tokens,
    vendi,
)
from workbench.value_drift.rewards import explicit_rewards  # noqa: E402
from workbench.value_drift.texts import LABELS, displacement_pairs, stance_questions, value_prompts  # noqa: E402

PAIRS = [
    {"prompt": f"Question {i}: what is best?", "chosen": "I agree.", "rejected": "No, never again."} for i in range(4)
]
SFT = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
KTO = [row | {"label": i % 2 == 0} for i, row in enumerate(SFT)]
FAST = {"per_device_train_batch_size": 2, "learning_rate": 1e-2}


def longer(completions, **_):
    return [float(len(str(text))) for text in completions]


def data_of(algorithm):
    columns = ALGORITHMS[algorithm].columns
    return {("prompt", "completion"): SFT, ("prompt", "completion", "label"): KTO, ("prompt",): PAIRS * 2}.get(
        columns, PAIRS
    )


@pytest.fixture(scope="module")
def model():
    return wb.wrap_model(tiny.network(), tiny.byte_tokenizer())


SLOW = {"hinge", "robust", "ipo", "ln_dpo"}


@pytest.mark.parametrize(
    "algorithm", [pytest.param(a, marks=pytest.mark.slow) if a in SLOW else a for a in sorted(ALGORITHMS)]
)
def test_every_algorithm_trains_and_leaves_adapters(algorithm, model, tmp_path):
    rl = ALGORITHMS[algorithm].columns == ("prompt",)
    params = FAST | ({"num_generations": 2, "max_completion_length": 4} if rl else {})
    series = train(
        algorithm, model, data_of(algorithm), params, save_at=[1, 2], lora=2, folder=tmp_path / "run",
        reward=longer if rl else None,
    )  # fmt: skip
    assert series.steps() == [0, 1, 2]
    assert (series.folder / "checkpoint-2" / "adapter_model.safetensors").is_file()
    assert not (series.folder / "checkpoint-1" / "optimizer.pt").exists()
    assert len(series.log) == 2


@pytest.mark.parametrize("algorithm", ["dpo", "ln_dpo"])
def test_the_first_logged_loss_is_ln_2(algorithm, model, tmp_path):
    series = train(algorithm, model, PAIRS, FAST, save_at=[1], lora=2, folder=tmp_path / "run")
    assert series.log["loss"].iloc[0] == pytest.approx(np.log(2), abs=1e-6)


BETA = 0.3
ON_PAPER = {
    "sigmoid": ("dpo", {}, lambda p: paper.preference_loss("sigmoid", p, BETA)),
    "sigmoid_norm": ("ln_dpo", {}, lambda p: paper.preference_loss("sigmoid_norm", p, BETA)),
    "ipo": ("ipo", {}, lambda p: paper.preference_loss("ipo", p, BETA)),
    "hinge": ("hinge", {}, lambda p: paper.preference_loss("hinge", p, BETA)),
    "robust": ("robust", {}, lambda p: paper.robust_loss(p, BETA, 0.1)),
    "dpo_sft": ("dpo_sft", {"sft_weight": 0.7}, lambda p: paper.dpo_with_sft(p, BETA, 0.7)),
    "simpo": ("simpo", {"simpo_gamma": 0.4}, lambda p: paper.simpo_loss(p, BETA, 0.4)),
    "forward_kl": ("dpo", {"f_divergence_type": "forward_kl"}, lambda p: paper.preference_loss("forward_kl", p, BETA)),
    "js": ("dpo", {"f_divergence_type": "js_divergence"}, lambda p: paper.preference_loss("js", p, BETA)),
    "alpha": ("dpo", {"f_divergence_type": "alpha_divergence"}, lambda p: paper.alpha_loss(p, BETA, 0.5)),
} | {
    name: ("dpo", {"loss_type": name}, lambda p, name=name: paper.preference_loss(name, p, BETA))
    for name in ("nca_pair", "bco_pair", "apo_zero", "apo_down", "sppo_hard")
}  # fmt: skip


@pytest.mark.parametrize("name", list(ON_PAPER))
def test_the_loss_trl_takes_is_the_one_on_paper(name, tmp_path):
    """TRL's loss of an adapter that has moved, against the formula on log-probabilities read apart."""
    algorithm, params, formula = ON_PAPER[name]
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer(template=None))
    trainer = make_trainer(algorithm, model, PAIRS[:1], FAST | {"beta": BETA} | params, folder=tmp_path, lora=2)
    noise = torch.Generator().manual_seed(0)
    for weights in (w for key, w in trainer.model.named_parameters() if "lora_B" in key):
        weights.data.normal_(0, 0.1, generator=noise)
    said = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader()))).item()
    moved = wb.wrap_model(copy.deepcopy(trainer.model).merge_and_unload().eval(), model.tokenizer)
    before, after = _sums(model, PAIRS[:1]), _sums(moved, PAIRS[:1])
    lengths = response_tokens(model, PAIRS[:1]).groupby("response").size()
    pair = paper.Pair(
        after["chosen"], after["rejected"], before["chosen"], before["rejected"], lengths["chosen"], lengths["rejected"]
    )
    assert abs(pair.delta) > 0.05 and said == pytest.approx(formula(pair), rel=1e-3)


def test_the_head_is_read_at_responses_alone_and_only_in_a_step(model, tmp_path):
    """TRL's switch is thrown while a step is made, changes no loss, and is put back."""
    from trl.trainer import utils

    params = FAST | {"max_steps": 1, "per_device_train_batch_size": 4}
    trainer, before, seen = make_trainer("sft", model, SFT, params, folder=tmp_path, lora=2), utils._use_triton, []
    plain = trainer.compute_loss

    def spied(*args, **more):
        seen.append(utils._use_triton(torch.device("cpu")))
        return plain(*args, **more)

    trainer.compute_loss = spied
    batch = next(iter(trainer.get_train_dataloader()))
    expected = trainer.compute_loss(trainer.model, batch).item()
    trainer.train()
    assert seen == [False, True] and utils._use_triton is before
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, abs=1e-5)


def test_an_unknown_switch_of_trl_is_left_alone(model, tmp_path, monkeypatch):
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_use_triton", lambda device, dtype: False)
    assert "training_step" not in vars(make_trainer("sft", model, SFT, FAST, folder=tmp_path, lora=2))


def test_an_edited_reward_is_another_run(model, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    params = FAST | {"num_generations": 2, "max_completion_length": 4}
    rewards = (
        (lambda completions, **_: [1.0 for _ in completions]),
        (lambda completions, **_: [2.0 for _ in completions]),
    )
    runs = [train("grpo", model, PAIRS * 2, params, save_at=[1], lora=2, reward=reward) for reward in rewards]
    assert runs[0].record["reward"] == runs[1].record["reward"] and runs[0].folder != runs[1].folder


def _sums(model, rows):
    return response_tokens(model, rows).groupby("response")["logprob"].sum()


def test_the_sft_term_is_a_token_mean_and_eta_is_converted(model, tmp_path):
    trainer = make_trainer("dpo_sft", model, PAIRS, {"eta": 0.5}, folder=tmp_path, lora=2)
    tokens = len(model.tokenizer("I agree.")["input_ids"]) + 1
    assert trainer.args.loss_type == ["sigmoid", "sft"]
    assert trainer.args.loss_weights == pytest.approx([1, 0.5 * 0.1 * tokens])


def test_the_head_is_read_at_responses_alone(model, tmp_path, monkeypatch):
    from trl.trainer import utils

    read, apply = [], utils._ChunkedLogProbFunction.apply
    monkeypatch.setattr(utils._ChunkedLogProbFunction, "apply", lambda h, *more: read.append(len(h)) or apply(h, *more))
    train("dpo", model, PAIRS[:2], FAST, save_at=[1], lora=2, folder=tmp_path / "run")
    assert read == [len(response_tokens(model, PAIRS[:2], eos=False))] * 2  # this template ends an answer with nothing


def test_simpo_adds_no_likelihood_term(model, tmp_path):
    args = make_trainer("simpo", model, PAIRS, folder=tmp_path, lora=2).args
    assert (args.loss_type, args.cpo_alpha, args.simpo_gamma) == ("simpo", 0.0, 1.0)


def test_training_is_deterministic_offline_and_cached(model, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("training opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    runs = [train("dpo", model, PAIRS, FAST, save_at=[2], lora=2, folder=tmp_path / name) for name in "ab"]
    one, two = (run.load(2) for run in runs)
    assert one.fingerprint == two.fingerprint != model.fingerprint
    record = (tmp_path / "a" / "series.json").stat().st_mtime_ns
    train("dpo", model, PAIRS, FAST, save_at=[2], lora=2, folder=tmp_path / "a")
    assert (tmp_path / "a" / "series.json").stat().st_mtime_ns == record
    other = train("dpo", model, PAIRS, FAST, save_at=[2], lora=2, seed=1, folder=tmp_path / "c")
    assert other.load(2).fingerprint != one.fingerprint


def test_progress_shows_steps_and_the_time_left(model, tmp_path, monkeypatch):
    shown, line = [], progress.line
    monkeypatch.setenv("WORKBENCH_RUN_FOLDER", str(tmp_path))
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setattr(progress, "line", lambda *given: shown.append(line(*given)) or shown[-1])
    train("sft", model, SFT, FAST, save_at=[3], lora=2, folder=tmp_path / "run", name="my arm")
    assert re.match(r"training my arm 33 % \(1 of 3 steps\), .* left", shown[0]), shown
    assert "(3 of 3 steps)" in shown[-1]


def test_the_cache_is_keyed_by_content(model, cache):
    first = train("sft", model, SFT, FAST, save_at=[1], lora=2)
    again = train("sft", model, SFT, FAST, save_at=[1], lora=2)
    other = train("sft", model, SFT[:3], FAST, save_at=[1], lora=2)
    assert first.folder == again.folder != other.folder
    assert cache in first.folder.parents


KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import tiny
import workbench as wb
from transformers import Trainer
from test_training import FAST, SFT
from workbench.training import train
save = Trainer._save_checkpoint
def killed(self, *args, **more):
    if self.state.global_step == 3:
        os.makedirs(self.args.output_dir + "/checkpoint-3")
        os.kill(os.getpid(), signal.SIGKILL)
    return save(self, *args, **more)
Trainer._save_checkpoint = killed
model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
train("sft", model, SFT, FAST, save_at=[1, 2, 3, 4], lora=2, folder=sys.argv[1])
"""


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(model, tmp_path):
    """kill -9 in the middle of a save: what comes after is what an undisturbed run gives."""
    torn, settings = tmp_path / "torn", {"save_at": [1, 2, 3, 4], "lora": 2}
    code = KILLED.format(path=[str(Path(__file__).parent), str(Path(__file__).parents[1])])
    died = subprocess.run([sys.executable, "-c", code, str(torn)], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert CheckpointSeries(torn, model).steps() == [0, 1, 2] and (torn / "checkpoint-3").is_dir()
    kept = (torn / "checkpoint-2" / "finished").stat().st_mtime_ns
    runs = [train("sft", model, SFT, FAST, folder=folder, **settings) for folder in (tmp_path / "whole", torn)]
    assert (torn / "checkpoint-2" / "finished").stat().st_mtime_ns == kept
    weights = [_adapter(run.folder / "checkpoint-4") for run in runs]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])
    assert runs[0].log["loss"].to_numpy() == pytest.approx(runs[1].log["loss"].to_numpy(), abs=1e-5)


def test_a_run_killed_before_its_record_is_not_trained_again(model, tmp_path, monkeypatch):
    whole = train("sft", model, SFT, FAST, save_at=[1, 2], lora=2, folder=tmp_path / "run")
    record = json.loads((whole.folder / "series.json").read_text())
    (whole.folder / "series.json").write_text(json.dumps(record | {"complete": False, "log": []}))
    _fail_at(2, monkeypatch, AssertionError("trained again"))
    again = train("sft", model, SFT, FAST, save_at=[1, 2], lora=2, folder=tmp_path / "run")
    assert again.record["complete"] and len(again.log) == 2


def test_a_checkpoint_that_was_deleted_is_trained_again(model, tmp_path):
    first = train("sft", model, SFT, FAST, save_at=[1, 2], lora=2, folder=tmp_path / "run")
    was = first.load(1).fingerprint
    shutil.rmtree(first.folder / "checkpoint-1")
    again = train("sft", model, SFT, FAST, save_at=[1, 2], lora=2, folder=tmp_path / "run")
    assert again.steps() == [0, 1, 2] and again.load(1).fingerprint == was


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_keeps_finished_checkpoints(error, model, tmp_path, monkeypatch):
    _fail_at(2, monkeypatch, error)
    with pytest.raises(InputError, match=r"No space left for files in .*finished checkpoints \(1\) are kept"):
        train("sft", model, SFT, FAST, save_at=[1, 2], lora=2, folder=tmp_path / "run")
    assert CheckpointSeries(tmp_path / "run", model).steps() == [0, 1]


def _fail_at(step, monkeypatch, error):
    from transformers import Trainer

    save = Trainer._save_checkpoint

    def failing(self, *args, **more):
        if self.state.global_step == step:
            raise error
        return save(self, *args, **more)

    monkeypatch.setattr(Trainer, "_save_checkpoint", failing)


def _adapter(folder):
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_full_training_yields_models_too(model, tmp_path):
    series = train("dpo", model, PAIRS, FAST, save_at=[1], lora=None, folder=tmp_path / "run")
    with pytest.raises(InputError, match="without adapters and cannot be scaled"):
        series.load(1, scale=0.5)
    after = series.load(1)
    assert not np.allclose(next_token(after, "What is best?"), next_token(model, "What is best?"))


def test_scaling_an_adapter_interpolates_from_the_base(model, tmp_path):
    series = train("sft", model, SFT, FAST, save_at=[2], lora=2, folder=tmp_path / "run")
    base, off = next_token(model, "What is best?"), next_token(series.load(2, scale=0.0), "What is best?")
    assert off == pytest.approx(base, abs=1e-4)
    shift = [np.abs(next_token(series.load(2, scale=s), "What is best?") - base).mean() for s in (0.25, 0.5, 1.0)]
    assert shift[0] < shift[1] < shift[2]


def test_a_planted_shift_is_recovered_in_size_and_time(model, tmp_path):
    """An adapter laid on at full strength between steps 1 and 2 of 3: the drift is its own, its time 2/3."""
    asked = stance_questions(value_prompts(topics=["work"], per_topic=4), LABELS[:1])
    rows = [{"prompt": question.prompt[0].content, "completion": LABELS[0][0]} for question in asked]
    series = train("sft", model, rows, FAST, save_at=[30], lora=2, folder=tmp_path / "run")
    read = {s: stances.stance_table(wb.ask(series.load(30, scale=s), asked, store=False)) for s in (0.0, 1.0)}
    table = pd.concat([read[s].assign(step=step) for step, s in enumerate((0.0, 0.0, 1.0, 1.0))])
    found = post_training.drift_report(table).set_index("stance").loc["support"]
    assert (
        found["mean"] == pytest.approx((read[1.0]["p_support"] - read[0.0]["p_support"]).mean(), abs=1e-9)
        and found["mean"] > 0.9
    )
    assert found["eta_ci"] == found["eta_fraction"] == pytest.approx(2 / 3) and found["spacing"] == 1


@pytest.mark.slow
def test_similar_sentences_displace_in_the_embedded_model_and_others_do_not(tmp_path):
    embedded = wb.load_model("smollm2-135m-instruct")
    settings = {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "per_device_train_batch_size": 2}
    moved, scores = {}, {}
    for kind in ("similar", "dissimilar"):
        rows = displacement_pairs(kind, 4)
        series = train("dpo", embedded, rows, settings, save_at=[5], folder=tmp_path / kind)
        report = likelihood_displacement.displacement_report(
            *(response_tokens(series.load(step), rows) for step in (0, 5))
        )
        assert (report["margin"] > 0).all()
        moved[kind] = likelihood_displacement.verdicts(report.assign(run=kind)).iloc[0]
        scores[kind] = ches_scores(embedded, rows)["ches"].mean()
    assert moved["similar"]["displaced"] and not moved["dissimilar"]["displaced"]
    assert scores["similar"] > scores["dissimilar"]


@pytest.mark.parametrize("kind", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_missing_file_of_a_checkpoint_is_named(kind, model, tmp_path):
    series = train("sft", model, SFT, FAST, save_at=[1], lora=2, folder=tmp_path / "run")
    (series.folder / "checkpoint-1" / kind).unlink()
    with pytest.raises(InputError, match=f"lacks {kind}"):
        series.load(1)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_of_a_full_checkpoint_is_named(name, model, tmp_path):
    series = train("sft", model, SFT, FAST, save_at=[1], lora=None, folder=tmp_path / "run")
    (series.folder / "checkpoint-1" / name).unlink()
    with pytest.raises(InputError, match="delete the folder and train again"):
        series.load(1)


def test_adapters_of_another_base_are_refused(model, tmp_path):
    train("sft", model, SFT, FAST, save_at=[1], lora=2, folder=tmp_path / "run")
    other = wb.wrap_model(tiny.network(seed=1), tiny.byte_tokenizer())
    with pytest.raises(InputError, match="fingerprint"):
        CheckpointSeries(tmp_path / "run", other)
    record = json.loads((tmp_path / "run" / "series.json").read_text())
    assert record["parent"] == model.fingerprint


def test_a_checkpoint_is_not_laid_over_another_base(tmp_path):
    """Two folders of one shape: the adapter names the model it was trained from."""
    for seed, name in enumerate("ab"):
        tiny.network(seed=seed).save_pretrained(tmp_path / name)
        tiny.byte_tokenizer().save_pretrained(tmp_path / name)
    series = train("sft", wb.load_model(tmp_path / "a"), SFT, FAST, save_at=[1], lora=2, folder=tmp_path / "run")
    laid = wb.load_model(f"{tmp_path / 'a'}#{series.folder / 'checkpoint-1'}")
    assert next_token(laid, "What is best?") == pytest.approx(next_token(series.load(1), "What is best?"), abs=1e-5)
    with pytest.raises(InputError, match="trained from another model"):
        wb.load_model(f"{tmp_path / 'b'}#{series.folder / 'checkpoint-1'}")


def test_rows_without_room_for_a_response_are_counted(model, tmp_path):
    long = [PAIRS[0] | {"prompt": "What is best? " * 40}]
    with pytest.warns(UserWarning, match="1 of 5 rows are left out"):
        trainer = make_trainer("dpo", model, PAIRS + long, {"max_length": 64}, folder=tmp_path, lora=2)
    assert len(trainer.train_dataset) == 4


def test_rows_that_training_would_cut_are_left_out_and_counted(model, tmp_path):
    long = PAIRS[0] | {"rejected": "No, " * 40}
    with pytest.warns(UserWarning, match=r"1 of 3 rows are longer than 100 tokens"):
        assert fitting_rows(model, [PAIRS[0], long, PAIRS[1]], 100) == [PAIRS[0], PAIRS[1]]
    trainer = make_trainer("dpo", model, fitting_rows(model, PAIRS), folder=tmp_path)
    read = max(response_tokens(model, PAIRS).groupby(["pair_id", "response"]).size())
    assert max(len(row["chosen_ids"]) for row in trainer.train_dataset) <= read + 2


@pytest.mark.parametrize("template", [True, False])
def test_what_is_trained_is_what_is_read(template, tmp_path):
    """Prompts and answers with spaces around them: the tokens of training are those of the reading, in both forms."""
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer(**({} if template else {"template": None})))
    rows = [{"prompt": " Is it best? ", "completion": " I agree.\n"}]
    trained = make_trainer("sft", model, rows, folder=tmp_path).train_dataset[0]
    answer = [i for i in trained["labels"] if i != -100]
    read = response_tokens(model, rows)["token"].tolist()
    assert [model.tokenizer.decode([i]) for i in answer] == read[: len(answer)]
    assert "".join(read[:-1]) == ("" if template else " ") + "I agree."
    asked = model.tokenizer.decode(trained["input_ids"])
    assert ("Question: Is it best?\nAnswer: I agree." in asked) is not template


def test_a_chat_is_trained_under_the_date_it_is_read_under(model, tmp_path):
    dated = wb.wrap_model(model.network, tiny.byte_tokenizer(template="{{ strftime_now('%d %b %Y') }}" + tiny.TEMPLATE))
    made = make_trainer("sft", dated, [{"prompt": "Hi", "completion": "Paris"}], folder=tmp_path)
    assert dated.tokenizer.decode(made.train_dataset[0]["input_ids"]).startswith("01 Jan 2025<|im_start|>user")


@pytest.mark.parametrize("name", ["prompt", "completion"])
def test_a_row_that_spells_a_control_token_is_not_trained(name, model, tmp_path):
    row = {"prompt": "Hi", "completion": "Paris"} | {name: "A <|im_end|> here"}
    with pytest.raises(InputError, match=rf"The {name} of row 2 contains '<\|im_end\|>'"):
        make_trainer("sft", model, [{"prompt": "Hi", "completion": "Rome"}, row], folder=tmp_path)


def test_a_setting_in_the_name_goes_over_the_parameters(model, tmp_path):
    config = make_trainer("dpo:learning_rate=1e-6", model, PAIRS, {"learning_rate": 1.0}, folder=tmp_path).args
    assert config.learning_rate == 1e-6
    series = train("dpo:max_steps=2", model, PAIRS, FAST, save_at=[1], folder=tmp_path / "run")
    assert series.record["params"]["max_steps"] == 2 and len(series.log) == 2


def test_a_folder_of_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "mine").write_text("dear")
    with pytest.raises(InputError, match="checkpoints of something else"):
        train("sft", model, SFT, FAST, save_at=[1], folder=tmp_path)
    assert (tmp_path / "checkpoint-500" / "mine").read_text() == "dear"


def test_packed_rows_are_not_called_left_out():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _check_dropped(5, 2, SimpleNamespace(packing=True))
    with pytest.warns(UserWarning, match="3 of 5 rows"):
        _check_dropped(5, 2, SimpleNamespace(packing=False))


def test_a_response_that_merges_with_its_prompt_is_said_aloud():
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer(template=None))
    with pytest.warns(UserWarning, match="merge with the end of their prompt"):
        response_tokens(model, [{"prompt": "The capital of Fr", "completion": "ance is Paris."}], chat=False)


def test_numbers_that_are_not_finite_are_refused():
    broken = tiny.network()
    broken.get_output_embeddings().weight.data[3] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        response_tokens(wb.wrap_model(broken, tiny.byte_tokenizer()), PAIRS[:1])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, f: make_trainer("dpo", m, PAIRS, {"max_length": 4}, folder=f), "max_length"),
        (lambda m, f: train("dop", m, PAIRS, save_at=[1], folder=f), "Did you mean 'dpo'"),
        (lambda m, f: train("ppo", m, PAIRS, save_at=[1], folder=f), "use 'rloo' or 'grpo'"),
        (lambda m, f: make_trainer("grpo", m, PAIRS, {"num_generations": 1}, folder=f, reward=longer), "at least 2"),
        (lambda m, f: make_trainer("dpo", m, PAIRS, {"betta": 1}, folder=f), "Did you mean 'beta'"),
        (lambda m, f: make_trainer("dpo", m, SFT, folder=f), "lacks the column 'chosen'"),
        (lambda m, f: make_trainer("sft", m, [], folder=f), "at least one row"),
        (lambda m, f: make_trainer("sft", m, [{"prompt": "a", "completion": " "}], folder=f), "empty 'completion'"),
        (lambda m, f: make_trainer("grpo", m, PAIRS, folder=f), "needs a reward function"),
        (lambda m, f: make_trainer("dpo", m, PAIRS, folder=f, reward=longer), "takes no reward function"),
        (lambda m, f: train("sft", m, SFT, save_at=[2, 1], folder=f), "increasing steps"),
        (lambda m, f: train("sft", m, SFT, save_at=[], folder=f), "increasing steps"),
        (lambda m, f: train("sft", m, SFT, {"max_steps": 1}, save_at=[2], folder=f), "max_steps is 1"),
        (lambda m, f: CheckpointSeries(f, m), "series.json is missing"),
        (lambda m, f: CheckpointSeries(str(f), m), "series.json is missing"),
        (lambda m, f: train("dpo:loss_type=xyz", m, PAIRS, save_at=[1], folder=f), "TRL cannot train .*xyz"),
        (lambda m, f: response_tokens(m, [{"prompt": "a", "chosen": "", "rejected": "b"}]), "is empty"),
        (lambda m, f: ches_scores(m, [row | {"id": "x"} for row in PAIRS]), "The pair id 'x' is not unique"),
        (lambda m, f: response_tokens(m, [row | {"id": "x"} for row in PAIRS]), "The pair id 'x' is not unique"),
        (lambda m, f: ches_scores(m, [{"prompt": "a", "chosen": "b"}]), "'chosen' with 'rejected'"),
        (lambda m, f: fitting_rows(m, [{"prompt": "a"}]), "'chosen' with 'rejected'"),
        (lambda m, f: fitting_rows(m, PAIRS, 4), "None of . rows fits into 4 tokens"),
        (lambda m, f: ches_scores(m, [PAIRS[0] | {"chosen": "so " * 2000}]), "as `fitting_rows` does"),
    ],
)
def test_bad_input_is_named(call, says, model, tmp_path):
    with pytest.raises(InputError, match=says):
        call(model, tmp_path / "none")


def test_padded_states_are_those_of_each_text_alone(model):
    rows = [PAIRS[0] | {"id": "a"}, PAIRS[1] | {"id": "b", "chosen": "I agree, and more than that: I insist on it."}]
    together = response_states(model, rows, batch=4)
    for row, found in zip(rows, together):
        (alone,) = response_states(model, [row], batch=1)
        for side in ("chosen", "rejected"):
            assert found[side] == pytest.approx(alone[side], abs=2e-4)
            assert len(found[side]) == len(found[f"{side}_ids"])


def test_states_keep_no_prompt_in_memory(model):
    (found,) = response_states(model, PAIRS[:1])
    for side in ("chosen", "rejected"):
        assert found[side].base is None or found[side].base.nbytes == found[side].nbytes


def test_ches_of_one_and_the_same_response_is_zero(model):
    same = ches_scores(model, [PAIRS[0] | {"rejected": PAIRS[0]["chosen"]}]).iloc[0]
    assert same["identical"] and same["ches"] == same["ln_ches"] == 0


def test_the_end_token_can_be_left_out(model):
    counts = [len(response_tokens(model, PAIRS[:1], eos=eos)) for eos in (True, False)]
    assert counts[0] == counts[1] + 2


def test_token_sums_are_the_engines(model):
    question = wb.Question((wb.Message("user", PAIRS[0]["prompt"]),), (wb.Option("I agree."),))
    asked = wb.ask(model, [question], store=False)["logprob"].iloc[0]
    assert _sums(model, PAIRS[:1])["chosen"] != pytest.approx(asked)
    ours = response_tokens(model, PAIRS[:1], eos=False).query("response == 'chosen'")["logprob"].sum()
    assert ours == pytest.approx(asked, abs=1e-6)


def test_gradients_tell_samples_apart(model):
    rows = [SFT[0], SFT[0], {"prompt": "7 8 9", "completion": "Paris is the capital."}]
    g = gradients(model, rows)
    assert np.linalg.norm(g, axis=1) == pytest.approx([1, 1, 1])
    assert g[0] @ g[1] == pytest.approx(1) and abs(g[0] @ g[2]) < 0.99
    assert 1 < vendi(g) < 2.5


def test_an_explicit_reward_model_learns_its_pairs(model, tmp_path):
    series = train("reward", model, PAIRS, FAST, save_at=[6], lora=4, folder=tmp_path / "run")
    chosen, rejected = explicit_rewards(series, 6, PAIRS)
    assert (chosen > rejected).all()
    other = train("sft", model, SFT, FAST, save_at=[1], lora=2, folder=tmp_path / "sft")
    with pytest.raises(InputError, match="At step 0 a reward model has a random head"):
        explicit_rewards(series, 0, PAIRS)
    with pytest.raises(InputError, match="lacks the column 'chosen'"):
        explicit_rewards(series, 6, SFT)
    with pytest.raises(InputError, match="'sft' was trained by 'sft'; give a series trained by"):
        explicit_rewards(other, 1, PAIRS)
