"""Quantised checkpoints are read as the numbers that the library which wrote them computes, or refused in a sentence.

`quantised_weights.json` has one random weight [32, 32] a form, as written by bitsandbytes 0.50.2, AutoGPTQ 0.7.1,
AutoAWQ 0.2.9 and compressed-tensors 0.20.1 (dtype, shape and bytes), and under `=` the numbers that these
libraries make of it.
"""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import peft
import pytest
import tiny
import torch
import transformers
from faults import expected, opened, read, saved
from faults_weights import configured, rewritten
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import workbench as wb
from workbench.errors import InputError
from workbench.models import proof

pytestmark = pytest.mark.model
WRITTEN = json.loads(Path(__file__).with_name("quantised_weights.json").read_text("ascii"))
SETTINGS = {form: written["settings"] for form, written in WRITTEN.items()}
TENSORS = {
    f"{form}/{part}": torch.frombuffer(bytearray(b64decode(data)), dtype=getattr(torch, dtype)).reshape(shape)
    for form, written in WRITTEN.items()
    for part, (dtype, shape, data) in written["tensors"].items()
}
SQUARE = {"intermediate_size": 32, "num_key_value_heads": 4}
"""Makes all linear layers of a tiny network 32 x 32."""


def quantised(place, form, change=lambda weights: None, **options):
    """Save a tiny model whose linear layers are the written weight of a form; return a network of its numbers."""
    network = tiny.network(**SQUARE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "_proj." in name:
                weight.copy_(TENSORS[f"{form}/="])

    def replace(weights):
        for key in [key for key in weights if "_proj.weight" in key]:
            del weights[key]
            module = key.removesuffix("weight")
            weights |= {
                f"{module}{part.partition('/')[2]}": tensor.clone()
                for part, tensor in TENSORS.items()
                if part.startswith(f"{form}/") and not part.endswith("=")
            }
        change(weights)

    rewritten(place, replace, tiny.network(**SQUARE))
    configured(place, quantization_config=SETTINGS[form] | options)
    return network


@pytest.mark.parametrize("form", SETTINGS)
def test_a_quantised_weight_is_read_as_its_library_reads_it(form, tmp_path, cache):
    network = quantised(tmp_path, form)
    model = opened(tmp_path)
    assert read(model) == pytest.approx(expected(network), abs=2e-5)
    assert f"weights quantised by {SETTINGS[form]['quant_method']} were read as numbers" in model.note
    assert ("activations were not rounded" in model.note) == (form == "compressed-int8")
    assert not hasattr(model.network.config, "quantization_config")


def test_the_parts_of_a_weight_may_be_in_two_shards(tmp_path, cache):
    network = quantised(tmp_path, "awq")
    path = tmp_path / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    path.unlink()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    places = {key: names["qweight" in key] for key in weights}
    for name in names:
        save_file({key: weights[key] for key in weights if places[key] == name}, tmp_path / name, {"format": "pt"})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert read(opened(tmp_path)) == pytest.approx(expected(network), abs=2e-5)


def test_an_adapter_is_merged_into_a_quantised_base(tmp_path, cache):
    """As QLoRA trains them."""
    network = quantised(tmp_path / "base", "bitsandbytes-nf4")
    torch.manual_seed(0)
    tuned = peft.get_peft_model(network, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    model = opened(f"{tmp_path / 'base'}#{tmp_path / 'adapter'}")
    assert read(model) == pytest.approx(expected(tuned), abs=2e-5)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_quantised_weight_is_loaded_in_the_dtype_that_is_asked(device, tmp_path, cache):
    quantised(tmp_path, "gptq-4")
    network = wb.load_model(tmp_path, device=device, dtype="bfloat16").network
    weight = network.model.layers[0].mlp.up_proj.weight
    assert torch.equal(weight.cpu(), TENSORS["gptq-4/="].bfloat16())


Q = "model.layers.1.self_attn.q_proj"
DAMAGED = {
    "scales_are_missing": ("awq", lambda w: w.pop(f"{Q}.scales"), rf"lack {Q}\.scales, a part of its weight"),
    "the_state_is_missing": (
        "bitsandbytes-nf4",
        lambda w: w.pop(f"{Q}.weight.quant_state.bitsandbytes__nf4"),
        rf"lack {Q}\.quant_state\.bitsandbytes, a part of its weight quantised by bitsandbytes",
    ),
    "a_group_is_missing": (
        "gptq-4-order",
        lambda w: w.update({f"{Q}.scales": w[f"{Q}.scales"][:1]}),
        rf"parts of {Q}\.weight .* do not fit each other or config\.json \(zero points",
    ),
    "blocks_are_missing": (
        "bitsandbytes-nf4",
        lambda w: w.update({f"{Q}.weight.absmax": w[f"{Q}.weight.absmax"][:1]}),
        r"do not fit each other or config\.json \(blocks: 1 instead of 16\)",
    ),
    "scales_for_other_groups": (
        "compressed-group",
        lambda w: w.update({f"{Q}.weight_scale": w[f"{Q}.weight_scale"][:, :1]}),
        r"do not fit each other or config\.json \(scales",
    ),
    "kernels_disagree_on_a_zero_point": (
        "gptq-4",
        lambda w: w.update({f"{Q}.qzeros": w[f"{Q}.qzeros"] * 0 - 1}),
        r"do not fit each other or config\.json \(a zero point that overflows\)",
    ),
    "a_layout_of_another_device": (
        "bitsandbytes-int8",
        lambda w: w.update({f"{Q}.weight_format": w[f"{Q}.weight_format"] + 1}),
        r"\(a layout of another device\)",
    ),
    "integers_without_any_scale": (
        "bitsandbytes-int8",
        lambda w: [w.pop(f"{Q}.{part}") for part in ("SCB", "weight_format")],
        r"layers\.1\..* stored as I8 .*",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_parts_that_do_not_make_a_weight_are_named(name, tmp_path, cache):
    form, change, message = DAMAGED[name]
    quantised(tmp_path, form, change)
    with pytest.raises(InputError, match=message):
        read(opened(tmp_path))


OTHER = {
    "gptq-4": [({"bits": 3}, r"gptq \(3 bits, gptq\)"), ({"checkpoint_format": "marlin"}, r"gptq \(4 bits, marlin\)")],
    "awq": [({"version": "gemv"}, r"awq \(4 bits, gemv\)"), ({"group_size": 32}, "do not fit")],
    "compressed-group": [({"format": "marlin-24"}, r"compressed-tensors \(marlin-24, 4 bits, group\)")],
    "compressed-int8": [({"config_groups": {}}, r"compressed-tensors \(without config_groups\)"),
                        ({"config_groups": [3]}, "has no attribute")],
    "bitsandbytes-int8": [({"quant_method": name, "load_in_8bit": False}, f"quantised by {name}, which") for name in
                          ("torchao", "hqq", "quanto", "aqlm", "nvfp4", "modelopt", "exl2", "auto-round", "bitnet")],
}  # fmt: skip
CASES = [(form, *case) for form, cases in OTHER.items() for case in cases]


@pytest.mark.parametrize(("form", "options", "message"), CASES, ids=[case[2] for case in CASES])
def test_a_form_that_is_not_read_is_named_with_the_way_out(form, options, message, tmp_path, cache, monkeypatch):
    """Before any weight is read."""
    quantised(tmp_path, form, **options)
    if message not in ("do not fit", "has no attribute"):
        monkeypatch.setattr(proof, "check_memory", lambda *_: pytest.fail("the weights would be read next"))
        message += ".* not read here; give the unquantised model, or serve this one with vLLM"
    with pytest.raises(InputError, match=message):
        read(opened(tmp_path))


def test_a_network_larger_than_the_memory_is_refused_before_its_weights_are_read(tmp_path, cache, monkeypatch):
    network = saved(tmp_path)
    numbers = sum(weight.numel() for weight in network.parameters())
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights are read"))
    monkeypatch.setattr(proof, "_free_bytes", lambda: 3 * numbers)
    message = r"takes 0\.0 GB in float32, and this machine has 0\.0 GB free; use dtype='bfloat16', a smaller model, or"
    with pytest.raises(InputError, match=message):
        _ = opened(tmp_path).network
    monkeypatch.undo()
    monkeypatch.setattr(proof, "_free_bytes", lambda: 3 * numbers)
    assert wb.load_model(tmp_path, device="cpu", dtype="bfloat16").network is not None


def test_the_memory_of_a_quantised_model_is_that_of_its_numbers(tmp_path, cache, monkeypatch):
    network = quantised(tmp_path, "gptq-4")
    need = 4 * sum(weight.numel() for weight in network.parameters())
    monkeypatch.setattr(proof, "_free_bytes", lambda: need - 1)
    with pytest.raises(InputError, match="GB in float32, and this machine has"):
        _ = opened(tmp_path).network


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    whole = proof._free_bytes()
    monkeypatch.setattr(proof, "CONTAINER", tmp_path / "memory.max")
    for text, limit in (("1000\n", 1000), ("max\n", whole)):
        (tmp_path / "memory.max").write_text(text)
        assert proof._free_bytes() == pytest.approx(limit, rel=0.2)


def in_blocks(weight, block):
    """A weight in 8-bit floats with a scale for each block; its scales; and the numbers they make."""
    rows, columns = (-(-size // of) for size, of in zip(weight.shape, block))
    scales, numbers = torch.empty(rows, columns), torch.empty_like(weight)
    for i in range(rows):
        for j in range(columns):
            at = slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1])
            scales[i, j] = weight[at].abs().max() / 448
            numbers[at] = (weight[at] / scales[i, j]).to(torch.float8_e4m3fn).float()
            weight[at], numbers[at] = numbers[at], numbers[at] * scales[i, j]
    return weight.to(torch.float8_e4m3fn), scales, numbers


FLOATS = {
    "blocks": ("llama", {"weight_block_size": [16, 16]}, "weight_scale_inv", (16, 16)),
    "last_blocks_are_smaller": ("llama", {"weight_block_size": [20, 20]}, "weight_scale_inv", (20, 20)),
    "blocks_of_the_usual_size": ("llama", {"weight_block_size": None}, "weight_scale_inv", (128, 128)),
    "one_scale": ("llama", {"activation_scheme": "static"}, "weight_scale", (704, 704)),
    "experts": ("mixtral", {"weight_block_size": [16, 16]}, "weight_scale_inv", (16, 16)),
}


@pytest.mark.parametrize("name", FLOATS)
def test_floats_of_8_bits_are_read_with_their_scales(name, tmp_path, cache):
    """transformers 5.23 spreads the scales of [20, 20] blocks over [16, 16]: half a nat."""
    family, settings, scale, block = FLOATS[name]
    plain, place = tmp_path / "plain", tmp_path / "fp8"
    numbers = {}

    def change(weights):
        for key in [key for key in weights if "_proj.weight" in key or "experts" in key]:
            weights[key], scales, numbers[key] = in_blocks(weights[key].clone(), block)
            weights[key.removesuffix("weight") + scale] = scales if scales.numel() > 1 else scales.reshape(())

    rewritten(place, change, tiny.network(family))
    rewritten(plain, lambda weights: weights.update(numbers), tiny.network(family))
    configured(place, quantization_config=settings | {"quant_method": "fp8"})
    network = AutoModelForCausalLM.from_pretrained(plain, experts_implementation="eager")
    model = opened(place)
    assert read(model) == pytest.approx(expected(network), abs=2e-5)
    assert ("activations were not rounded" in model.note) == (name == "one_scale")


def test_scales_of_other_blocks_are_refused(tmp_path, cache):
    def change(weights):
        key = "model.layers.0.mlp.up_proj.weight"
        weights[key], weights[f"{key}_scale_inv"], _ = in_blocks(weights[key].clone(), (16, 16))

    rewritten(tmp_path, change)
    configured(tmp_path, quantization_config={"quant_method": "fp8", "weight_block_size": [32, 32]})
    with pytest.raises(InputError, match=r"up_proj\.weight .* \(scales: \(3, 2, 0\) instead of \(2, 1, 0\)\)"):
        read(opened(tmp_path))


def test_exponents_are_powers_of_two(tmp_path, cache):
    """MXFP8: a byte for 32 columns."""
    key = "model.layers.0.mlp.up_proj.weight"
    network, codes = tiny.network(), torch.randn(48, 32).to(torch.float8_e4m3fn)
    exponents = torch.randint(124, 130, (48, 1), dtype=torch.uint8)
    with torch.no_grad():
        network.get_parameter(key).copy_(codes.float() * 2.0 ** (exponents.float() - 127))
    rewritten(tmp_path, lambda weights: weights.update({key: codes, f"{key}_scale_inv": exponents}))
    configured(tmp_path, quantization_config={"quant_method": "mxfp8", "weight_block_size": [1, 32]})
    assert read(opened(tmp_path)) == pytest.approx(expected(network), abs=2e-5)


def test_experts_in_four_bits_are_read_as_transformers_reads_them(tmp_path, cache):
    """MXFP4, as gpt-oss is published."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    shape = {"vocab_size": 704, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2}
    shape |= {"experts_implementation": "eager"}
    torch.manual_seed(0)
    network = transformers.GptOssForCausalLM(transformers.GptOssConfig(**shape, pad_token_id=2)).eval()

    def change(weights):
        for layer in network.model.layers:
            for name in ("gate_up_proj", "down_proj"):
                weight = getattr(layer.mlp.experts, name)
                experts, inputs, outputs = weight.shape
                blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
                scales = torch.randint(122, 126, blocks.shape[:-1], dtype=torch.uint8)
                with torch.no_grad():
                    weight.copy_(convert_moe_packed_tensors(blocks, scales, dtype=torch.float32))
                key = next(key for key, each in network.named_parameters() if each is weight)
                del weights[key]
                weights |= {f"{key}_blocks": blocks, f"{key}_scales": scales}

    rewritten(tmp_path, change, network)
    configured(tmp_path, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})
    assert read(opened(tmp_path)) == pytest.approx(expected(network), abs=2e-5)
