"""Faults of weight files: weights left over or missing, and folders with two versions of something."""

from __future__ import annotations

import json
import shutil

import peft
import tiny
import torch
import transformers
from faults import fault, saved
from safetensors.torch import load_file, save_file

import workbench as wb

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
UP = "model.layers.0.mlp.up_proj.weight"


def rewritten(place, change, network=None):
    """Save a tiny model, let `change` alter its weights by name, and return its network."""
    network = saved(place, network)
    weights = load_file(place / WEIGHTS)
    change(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, place / WEIGHTS, {"format": "pt"})
    return network


def configured(place, without="", **changes):
    """Change settings in a folder's config.json, and remove one."""
    config = json.loads((place / "config.json").read_text()) | changes
    (place / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key != without}))


def pickled(place, **more):
    """Save a tiny model whose weights are in a pickle, and return its network."""
    network = saved(place)
    (place / WEIGHTS).unlink()
    torch.save(network.state_dict() | more, place / "pytorch_model.bin")
    return network


@fault("folder")
def a_plain_folder(place):
    return place, saved(place)


@fault("folder")
def a_folder_of_shards(place):
    return place, saved(place, max_shard_size="70KB")


@fault("folder")
def a_tied_head(place):
    return place, saved(place, tiny.network(tie_word_embeddings=True))


LAYERS = r"model\.layers\.\d\..* first.*config\.json|num_hidden_layers"
SETTINGS = {
    "one_layer_of_two": ({"num_hidden_layers": 1}, LAYERS),
    "no_layer_of_two": ({"num_hidden_layers": 0}, LAYERS),
    "minus_one_layer": ({"num_hidden_layers": -1}, LAYERS),
    "more_layers_than_the_file": ({"num_hidden_layers": 3}, r"lack 9 weights.*model\.layers\.2\."),
    "another_vocabulary_size": (
        {"vocab_size": 800},
        r"(embed_tokens|lm_head)\.weight.*shape \[704, 32\] in model\.safetensors.*\[800, 32\]",
    ),
    "another_number_of_key_heads": ({"num_key_value_heads": 4}, r"shape .*config\.json"),
    "a_separate_head_where_the_configuration_ties": (
        {"tie_word_embeddings": True},
        r"lm_head\.weight.*differs from the embedding.*tie_word_embeddings",
    ),
    "weights_outside": (
        {"transformers_weights": "../other.safetensors"},
        r"config\.json .* names the weights '\.\./",
    ),
}
for name, (settings, refused) in SETTINGS.items():

    @fault("folder", refused=refused, name=name)
    def another_setting(place, settings=settings):
        saved(place)
        configured(place, **settings)
        return place


@fault("folder", refused=r"no place for \(model\.layers\.0\.self_attn\.k_proj\.bias in model\.safetensors first\)")
def biases_of_a_configuration_without_attention_bias(place):
    saved(place, tiny.network(attention_bias=True))
    configured(place, attention_bias=False)
    return place


@fault("folder", refused=r"lack 1 weights.*lm_head")
def a_tied_model_whose_configuration_is_untied(place):
    saved(place, tiny.network(tie_word_embeddings=True))
    configured(place, tie_word_embeddings=False)
    return place


@fault("folder", refused="lack 1 weights")
def a_reward_model(place):
    saved(place)
    config = transformers.AutoConfig.from_pretrained(place)
    transformers.LlamaForSequenceClassification(config).save_pretrained(place)
    return place


ADDED = {
    "a_reward_head_beside_the_language_head": ({"score.weight": torch.ones(1, 32)}, r"score\.weight"),
    "a_value_head": ({"v_head.summary.weight": torch.ones(1, 32)}, r"v_head\.summary\.weight"),
    "a_layer_behind_the_last_that_is_no_prediction_block": (
        {"model.layers.2.self_attn.q_proj.weight": torch.ones(32, 32)},
        r"model\.layers\.2\.self_attn\.q_proj\.weight",
    ),
    "weights_that_read_images": (
        {"model.mm_projector.0.weight": torch.zeros(4, 4)},
        r"weights for images or sound \(model\.mm_projector.*save its language model alone",
    ),
}
for name, (added, refused) in ADDED.items():

    @fault("folder", refused=refused, name=name)
    def weights_left_over(place, added=added):
        rewritten(place, lambda weights: weights.update(added))
        return place


