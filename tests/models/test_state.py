"""Changes in memory: every one that affects a number is detected, and others are ignored."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import engine
from workbench.extraction.store import store_of
from workbench.hallucination import steering
from workbench.models import state
from workbench.questions import Option, Question

pytestmark = pytest.mark.model
QUESTIONS = [Question(f"The capital {i} of France is", (Option(" Paris"), Option(" Berlin"))) for i in range(2)]
Change = Callable[[Any], Any]


def adapted(dropout: float = 0.2) -> Any:
    """A network under a LoRA adapter that moves its numbers, as a user holds it in memory."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, lora_alpha=8, lora_dropout=dropout, target_modules=["q_proj", "up_proj"])
    made = get_peft_model(tiny.network(), config)
    with torch.no_grad():
        for name, weights in made.named_parameters():
            if "lora_B" in name:
                weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    return made.eval()


def wrapped() -> wb.Model:
    return wb.wrap_model(adapted(), tiny.byte_tokenizer(bos=True))


def layer(network: Any) -> Any:
    return network.base_model.model.model.layers[0]


def add_adapter(network: Any) -> None:
    from peft import LoraConfig

    network.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    network.set_adapter("second")
    network.eval()


def train_a_little(network: Any) -> None:
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss.backward()
    optimizer.step()
    network.eval()


def swap_class(module: Any) -> None:
    module.__class__ = type("Other", (type(module),), {"forward": lambda self, x: x})


def parametrize(network: Any) -> None:
    from torch.nn.utils.parametrizations import weight_norm

    weight_norm(layer(network).mlp.down_proj)


def first_buffer(network: Any) -> Any:
    return network.base_model.model.model.rotary_emb.inv_freq


CHANGES: dict[str, Change] = {
    "an adapter's switch": lambda n: n.base_model.disable_adapter_layers(),
    "another adapter": add_adapter,
    "a scaling": lambda n: layer(n).self_attn.q_proj.scaling.update(default=1.0),
    "a scaling by its method": lambda n: layer(n).self_attn.q_proj.scale_layer(0.5),
    "merged": lambda n: n.merge_adapter(),
    "unloaded": lambda n: n.unload(),
    "weights": lambda n: layer(n).mlp.down_proj.weight.data.mul_(1.5),
    "training": train_a_little,
    "a tensor in its place": lambda n: setattr(
        layer(n).mlp.down_proj, "weight", torch.nn.Parameter(torch.ones(32, 48))
    ),
    "a buffer": lambda n: first_buffer(n).mul_(0.5),
    "a buffer past its count": lambda n: first_buffer(n).data.mul_(0.5),
    "a bias where there was none": lambda n: setattr(
        layer(n).mlp.down_proj, "bias", torch.nn.Parameter(torch.ones(32))
    ),
    "an epsilon": lambda n: setattr(layer(n).input_layernorm, "variance_epsilon", 1.0),
    "attention's scaling": lambda n: setattr(layer(n).self_attn, "scaling", 1.0),
    "an activation": lambda n: setattr(layer(n).mlp, "act_fn", torch.nn.ReLU().eval()),
    "a layer left out": lambda n: n.base_model.model.model.layers.__delitem__(1),
    "layers in another order": lambda n: n.base_model.model.model.layers._modules.update(
        {"0": n.base_model.model.model.layers[1], "1": n.base_model.model.model.layers[0]}
    ),
    "a hook": lambda n: layer(n).register_forward_hook(lambda *_: None),
    "a hook before": lambda n: layer(n).register_forward_pre_hook(lambda *_: None),
    "another forward": lambda n: setattr(layer(n).mlp, "forward", lambda x: x),
    "another class": lambda n: swap_class(layer(n).mlp),
    "a parametrization": parametrize,
    "the type": lambda n: n.to(torch.bfloat16),
    "a setting": lambda n: setattr(n.config, "rms_norm_eps", 0.1),
    "rope": lambda n: n.config.rope_parameters.update(rope_theta=2.0),
    "the implementation of attention": lambda n: n.base_model.model.set_attn_implementation("eager"),
    "a window": lambda n: setattr(layer(n).self_attn, "sliding_window", 2),
    "training mode": lambda n: n.train(),
    "training mode of one module": lambda n: layer(n).self_attn.q_proj.lora_dropout.train(),
}

