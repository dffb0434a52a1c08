"""Faults of weight files: what is left over, what is missing, and folders that hold two things."""

from __future__ import annotations

import json
import shutil

import peft
import tiny
import torch
import transformers
from doors import row, saved
from safetensors.torch import load_file, save_file

import workbench as wb

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def rewritten(place, change):
    """Saves a tiny model and lets `change` alter its weights by name."""
    network = saved(place)
    weights = load_file(place / WEIGHTS)
    change(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, place / WEIGHTS, {"format": "pt"})
    return network


def configured(place, **changes):
    """Changes settings in a folder's config.json."""
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | changes))


def sharded(place):
    """A tiny model in three shards and its index."""
    network = saved(place, max_shard_size="70KB")
    return network, json.loads((place / INDEX).read_text())


def write_index(place, index):
    (place / INDEX).write_text(json.dumps(index))


@row("folder")
def a_plain_folder(place):
    return place, saved(place), tiny.byte_tokenizer()


@row("folder")
def a_folder_of_shards(place):
    return place, sharded(place)[0], tiny.byte_tokenizer()


@row("folder")
def a_tied_head(place):
    return place, saved(place, tiny.network(tie_word_embeddings=True)), tiny.byte_tokenizer()


@row("folder", refused=r"no place for \(model\.layers\.0\.self_attn\.k_proj\.bias in model\.safetensors first\)")
def biases_of_a_configuration_without_attention_bias(place):
    saved(place, tiny.network(attention_bias=True))
    configured(place, attention_bias=False)
    return place


@row("folder", refused=r"score\.weight")
def a_reward_head_beside_the_language_head(place):
    rewritten(place, lambda weights: weights.update({"score.weight": torch.ones(1, 32)}))
    return place


@row("folder", refused=r"v_head\.summary\.weight")
def a_value_head(place):
    rewritten(place, lambda weights: weights.update({"v_head.summary.weight": torch.ones(1, 32)}))
    return place


@row("folder", refused="lack 1 weights")
def a_reward_model(place):
    saved(place)
    config = transformers.AutoConfig.from_pretrained(place)
    transformers.LlamaForSequenceClassification(config).save_pretrained(place)
    return place


for number in (1, 0, -1):

    @row("folder", refused=r"model\.layers\.\d\..* first.*config\.json|num_hidden_layers", name=f"{number}_layers_of_2")
    def fewer_layers(place, number=number):
        saved(place)
        configured(place, num_hidden_layers=number)
        return place


@row("folder", refused=r"lack 9 weights.*model\.layers\.2\.")
def more_layers_than_the_file(place):
    saved(place)
    configured(place, num_hidden_layers=3)
    return place


@row("folder", refused=r"(embed_tokens|lm_head)\.weight.*shape \[704, 32\] in model\.safetensors.*\[800, 32\]")
def another_vocabulary_size(place):
    saved(place)
    configured(place, vocab_size=800)
    return place


@row("folder", refused=r"shape .*config\.json")
def another_number_of_key_heads(place):
    saved(place)
    configured(place, num_key_value_heads=4)
    return place


@row("folder", refused=r"lm_head\.weight.*differs from the embedding.*tie_word_embeddings")
def a_head_of_its_own_where_the_configuration_ties(place):
    saved(place)
    configured(place, tie_word_embeddings=True)
    return place


@row("folder", refused=r"lack 1 weights.*lm_head")
def a_tied_model_whose_configuration_says_untied(place):
    saved(place, tiny.network(tie_word_embeddings=True))
    configured(place, tie_word_embeddings=False)
    return place


@row("folder", refused=r"hold 60,608 numbers and the network has 60,576")
def weights_under_two_names(place):
    rewritten(place, lambda weights: weights.update({"norm.weight": weights["model.norm.weight"] * 3}))
    return place


@row("folder", refused=r"stored as I8.*quantisation")
def integers_without_a_scale(place):
    name = "model.layers.0.mlp.up_proj.weight"
    rewritten(place, lambda weights: weights.update({name: weights[name].to(torch.int8)}))
    return place


