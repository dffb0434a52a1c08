"""Faults of GGUF files, and adapters over them; `test_gguf.py` and `test_gguf_settings.py` hold others of the kind."""

from __future__ import annotations

import json

import gguf_files
import numpy as np
import tiny
from doors import row
from doors_adapters import tuned


@row("gguf")
def a_whole_file(place):
    return gguf_files.write(place / "model.gguf"), tiny.network(), tiny.byte_tokenizer()


@row("gguf")
def another_model_beside_the_file(place):
    path = gguf_files.write(place / "model.gguf")
    tiny.network(seed=1).save_pretrained(place)
    tiny.metaspace_tokenizer().save_pretrained(place)
    (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "a/b"}))
    return path, tiny.network(), tiny.byte_tokenizer()


@row("gguf")
def scaled_rotary_positions(place):
    network = gguf_files.made("Llama", rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0})
    keys = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    return gguf_files.write(place / "model.gguf", network, keys=keys), network, tiny.byte_tokenizer()


@row("gguf", refused=r"lacks .*blk\.1\.attn_q")
def a_block_without_queries(place):
    return gguf_files.write(place / "model.gguf", without=("blk.1.attn_q.weight",))


@row("gguf", refused=r"model-00002-of-00003\.gguf")
def the_first_part_alone(place):
    path = gguf_files.write(place / "model.gguf", parts=3)
    for other in place.glob("*-0000[23]-*"):
        other.unlink()
    return path


@row("gguf", refused=r"cls\.output\.weight.*no place|no place.*cls\.output\.weight")
def a_reward_head(place):
    return gguf_files.write(place / "model.gguf", more={"cls.output.weight": np.ones((4, 4), np.float32)})


for number in (0, 1, 3):

    @row("gguf", refused=r"blk\.|block_count", name=f"{number}_layers_of_2")
    def other_layers(place, number=number):
        return gguf_files.write(place / "model.gguf", keys={"block_count": number})


@row("adapter")
def an_adapter_over_a_gguf_file(place):
    path = gguf_files.write(place / "model.gguf")
    network = tuned()
    network.save_pretrained(place / "adapter")
    return f"{path}#{place / 'adapter'}", network, tiny.byte_tokenizer()


@row("adapter", refused=r"has no place|weights that have no place")
def an_adapter_of_a_larger_model_over_a_gguf_file(place):
    path = gguf_files.write(place / "model.gguf")
    tuned(tiny.network(num_hidden_layers=3)).save_pretrained(place / "adapter")
    return f"{path}#{place / 'adapter'}"