@fault("folder", refused=r"contain 60,608 numbers and the network has 60,576")
def weights_under_two_names(place):
    rewritten(place, lambda weights: weights.update({"norm.weight": weights["model.norm.weight"] * 3}))
    return place


@fault("folder", refused=r"stored as I8.*quantisation")
def integers_without_a_scale(place):
    rewritten(place, lambda weights: weights.update({UP: weights[UP].to(torch.int8)}))
    return place


@fault("folder")
def rotary_tables_and_prediction_blocks_are_left_out(place):
    def add(weights):
        for layer in (0, 1):
            weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        weights["mtp.layers.0.proj.weight"] = torch.ones(4, 4)
        weights["model.layers.2.eh_proj.weight"] = torch.ones(32, 64)
        weights["model.layers.2.self_attn.q_proj.weight"] = torch.ones(32, 32)

    return place, rewritten(place, add)


@fault("folder")
def causal_masks_in_the_file(place):
    def add(weights):
        for layer in (0, 1):
            weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 512, 512).tril()
            weights[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)

    return place, rewritten(place, add, tiny.network("gpt2"))


@fault("folder", refused=r"attn\.bias")
def a_bias_that_is_no_causal_mask(place):
    added = {"transformer.h.0.attn.bias": torch.ones(96)}
    rewritten(place, lambda weights: weights.update(added), tiny.network("gpt2"))
    return place


@fault("folder", refused=r"both a whole model \(model\.safetensors\) and an adapter \(adapter_config\.json\)")
def an_adapter_beside_whole_weights(place):
    network = saved(place)
    peft.get_peft_model(network, peft.LoraConfig(init_lora_weights=False)).save_pretrained(place)
    return place


@fault("folder", refused=r"and an adapter \(adapter_model\.safetensors\)")
def adapter_weights_beside_whole_weights(place):
    saved(place)
    shutil.copy(place / WEIGHTS, place / "adapter_model.safetensors")
    return place


@fault("folder", refused=r"is an adapter .*BASE#")
def an_adapter_as_a_model(place):
    peft.get_peft_model(tiny.network(), peft.LoraConfig(init_lora_weights=False)).save_pretrained(place)
    return place


def beside_whole_file(place, places):
    tiny.network(seed=1).save_pretrained(place / "whole")
    shutil.copy(place / "whole" / WEIGHTS, place)


def beside_whole_file_without_index(place, places):
    beside_whole_file(place, places)
    (place / INDEX).unlink()


def renamed_shard(folder, moved=True):
    """Let the index name the first shard in another folder; `moved` puts it there."""

    def change(place, places):
        name = min(places.values())
        path = str(place / name) if folder == "/" else f"{folder}/{name}"
        if moved:
            (place / folder).mkdir(exist_ok=True)
            (place / name).rename(place / path)
        places.update({weight: path for weight, file in places.items() if file == name})

    return change


def unnamed_shard(place, places):
    name = min(places.values())
    for weight in [weight for weight, file in places.items() if file == name]:
        del places[weight]


def swapped(place, places):
    first, last = min(places, key=places.get), max(places, key=places.get)
    places[first], places[last] = places[last], places[first]


def duplicated(place, places):
    path = place / min(set(places.values()) - {places["model.norm.weight"]})
    save_file(load_file(path) | {"model.norm.weight": torch.full((32,), 3.0)}, path, {"format": "pt"})