TOKENIZER_CHANGES: dict[str, Change] = {
    "no BOS": lambda t: setattr(t, "add_bos_token", False),
    "EOS": lambda t: setattr(t, "add_eos_token", True),
    "template": lambda t: setattr(t, "chat_template", t.chat_template + " "),
    "templates": lambda t: setattr(t, "chat_template", {"default": t.chat_template, "tool_use": "x"}),
    "a word": lambda t: t.add_tokens(["France"]),
    "a special token": lambda t: t.add_special_tokens({"additional_special_tokens": ["<|x|>"]}),
    "another BOS": lambda t: setattr(t, "bos_token", "</s>"),
    "splitting": lambda t: setattr(t, "split_special_tokens", True),
    "a normalizer": lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Lowercase()),
    "a pre-tokenizer": lambda t: setattr(t.backend_tokenizer, "pre_tokenizer", pre_tokenizers.ByteLevel(True)),
    "a post-processor": lambda t: setattr(t.backend_tokenizer, "post_processor", processors.ByteLevel()),
    "dropout of merges": lambda t: setattr(t.backend_tokenizer.model, "dropout", 0.5),
    "the model": lambda t: setattr(t.backend_tokenizer, "model", tiny.metaspace_tokenizer().backend_tokenizer.model),
    "other merges": lambda t: setattr(
        t.backend_tokenizer, "model", models.BPE(t.backend_tokenizer.get_vocab(False), [])
    ),
    "a method": lambda t: setattr(t, "apply_chat_template", lambda *_, **__: ""),
    "the side of truncation": lambda t: setattr(t, "truncation_side", "left"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_network_changed_in_memory_is_not_served_its_former_numbers(cache: Path, change: Change) -> None:
    model = wrapped()
    model.check_unchanged()
    change(model.network)
    with pytest.raises(InputError, match=r"was changed after it was loaded|is in training mode"):
        wb.ask(model, QUESTIONS)
    model.network.eval()
    again = wb.wrap_model(model.network, model.tokenizer)
    assert (again.fingerprint == model.fingerprint) == change.__code__.co_names[-1].startswith("train")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("transformers.models.llama.modeling_llama", "apply_rotary_pos_emb"),
        ("torch.nn.functional", "silu"),
        ("transformers.models.llama.modeling_llama.LlamaMLP", "__call__"),
    ],
)
def test_a_function_replaced_in_a_library_is_noticed(cache: Path, monkeypatch, place: str, name: str) -> None:
    model = wrapped()
    wb.ask(model, QUESTIONS)
    monkeypatch.setattr(f"{place}.{name}", lambda *parts, **_: parts[:2] if "rotary" in name else parts[-1])
    with pytest.raises(InputError, match="changed after it was loaded"):
        wb.ask(model, QUESTIONS)
    assert wb.wrap_model(model.network, model.tokenizer).fingerprint != model.fingerprint


@pytest.mark.parametrize("change", TOKENIZER_CHANGES.values(), ids=TOKENIZER_CHANGES)
def test_a_tokenizer_changed_in_memory_is_not_served_former_numbers(cache: Path, change: Change) -> None:
    model = wrapped()
    model.check_unchanged()
    change(model.tokenizer)
    with pytest.raises(InputError, match=r"The tokenizer of .* was changed after it was loaded \(."):
        wb.ask(model, QUESTIONS)
    assert wb.wrap_model(model.network, model.tokenizer).fingerprint != model.fingerprint


HARMLESS: dict[str, Callable[[wb.Model, Path], Any]] = {
    "asking": lambda m, _: wb.ask(m, QUESTIONS),
    "asking without the store": lambda m, _: wb.ask(m, QUESTIONS, store=False),
    "generating": lambda m, _: wb.generate(m, ["The capital"], max_new_tokens=2),
    "hidden states": lambda m, _: wb.hidden_states(m, ["The capital"]),
    "scores": lambda m, _: wb.score_texts(m, ["The capital"]),
    "their own generation": lambda m, _: m.network.generate(input_ids=torch.tensor([[5, 6]]), max_new_tokens=2),
    "their own forward": lambda m, _: m.network(input_ids=torch.tensor([[5, 6]]), output_hidden_states=True),
    "gradients": lambda m, _: m.network(input_ids=torch.tensor([[5, 6]])).logits.sum().backward(),
    "gradient flags": lambda m, _: m.network.requires_grad_(True),
    "evaluation mode": lambda m, _: m.network.eval(),
    "a copy": lambda m, _: (copy.deepcopy(m.network), copy.deepcopy(m.tokenizer)),
    "saving": lambda m, path: (m.network.save_pretrained(path), m.tokenizer.save_pretrained(path)),
    "a switch put back": lambda m, _: m.network.disable_adapter().__enter__ and _switch(m.network),
    "a hook taken away": lambda m, _: layer(m.network).register_forward_hook(lambda *_: None).remove(),
    "a setting put back": lambda m, _: _there_and_back(m.network.config),
    "no cache": lambda m, _: setattr(m.network.config, "use_cache", False),
    "the generation's settings": lambda m, _: setattr(m.network.generation_config, "max_length", 3),
    "the same device": lambda m, _: m.network.to("cpu"),
    "encoding in their own way": lambda m, _: m.tokenizer(
        ["a b c d", "a"], padding=True, truncation=True, max_length=2, return_tensors="pt"
    ),
    "special tokens split": lambda m, _: m.tokenizer("a<s>", split_special_tokens=True),
    "decoding": lambda m, _: m.tokenizer.decode([5, 6], skip_special_tokens=True),
    "rendering": lambda m, _: m.tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False),
}


