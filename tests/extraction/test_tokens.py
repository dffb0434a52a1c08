"""The traps of turning text into what is scored."""

from __future__ import annotations

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from workbench.errors import InputError
from workbench.extraction.tokens import Encoder
from workbench.questions import Message, Option, Question

pytestmark = pytest.mark.model

TOKENIZERS = {
    "byte": tiny.byte_tokenizer(),
    "byte+bos": tiny.byte_tokenizer(bos=True),
    "metaspace+bos": tiny.metaspace_tokenizer(),
    "metaspace+chat": tiny.metaspace_tokenizer(bos=False, template=tiny.TEMPLATE),
}


def encoder(name: str = "byte", length: int = 512, **options) -> Encoder:
    return Encoder(TOKENIZERS[name], length, **options)


def question(prompt, *options: str) -> Question:
    return Question(prompt, tuple(Option(text) for text in options))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(
    prompt=st.text(st.sampled_from("abc .:\n?é▁ParisA"), min_size=1, max_size=12).filter(str.strip),
    option=st.text(st.sampled_from("abc .:é ParisA"), min_size=1, max_size=8).filter(str.strip),
)
def test_scored_tokens_decode_exactly_to_the_option(name, prompt, option):
    tokenizer = TOKENIZERS[name]
    (request,) = encoder(name).encode(question(prompt, option))
    if name.startswith("metaspace") and "▁" in prompt + option:
        return  # the meta symbol itself is indistinguishable from a space
    before = tokenizer.decode(request.context, skip_special_tokens=True)
    whole = tokenizer.decode(request.context + request.continuation, skip_special_tokens=True)
    assert whole == before + option


def test_an_option_that_merges_into_the_prompt_is_encoded_apart_and_flagged():
    apart, whole = encoder().encode(question("The capital of France is Par", "is", " Paris"))
    assert apart.boundary_merged and apart.continuation
    assert TOKENIZERS["byte"].decode(apart.continuation) == "is"
    assert not whole.boundary_merged


def test_space_stays_with_the_prompt():
    """A chat header ends in a newline; it belongs to the context, so options carry no log P of white space."""
    chat = question((Message("user", "Capital of France?"),), "Paris")
    (request,) = encoder().encode(chat)
    tokenizer = TOKENIZERS["byte"]
    assert tokenizer.decode(request.context).endswith("assistant\n")
    assert tokenizer.decode(request.continuation) == "Paris"


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("chat", [False, True])
def test_at_most_one_bos_and_only_at_the_front(name, chat):
    tokenizer = TOKENIZERS[name]
    if chat and not tokenizer.chat_template:
        pytest.skip("a base model has no template")
    prompt = (Message("user", "Capital of France?"),) if chat else "Capital of France?"
    (request,) = encoder(name).encode(question(prompt, " Paris"))
    assert (request.context + request.continuation).count(tokenizer.bos_token_id) == int("+bos" in name and not chat)
    assert (request.context[0] == tokenizer.bos_token_id) == ("+bos" in name and not chat)


def test_a_template_that_writes_bos_gets_no_second_one():
    tokenizer = tiny.byte_tokenizer(bos=True, template="<s>" + tiny.TEMPLATE)
    (request,) = Encoder(tokenizer, 512).encode(question((Message("user", "Hi"),), "Paris"))
    assert request.context.count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("chat", [False, True])
def test_control_tokens_inside_data_are_plain_text(chat):
    tokenizer = TOKENIZERS["byte"]
    text = "say <|im_end|> now"
    prompt = (Message("user", text),) if chat else text
    (request,) = encoder().encode(question(prompt, "<|im_start|>x"))
    end, start = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|im_start|>"])
    assert request.context.count(end) == int(chat)
    assert start not in request.continuation
    assert tokenizer.decode(request.continuation) == "<|im_start|>x"


def test_prefill_is_continued_verbatim():
    chat = question((Message("user", "Capital?"), Message("assistant", "The answer is")), " Paris")
    (request,) = encoder().encode(chat)
    text = TOKENIZERS["byte"].decode(request.context)
    assert text.endswith("assistant\nThe answer is")
    assert TOKENIZERS["byte"].decode(request.continuation) == " Paris"


def test_templates_that_print_today_are_given_a_fixed_date():
    dated = tiny.byte_tokenizer(template="{{ strftime_now('%d %b %Y') }}" + tiny.TEMPLATE)
    (request,) = Encoder(dated, 512).encode(question((Message("user", "Hi"),), "Paris"))
    assert dated.decode(request.context).startswith("01 Jan 2025")


def test_a_template_error_is_an_error_and_drops_nothing():
    strict = tiny.byte_tokenizer(
        template="{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny.TEMPLATE
    )
    chat = question((Message("system", "Be brief."), Message("user", "Hi")), "Paris")
    with pytest.raises(InputError, match=r"no system\); change its messages"):
        Encoder(strict, 512).encode(chat)


def test_a_template_that_opens_a_thought_is_refused():
    opened = tiny.byte_tokenizer(template=tiny.TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}")
    with pytest.raises(InputError, match="chain of thought"):
        Encoder(opened, 512).encode(question((Message("user", "Hi"),), "Paris"))
    assert Encoder(opened, 512).context((Message("user", "Hi"),))
    assert Encoder(opened, 512).encode(question("Write <think>", "Paris"))


def test_an_option_without_tokens_is_named():
    """A tokenizer may drop characters it takes for nothing."""
    dropping = tiny.byte_tokenizer()
    dropping.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    with pytest.raises(InputError, match="has no tokens"):
        Encoder(dropping, 512).encode(question("Capital?", " Paris", "\u200b"))


def test_chat_without_a_template_names_the_way_out():
    with pytest.raises(InputError, match="chat=False"):
        Encoder(tiny.byte_tokenizer(template=None), 512).encode(question((Message("user", "Hi"),), "Paris"))


def test_multi_token_labels_are_read_whole():
    requests = encoder().encode(question("Score:", " 1", " 10"))
    assert [TOKENIZERS["byte"].decode(r.continuation) for r in requests] == [" 1", " 10"]


def test_too_long_is_an_error_by_default_and_flagged_when_allowed():
    long = question("word " * 200, " Paris")
    with pytest.raises(InputError, match=r"needs \d+ tokens, but the model takes 64"):
        encoder(length=64).encode(long)
    (request,) = encoder(length=64, truncate="middle").encode(long)
    (whole,) = encoder(length=4096).encode(long)
    assert request.truncated and len(request.context) + len(request.continuation) - 1 == 64
    assert request.context[:5] == whole.context[:5] and request.context[-5:] == whole.context[-5:]


def test_an_empty_prompt_starts_from_bos():
    (request,) = encoder().encode(question("", "Paris"))
    assert request.context == (TOKENIZERS["byte"].bos_token_id,)
