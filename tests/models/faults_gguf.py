"""Faults of GGUF files, and adapters over them; others are in `test_gguf.py` and `test_gguf_settings.py`."""

from __future__ import annotations

import json

import gguf_files
import tiny
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


@fault("gguf", refused=r"lacks .*blk\.1\.attn_q")
def a_block_without_queries(place):
    return gguf_files.write(place / "model.gguf", without=("blk.1.attn_q.weight",))


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
def digits_cut_one_by_one(place):
    tokenizer = tiny.byte_tokenizer()
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    words = gguf_files.vocabulary(tokenizer, "smollm")
    return gguf_files.write(place / "model.gguf", words=words), tiny.network(), tokenizer


@fault("gguf")
def a_bos_that_the_file_asks_for(place):
    words = {"tokenizer.ggml.add_bos_token": True}
    return gguf_files.write(place / "model.gguf", words=words), tiny.network(), tiny.byte_tokenizer(bos=True)