@row("folder")
def rotary_tables_and_prediction_blocks_are_left_out(place):
    def add(weights):
        for layer in (0, 1):
            weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        weights["mtp.layers.0.proj.weight"] = torch.ones(4, 4)
        weights["model.layers.2.eh_proj.weight"] = torch.ones(32, 64)
        weights["model.layers.2.self_attn.q_proj.weight"] = torch.ones(32, 32)

    network = rewritten(place, add)
    return place, network, tiny.byte_tokenizer()


@row("folder", refused=r"model\.layers\.2\.self_attn\.q_proj\.weight")
def a_layer_behind_the_last_that_is_no_prediction_block(place):
    rewritten(place, lambda weights: weights.update({"model.layers.2.self_attn.q_proj.weight": torch.ones(32, 32)}))
    return place


@row("folder")
def causal_masks_in_the_file(place):
    network = saved(place, tiny.network("gpt2"))
    weights = load_file(place / WEIGHTS)
    for layer in (0, 1):
        weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 512, 512).tril()
        weights[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(weights, place / WEIGHTS, {"format": "pt"})
    return place, network, tiny.byte_tokenizer()


@row("folder", refused=r"attn\.bias")
def a_bias_that_is_no_causal_mask(place):
    saved(place, tiny.network("gpt2"))
    weights = load_file(place / WEIGHTS)
    save_file(weights | {"transformer.h.0.attn.bias": torch.ones(96)}, place / WEIGHTS, {"format": "pt"})
    return place


@row("folder", refused=r"both a whole model \(model\.safetensors\) and an adapter \(adapter_config\.json\)")
def an_adapter_beside_whole_weights(place):
    network = saved(place)
    peft.get_peft_model(network, peft.LoraConfig(init_lora_weights=False)).save_pretrained(place)
    return place


@row("folder", refused=r"and an adapter \(adapter_model\.safetensors\)")
def adapter_weights_beside_whole_weights(place):
    saved(place)
    shutil.copy(place / WEIGHTS, place / "adapter_model.safetensors")
    return place


@row("folder", refused=r"is an adapter .*BASE#")
def an_adapter_as_a_model(place):
    peft.get_peft_model(tiny.network(), peft.LoraConfig(init_lora_weights=False)).save_pretrained(place)
    return place


@row("folder", refused=r"both model\.safetensors and model\.safetensors\.index\.json")
def a_whole_file_beside_an_index(place):
    sharded(place)
    tiny.network(seed=1).save_pretrained(place / "whole")
    shutil.copy(place / "whole" / WEIGHTS, place)
    return place


@row("folder", refused=r"both model\.safetensors and model-00001-of-")
def a_whole_file_beside_shards(place):
    sharded(place)
    (place / INDEX).unlink()
    tiny.network(seed=1).save_pretrained(place / "whole")
    shutil.copy(place / "whole" / WEIGHTS, place)
    return place


@row("folder", refused=r"names the shard 'shards/")
def a_shard_in_a_folder_below(place):
    _, index = sharded(place)
    name = min(index["weight_map"].values())
    (place / "shards").mkdir()
    (place / name).rename(place / "shards" / name)
    index["weight_map"] = {k: f"shards/{v}" if v == name else v for k, v in index["weight_map"].items()}
    write_index(place, index)
    return place


@row("folder", refused=r"names the shard '\.\./")
def a_shard_outside(place):
    _, index = sharded(place)
    name = min(index["weight_map"].values())
    (place / name).rename(place.parent / name)
    index["weight_map"] = {k: f"../{v}" if v == name else v for k, v in index["weight_map"].items()}
    write_index(place, index)
    return place


@row("folder", refused=r"names the shard '/")
def a_shard_by_an_absolute_path(place):
    _, index = sharded(place)
    name = min(index["weight_map"].values())
    index["weight_map"] = {k: str(place / v) if v == name else v for k, v in index["weight_map"].items()}
    write_index(place, index)
    return place


@row("folder", refused=r"lacks model-00001-of-.*index\.json names")
def a_shard_that_is_not_there(place):
    _, index = sharded(place)
    (place / min(index["weight_map"].values())).unlink()
    return place


@row("folder", refused=r"holds model-00001-of-.*does not name")
def a_shard_that_the_index_does_not_name(place):
    _, index = sharded(place)
    name = min(index["weight_map"].values())
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v != name}
    write_index(place, index)
    return place


