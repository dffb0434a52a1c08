"""Faults of tokenizer files: a class that splits otherwise than the file, files of another tokenizer, Python."""

from __future__ import annotations

import json

import tiny
from faults import fault, saved
from tokenizers import pre_tokenizers, processors
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

import workbench as wb


def rebuilt(place, name="GPT2Tokenizer"):
    """Saves a model whose tokenizer splits digits one by one under a class that does not."""
    tokenizer = tiny.byte_tokenizer()
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(False)])
    network = saved(place, tokenizer=tokenizer)
    config = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": name}))
    return network


@fault("folder")
def a_class_that_splits_otherwise_than_the_file(place):
    network = rebuilt(place)
    return place, network, PreTrainedTokenizerFast.from_pretrained(place)


@fault("wrap_model", refused="another pre-tokenizer than .*tokenizer.json")
def a_class_that_splits_otherwise_than_its_file(place):
    return wb.wrap_model(rebuilt(place), AutoTokenizer.from_pretrained(place))


@fault("folder")
def a_class_that_puts_a_start_before_every_text(place):
    network = rebuilt(place, "RobertaTokenizer")
    return place, network, PreTrainedTokenizerFast.from_pretrained(place)


@fault("folder", refused=r"NllbTokenizer adds .* </s> to every text, and .*tokenizer\.json adds nothing")
def a_class_that_puts_a_language_before_every_text(place):
    rebuilt(place, "NllbTokenizer")
    return place


@fault("wrap_model", refused="another post-processor than .*tokenizer.json")
def a_class_that_puts_an_end_behind_every_text(place):
    saved(place)
    settings = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "RobertaTokenizer"}))
    tokenizer = AutoTokenizer.from_pretrained(place)
    for part in ("normalizer", "pre_tokenizer", "model"):
        setattr(tokenizer.backend_tokenizer, part, getattr(tiny.byte_tokenizer().backend_tokenizer, part))
    return wb.wrap_model(tiny.network(), tokenizer)


@fault("folder", refused=r"post_processor of .*tokenizer\.json adds '<s>' to a text as id 7, .*vocabulary has as 1")
def a_start_under_another_id(place):
    tokenizer = tiny.byte_tokenizer()
    start = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 7)])
    tokenizer.backend_tokenizer.post_processor = start
    saved(place, tokenizer=tokenizer)
    return place


for stated in (True, False):

    @fault(
        "folder", refused=rf"add_bos_token to {str(stated).lower()}, but .*tokenizer\.json", name=f"a_start_{stated}"
    )
    def a_start_that_one_file_states_and_the_other_does_not(place, stated=stated):
        saved(place, tokenizer=tiny.byte_tokenizer(bos=not stated))
        settings = json.loads((place / "tokenizer_config.json").read_text())
        (place / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": stated}))
        return place


OTHERS = {"nothing": (None, "NoneType"), "a_name": ("gpt2", "str"), "a_network": (tiny.network(), "LlamaForCausalLM")}
OTHERS["a_tokenizer_alone"] = (tiny.byte_tokenizer().backend_tokenizer, "tokenizers library alone")
for key, (given, named) in OTHERS.items():

    @fault("wrap_model", refused=f"tokenizer in memory is .*{named}.*; .*wrap_model|{named}; give PreTrained", name=key)
    def no_tokenizer_of_transformers(place, given=given):
        return wb.wrap_model(tiny.network(), given)


@fault("folder", refused="tokenizer.json has BPE dropout")
def ids_drawn_at_random(place):
    saved(place)
    content = json.loads((place / "tokenizer.json").read_text())
    content["model"]["dropout"] = 0.5
    (place / "tokenizer.json").write_text(json.dumps(content))
    return place


@fault("wrap_model", refused="ByT5Tokenizer, which runs in Python")
def a_python_tokenizer(place):
    return wb.wrap_model(tiny.network(), ByT5Tokenizer())


@fault("wrap_model", refused=r"token id of \d+, but the network of .in memory. knows 300 tokens")
def a_tokenizer_with_more_tokens_than_the_network(place):
    return wb.wrap_model(tiny.network(vocab_size=300), tiny.byte_tokenizer())


@fault("wrap_model", refused="several templates .rag., none of them called 'default'")
def several_chat_templates_and_no_default(place):
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = {"rag": tiny.TEMPLATE}
    return after_a_chat(wb.wrap_model(tiny.network(), tokenizer))


@fault("wrap_model", refused="drops or changes message 1")
def a_chat_template_that_drops_the_system_text(place):
    template = "{% for m in messages if m.role == 'user' %}<|im_start|>{{ m.content }}{% endfor %}"
    return after_a_chat(wb.wrap_model(tiny.network(), tiny.byte_tokenizer(template=template)))


def after_a_chat(model: wb.Model) -> wb.Model:
    """A model that has answered a question in chat form."""
    chat = (wb.Message("system", "Be brief."), wb.Message("user", "Capital?"))
    wb.ask(model, [wb.Question(chat, (wb.Option("Paris"), wb.Option("Rome")))], store=False)
    return model


@fault("folder")
def a_decoder_that_counts_positions_from_its_padding_id(place):
    return place, saved(place, tiny.network("roberta"))


@fault("wrap_model")
def a_network_that_ends_in_an_assertion_on_masks(place):
    network = tiny.network("xlm")
    return wb.wrap_model(network, tiny.byte_tokenizer(), "xlm"), network