SHARDS = {
    "a_whole_file_beside_an_index": (beside_whole_file, r"both model\.safetensors and model\.safetensors\.index\.json"),
    "a_whole_file_beside_shards": (beside_whole_file_without_index, r"both model\.safetensors and model-00001-of-"),
    "a_shard_in_a_folder_below": (renamed_shard("shards"), r"names the shard 'shards/"),
    "a_shard_outside": (renamed_shard(".."), r"names the shard '\.\./"),
    "a_shard_by_an_absolute_path": (renamed_shard("/", moved=False), r"names the shard '/"),
    "a_shard_that_is_not_there": (
        lambda place, places: (place / min(places.values())).unlink(),
        r"lacks model-00001-of-.*index\.json names",
    ),
    "a_shard_that_the_index_does_not_name": (unnamed_shard, r"contains model-00001-of-.*does not name"),
    "an_index_that_contradicts_its_shards": (swapped, r"has the weight .* but it is in"),
    "one_weight_in_two_shards": (duplicated, r"Both .* contain the weight model\.norm\.weight"),
    "an_index_without_a_map": (lambda place, places: places.clear(), r"has no weight_map"),
}
for name, (change, refused) in SHARDS.items():

    @fault("folder", refused=refused, name=name)
    def shards_with_a_fault(place, change=change):
        """`change` alters the folder and the index's map of weights to shards."""
        saved(place, max_shard_size="70KB")
        index = json.loads((place / INDEX).read_text())
        change(place, index["weight_map"])
        if (place / INDEX).is_file():
            (place / INDEX).write_text(json.dumps(index))
        return place


@fault("folder", refused=r"model\.safetensors' are damaged")
def a_truncated_file(place):
    saved(place)
    (place / WEIGHTS).write_bytes((place / WEIGHTS).read_bytes()[:-100])
    return place


@fault("folder")
def pickled_weights_beside_the_ones_that_are_read(place):
    torch.save(tiny.network(seed=1).state_dict(), place / "pytorch_model.bin")
    (place / "old.gguf").write_bytes(b"GGUF")
    return place, saved(place)


@fault("folder", allow_pickle=True)
def pickled_weights_where_they_are_allowed(place):
    return place, pickled(place)


@fault("folder", refused=r"score\.weight", allow_pickle=True)
def a_reward_head_in_pickled_weights(place):
    pickled(place, **{"score.weight": torch.ones(1, 32)})
    return place


@fault("folder", refused=r"no weights.*beside consolidated\.safetensors")
def weights_under_a_name_that_is_not_read(place):
    saved(place)
    (place / WEIGHTS).rename(place / "consolidated.safetensors")
    return place


@fault("folder")
def a_configuration_that_names_its_weights(place):
    network = saved(place)
    (place / WEIGHTS).rename(place / "other.safetensors")
    configured(place, transformers_weights="other.safetensors")
    return place, network


@fault("folder", refused=r"two chat templates that differ, in chat_template\.jinja and in tokenizer_config\.json")
def two_chat_templates(place):
    saved(place)
    settings = place / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": "{{ messages }}"}))
    return place


@fault("wrap_model", refused="no head of a causal language model")
def a_network_without_a_head(place):
    return wb.wrap_model(tiny.network().model, tiny.byte_tokenizer())


@fault("wrap_model", refused="no head of a causal language model")
def a_reward_network(place):
    config = tiny.network().config
    return wb.wrap_model(transformers.LlamaForSequenceClassification(config), tiny.byte_tokenizer())


@fault("wrap_model", refused="meta")
def weights_that_were_never_read(place):
    with torch.device("meta"):
        network = transformers.LlamaForCausalLM(tiny.network().config)
    return wb.wrap_model(network, tiny.byte_tokenizer())


@fault("wrap_model")
def a_tied_network(place):
    network = tiny.network(tie_word_embeddings=True)
    return wb.wrap_model(network, tiny.byte_tokenizer()), tiny.network(tie_word_embeddings=True)