@row("folder", refused=r"has the weight .* but it is in")
def an_index_that_contradicts_its_shards(place):
    _, index = sharded(place)
    places = index["weight_map"]
    first, last = min(places, key=places.get), max(places, key=places.get)
    places[first], places[last] = places[last], places[first]
    write_index(place, index)
    return place


@row("folder", refused=r"Both .* hold the weight model\.norm\.weight")
def one_weight_in_two_shards(place):
    _, index = sharded(place)
    name = min(set(index["weight_map"].values()) - {index["weight_map"]["model.norm.weight"]})
    save_file(load_file(place / name) | {"model.norm.weight": torch.full((32,), 3.0)}, place / name, {"format": "pt"})
    return place


@row("folder", refused=r"has no weight_map")
def an_index_without_a_map(place):
    sharded(place)
    write_index(place, {"metadata": {}})
    return place


@row("folder", refused=r"model\.safetensors' are damaged")
def a_truncated_file(place):
    saved(place)
    (place / WEIGHTS).write_bytes((place / WEIGHTS).read_bytes()[:-100])
    return place


@row("folder")
def pickled_weights_beside_the_ones_that_are_read(place):
    torch.save(tiny.network(seed=1).state_dict(), place / "pytorch_model.bin")
    (place / "old.gguf").write_bytes(b"GGUF")
    return place, saved(place), tiny.byte_tokenizer()


@row("folder", allow_pickle=True)
def pickled_weights_where_they_are_allowed(place):
    network = saved(place)
    (place / WEIGHTS).unlink()
    torch.save(network.state_dict(), place / "pytorch_model.bin")
    return place, network, tiny.byte_tokenizer()


@row("folder", refused=r"score\.weight", allow_pickle=True)
def a_reward_head_in_pickled_weights(place):
    network = saved(place)
    (place / WEIGHTS).unlink()
    torch.save(network.state_dict() | {"score.weight": torch.ones(1, 32)}, place / "pytorch_model.bin")
    return place


@row("folder", refused=r"no weights.*beside consolidated\.safetensors")
def weights_under_a_name_nobody_reads(place):
    saved(place)
    (place / WEIGHTS).rename(place / "consolidated.safetensors")
    return place


@row("folder")
def a_configuration_that_names_its_weights(place):
    network = saved(place)
    (place / WEIGHTS).rename(place / "other.safetensors")
    configured(place, transformers_weights="other.safetensors")
    return place, network, tiny.byte_tokenizer()


@row("folder", refused=r"config\.json .* names the weights '\.\./")
def a_configuration_that_names_weights_outside(place):
    saved(place)
    configured(place, transformers_weights="../other.safetensors")
    return place


@row("folder", refused=r"two chat templates that differ, in chat_template\.jinja and in tokenizer_config\.json")
def two_chat_templates(place):
    saved(place)
    settings = place / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": "{{ messages }}"}))
    return place


@row("wrap_model", refused="no head of a language model")
def a_network_without_a_head(place):
    return wb.wrap_model(tiny.network().model, tiny.byte_tokenizer())


@row("wrap_model", refused="no head of a language model")
def a_reward_network(place):
    config = tiny.network().config
    return wb.wrap_model(transformers.LlamaForSequenceClassification(config), tiny.byte_tokenizer())


@row("wrap_model", refused="meta")
def weights_that_were_never_read(place):
    with torch.device("meta"):
        network = transformers.LlamaForCausalLM(tiny.network().config)
    return wb.wrap_model(network, tiny.byte_tokenizer())


@row("wrap_model")
def a_tied_network(place):
    network = tiny.network(tie_word_embeddings=True)
    return wb.wrap_model(network, tiny.byte_tokenizer()), tiny.network(tie_word_embeddings=True), tiny.byte_tokenizer()
