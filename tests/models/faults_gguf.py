"""Faults of GGUF files, and adapters over them; `test_gguf.py` and `test_gguf_settings.py` hold others of the kind."""

from __future__ import annotations

import json

import gguf_files
import numpy as np
import tiny
import torch
from faults import fault
from faults_adapters import tuned
from tokenizers import pre_tokenizers


@fault("gguf")
def a_whole_file(place):
    return gguf_files.write(place / "model.gguf"), tiny.network()


@fault("gguf")
def another_model_beside_the_file(place):
    path = gguf_files.write(place / "model.gguf")
    tiny.network(seed=1).save_pretrained(place)
    tiny.metaspace_tokenizer().save_pretrained(place)
    (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "a/b"}))
    return path, tiny.network()


@fault("gguf")
def scaled_rotary_positions(place):
    network = gguf_files.made("Llama", rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0})
    keys = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    return gguf_files.write(place / "model.gguf", network, keys=keys), network


@fault("gguf", refused=r"lacks .*blk\.1\.attn_q")
def a_block_without_queries(place):
    return gguf_files.write(place / "model.gguf", without=("blk.1.attn_q.weight",))


@fault("gguf", refused=r"model-00002-of-00003\.gguf")
def the_first_part_alone(place):
    path = gguf_files.write(place / "model.gguf", parts=3)
    for other in place.glob("*-0000[23]-*"):
        other.unlink()
    return path


@fault("gguf", refused=r"cls\.output\.weight.*no place|no place.*cls\.output\.weight")
def a_reward_head(place):
    return gguf_files.write(place / "model.gguf", more={"cls.output.weight": np.ones((4, 4), np.float32)})


for number in (0, 1, 3):

    @fault("gguf", refused=r"blk\.|block_count", name=f"{number}_layers_of_2")
    def other_layers(place, number=number):
        return gguf_files.write(place / "model.gguf", keys={"block_count": number})


@fault("adapter")
def an_adapter_over_a_gguf_file(place):
    path = gguf_files.write(place / "model.gguf")
    network = tuned()
    network.save_pretrained(place / "adapter")
    return f"{path}#{place / 'adapter'}", network


@fault("adapter", refused=r"has no place|weights that have no place")
def an_adapter_of_a_larger_model_over_a_gguf_file(place):
    path = gguf_files.write(place / "model.gguf")
    tuned(tiny.network(num_hidden_layers=3)).save_pretrained(place / "adapter")
    return f"{path}#{place / 'adapter'}"


@fault("gguf")
def code_beside_the_file(place):
    mine = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.N"}}
    (place / "config.json").write_text(json.dumps(mine))
    (place / "mine.py").write_text("raise SystemExit('code beside a GGUF file ran')")
    return gguf_files.write(place / "model.gguf"), tiny.network()


@fault("gguf")
def all_parts_of_a_file(place):
    return gguf_files.write(place / "model.gguf", parts=3), tiny.network()


@fault("gguf")
def biases_of_the_attention(place):
    network = gguf_files.made("Llama", attention_bias=True)
    return gguf_files.write(place / "model.gguf", network), network


@fault("gguf")
def rotary_positions_scaled_by_yarn(place):
    yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
    network = tiny.network(rope_parameters=yarn)
    keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 16}
    return gguf_files.write(place / "model.gguf", network, keys=keys), network


@fault("gguf")
def factors_of_rotary_frequencies(place):
    network, factors = tiny.network(), np.array([1, 2, 5, 8], np.float32)
    path = gguf_files.write(place / "model.gguf", network, more={"rope_freqs.weight": factors})
    network.model.rotary_emb.inv_freq = network.model.rotary_emb.inv_freq / torch.from_numpy(factors)
    return path, network


@fault("gguf", refused=r"llama\.logit_scale")
def a_scale_without_a_place(place):
    return gguf_files.write(place / "model.gguf", keys={"logit_scale": 0.25})


@fault("gguf")
def digits_cut_one_by_one(place):
    tokenizer = tiny.byte_tokenizer()
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    words = gguf_files.vocabulary(tokenizer, "smollm")
    return gguf_files.write(place / "model.gguf", words=words), tiny.network(), tokenizer


@fault("gguf", refused=r"tokenizer\.ggml\.pre 'someone'")
def a_split_that_nobody_knows(place):
    return gguf_files.write(place / "model.gguf", words={"tokenizer.ggml.pre": "someone"})


@fault("gguf")
def a_bos_that_the_file_asks_for(place):
    words = {"tokenizer.ggml.add_bos_token": True}
    return gguf_files.write(place / "model.gguf", words=words), tiny.network(), tiny.byte_tokenizer(bos=True)