def _switch(network: Any) -> None:
    with network.disable_adapter():
        network(input_ids=torch.tensor([[5, 6]]))


def _there_and_back(config: Any) -> None:
    before, config.rms_norm_eps = config.rms_norm_eps, 1.0
    config.rms_norm_eps = before


@pytest.mark.parametrize("use", HARMLESS.values(), ids=HARMLESS)
def test_what_decides_no_number_is_no_change(cache: Path, tmp_path: Path, use: Callable[..., Any]) -> None:
    model = wrapped()
    first = wb.ask(model, QUESTIONS)
    use(model, tmp_path)
    again = wb.ask(model, QUESTIONS)
    assert again.attrs["requests_computed"] == 0 and again["logprob"].equals(first["logprob"])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "phi3_long", "lfm2"])
def test_reading_is_no_change(cache: Path, family: str) -> None:
    model = wb.wrap_model(tiny.network(family), tiny.byte_tokenizer())
    wb.hidden_states(model, ["The capital of France is" * 9])
    for _ in range(2):
        wb.ask(model, QUESTIONS)
        wb.generate(model, ["The capital of France is" * 3], max_new_tokens=2)
    model.check_unchanged()


def test_base_and_adapter_have_separate_answers(cache: Path) -> None:
    """The difference between an adapter and its base is theirs, and not 0."""
    tuned = wrapped()
    after = wb.ask(tuned, QUESTIONS)["logprob"]
    with tuned.network.disable_adapter():
        with pytest.raises(InputError, match=r"changed after it was loaded \(\w+adapters"):
            wb.ask(tuned, QUESTIONS)
        base = wb.wrap_model(tuned.network, tuned.tokenizer, "base")
        before = wb.ask(base, QUESTIONS)["logprob"]
    expected = wb.ask(wb.wrap_model(tiny.network(), tuned.tokenizer), QUESTIONS, store=False)["logprob"]
    assert before.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
    assert abs(after - before).max() > 0.1
    assert wb.ask(tuned, QUESTIONS)["logprob"].equals(after)
    with pytest.raises(InputError, match="changed after it was loaded"):
        wb.ask(base, QUESTIONS)  # the adapter is on again


@pytest.mark.parametrize(
    "read",
    [
        lambda m: wb.ask(m, QUESTIONS),
        lambda m: wb.ask(m, QUESTIONS, store=False),
        lambda m: wb.score_texts(m, ["a b"]),
        lambda m: wb.hidden_states(m, ["a b"]),
        lambda m: wb.generate(m, ["a b"], max_new_tokens=1),
        lambda m: wb.wrap_model(m.network, m.tokenizer),
    ],
)
def test_a_network_in_training_mode_is_refused_with_that_reason(cache: Path, read: Callable[..., Any]) -> None:
    model = wrapped()
    model.network.train()
    with pytest.raises(InputError, match=r"in training mode \(PeftModel\), in which dropout .* call network.eval\(\)"):
        read(model)
    model.network.eval()
    read(model)


def test_answers_of_a_model_that_changes_meanwhile_are_not_stored(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrapped()
    real = engine.score

    def meddled(*given: Any, **more: Any) -> Iterator[Any]:
        layer(model.network).mlp.down_proj.weight.data.mul_(2)
        yield from real(*given, **more)

    monkeypatch.setattr(engine, "score", meddled)
    with pytest.raises(InputError, match="was changed after it was loaded"):
        wb.ask(model, QUESTIONS)
    with store_of(model.fingerprint) as store:
        assert len(store) == 0


def test_a_forward_patched_on_the_class_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that speed a model up replace the forward of its classes, after it was loaded too."""
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
    monkeypatch.setattr(type(model.network.model.norm), "forward", lambda self, states: states)
    with pytest.raises(InputError, match=r"model\.norm|input_layernorm"):
        model.check_unchanged()
    assert wb.wrap_model(model.network, model.tokenizer).fingerprint != model.fingerprint


def test_a_steered_model_answers_only_inside_its_block(cache: Path) -> None:
    import numpy as np

    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
    with steering.steered(model, {0: np.ones(32)}, 2.0) as moved:
        wb.ask(moved, QUESTIONS)
        with pytest.raises(InputError, match="hooks"):
            wb.ask(model, QUESTIONS)
    with pytest.raises(InputError, match="hooks"):
        wb.ask(moved, QUESTIONS)
    wb.ask(model, QUESTIONS)


def test_an_attribute_that_a_forward_writes_is_learned(cache: Path) -> None:
    """Code shipped beside weights keeps caches on its modules; only what a forward itself writes is let be."""
    network = tiny.network()
    plain = type(network.model.rotary_emb).forward

    class Caching(type(network.model.rotary_emb)):  # type: ignore[misc]
        def forward(self, *given: Any, **more: Any) -> Any:
            self.seen = getattr(self, "seen", 0) + 1
            return plain(self, *given, **more)

    network.model.rotary_emb.__class__ = Caching
    model = wb.wrap_model(network, tiny.byte_tokenizer())
    wb.ask(model, QUESTIONS)
    wb.ask(model, [QUESTIONS[0].tagged(x=1)], store=False)
    model.check_unchanged()
    network.model.rotary_emb.attention_scaling = 2.0
    with pytest.raises(InputError, match="attention_scaling"):
        model.check_unchanged()


def test_the_step_is_chosen_again_for_another_structure(cache: Path) -> None:
    network = tiny.network()
    model = wb.wrap_model(network, tiny.byte_tokenizer())
    assert engine.choose(model).step == "trie"
    network.model.layers[0].register_forward_hook(lambda _, __, out: out + out.mean(dim=1, keepdim=True))
    with pytest.raises(InputError, match="not a causal language model"):
        engine.choose(wb.wrap_model(network, tiny.byte_tokenizer()))


def test_no_whole_tensor_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny.network()
    network.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(torch.zeros(32, 48).T)
    read: list[int] = []
    real = state._sample
    monkeypatch.setattr(state, "_sample", lambda tensor: read.append(len(sample := real(tensor))) or sample)
    state.of_network(network)
    assert len(read) > 10 and max(read) <= 2 * state.SAMPLED * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_single_weight_is_noticed_after_the_probes_in_any_dtype(cache: Path, dtype: Any) -> None:
    """Half precision is measured with widened weights, which are put back; that is no licence to change them."""
    model = wb.wrap_model(tiny.network().to(dtype), tiny.byte_tokenizer())
    wb.ask(model, QUESTIONS)
    wb.ask(model, QUESTIONS)
    with torch.no_grad():
        model.network.model.layers[1].mlp.up_proj.weight[3, 5] += 1
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj\.weight"):
        wb.ask(model, QUESTIONS)


def test_replaced_weights_are_not_learned(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
    real = engine._probe

    def meddling(network: Any, *given: Any) -> Any:
        network.lm_head.weight.data.mul_(2)
        return real(network, *given)

    monkeypatch.setattr(engine, "_probe", meddling)
    with pytest.raises(InputError, match=r"lm_head\.weight"):
        wb.ask(model, QUESTIONS)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_files_that_change_between_fingerprint_and_reading_are_refused(tmp_path: Path, name: str) -> None:
    tiny.network().save_pretrained(tmp_path / "m")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "m")
    tiny.network(seed=1).save_pretrained(tmp_path / "other")
    model = wb.load_model(tmp_path / "m")
    path = tmp_path / "m" / name
    other = tmp_path / "other" / name
    path.write_bytes(other.read_bytes() if name == "model.safetensors" else path.read_bytes() + b" ")
    for part in ("network", "tokenizer"):
        with pytest.raises(InputError, match="were changed after load_model"):
            getattr(model, part)
    assert wb.load_model(tmp_path / "m").network is not None
