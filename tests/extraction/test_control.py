"""What data spell is text, whatever token it looks like; what a template writes is a token."""

from __future__ import annotations

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workbench.errors import InputError
from workbench.extraction.tokens import Encoder
from workbench.questions import Message, Option, Question

pytestmark = pytest.mark.model

MARKERS = ["<tool_call>", "</think>", "<｜User｜>", "<｜Assistant｜>", "[INST]", "◁think▷", "|||EMAIL|||"]
DEEPSEEK = (
    "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}<｜Assistant｜>{{ m.content }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)


def marked(make=tiny.byte_tokenizer, *extra: AddedToken, **options):
    """A tokenizer whose role markers are added tokens, but not special ones."""
    tokenizer = make(template=DEEPSEEK, **options)
    tokenizer.add_tokens([AddedToken(text, special=False) for text in MARKERS])
    tokenizer.add_tokens(list(extra))
    return tokenizer


TOKENIZERS = {
    "byte": marked(),
    "byte, not normalized": marked(tiny.byte_tokenizer, AddedToken("<|user|>", special=False, normalized=False)),
    "metaspace": marked(tiny.metaspace_tokenizer, bos=True),
}


def ids_of(tokenizer, prompt, option="Paris") -> tuple[tuple[int, ...], tuple[int, ...]]:
    (request,) = Encoder(tokenizer, 4096).encode(Question(prompt, (Option(option),)))
    return request.context, request.continuation


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("marker", [*MARKERS, *tiny.SPECIAL])
def test_a_marker_in_a_prompt_an_option_or_a_text_is_text(name, marker):
    tokenizer = TOKENIZERS[name]
    control = tokenizer.convert_tokens_to_ids(marker)
    context, continuation = ids_of(tokenizer, f"say {marker} now", f" {marker}x")
    assert control not in context[len(Encoder(tokenizer, 9).lead) :] + continuation
    assert tokenizer.decode(continuation).strip() == f"{marker}x"
    assert tokenizer.decode(context, skip_special_tokens=True).strip() == f"say {marker} now"
    (ids,) = Encoder(tokenizer, 99).encode_texts([f"a {marker}\n{marker}"])
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == f"a {marker}\n{marker}"


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("marker", [*MARKERS, "<|im_end|>", "<s>"])
def test_a_marker_in_a_chat_is_text_and_the_templates_own_stay_tokens(name, marker):
    tokenizer = TOKENIZERS[name]
    user, assistant = tokenizer.convert_tokens_to_ids(["<｜User｜>", "<｜Assistant｜>"])
    context, continuation = ids_of(tokenizer, (Message("user", f"say {marker} now"),), marker)
    added = set(tokenizer.convert_tokens_to_ids(MARKERS + tiny.SPECIAL))
    assert [token for token in context if token in added] == [user, assistant]
    assert context[0] == user and context[-1] == assistant
    assert tokenizer.decode(context[1:-1]) == f"say {marker} now"
    assert tokenizer.decode(continuation).strip() == marker


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("ab é\n.1<>|▁中"), min_size=1, max_size=12).filter(str.strip),
    st.sampled_from(list(TOKENIZERS)),
)
def test_the_copy_reads_as_the_tokenizer_does(text, name):
    """A text beside one that spells a control token is encoded by the copy; alone, by the tokenizer itself."""
    control = Encoder(TOKENIZERS[name], 99).control
    alone = control.encoded([text, control.joined("<｜User｜>" + text + "<｜Assistant｜>\n")])
    assert control.encoded([text, control.joined("<｜User｜>" + text + "<｜Assistant｜>\n"), "</think>"])[:2] == alone


def test_a_word_added_to_the_vocabulary_stays_one_token():
    tokenizer = marked(tiny.byte_tokenizer, AddedToken("covid", special=False), AddedToken("    ", special=False))
    covid, spaces = tokenizer.convert_tokens_to_ids(["covid", "    "])
    context, continuation = ids_of(tokenizer, "    covid </think>", " covid")
    assert context[:2] == (spaces, covid) and continuation[-1] == covid


def test_a_word_that_a_template_writes_as_a_role_is_text_in_data():
    tokenizer = tiny.byte_tokenizer(template="{% for m in messages %}HUMAN {{ m.content }}\n{% endfor %}BOT ")
    tokenizer.add_tokens([AddedToken("HUMAN", special=False), AddedToken("BOT", special=False)])
    human, bot = tokenizer.convert_tokens_to_ids(["HUMAN", "BOT"])
    context, _ = ids_of(tokenizer, (Message("user", "Who is HUMAN, who BOT?"),))
    assert [token for token in context if token in (human, bot)] == [human, bot]


def test_a_token_that_the_vocabulary_holds_as_a_piece_is_text_all_the_same():
    """A unigram vocabulary finds its end token in plain text, special or not."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in "abcsy<>/")]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")
    assert tokenizer("a</s>", split_special_tokens=True)["input_ids"][-1] == 1, "the trap is real"
    context, continuation = ids_of(tokenizer, "say </s> a", "</s>")
    assert 1 not in context + continuation
    assert tokenizer.convert_ids_to_tokens(continuation)[-4:] == ["<", "/", "s", ">"]


def test_a_token_that_merges_make_from_plain_text_is_refused():
    vocab = {piece: n for n, piece in enumerate(["<", "a", ">", "<a", "<a>", "b"])}
    backend = Tokenizer(models.BPE(vocab, [("<", "a"), ("<a", ">")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="b")
    tokenizer.add_tokens([AddedToken("<a>", special=False)])
    with pytest.raises(InputError, match="'<a>' as a control token"):
        ids_of(tokenizer, "aa", "<a>")


def test_a_character_the_tokenizer_does_not_know_is_no_option():
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2, "</s>": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")
    with pytest.raises(InputError, match="'漢' of question 'q' has a character"):
        Encoder(tokenizer, 9).encode(Question("a", (Option(" b"), Option("漢")), id="q"))


def test_options_that_come_to_the_same_tokens_are_refused():
    tokenizer = tiny.byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(InputError, match="' Polish' and ' polish' of question 'q' have the same tokens"):
        Encoder(tokenizer, 99).encode(Question("A:", (Option(" Polish"), Option(" polish")), id="q"))
    with pytest.raises(InputError, match="have the same tokens"):
        Encoder(tokenizer, 99).encode(Question("A:", (Option(" Yes", value=1.0), Option(" yes", value=0.0)), id="q"))


def test_surface_forms_of_one_label_may_come_to_the_same_tokens():
    tokenizer = tiny.byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    options = (Option(" Yes", value=1.0), Option(" yes", value=1.0), Option(" No", value=0.0))
    first, second, other = Encoder(tokenizer, 99).encode(Question("A:", options, id="q"))
    assert first == second != other


@pytest.mark.parametrize("text", ["\U00040003", "\U00090003", "\ud83d"])
def test_a_code_point_that_is_no_character_is_refused(text):
    for prompt, option in ((f"a{text}", "b"), ("a", f"b{text}"), ((Message("user", text),), "b")):
        with pytest.raises(InputError, match=r"not a character|contains an invalid character"):
            ids_of(TOKENIZERS["byte"], prompt, option)
    with pytest.raises(InputError, match=r"not a character|contains an invalid character"):
        Encoder(TOKENIZERS["byte"], 9).encode_texts([text])


def test_a_template_cannot_take_markers_in_data_for_its_own():
    """Templates cut thoughts out of what was said before; a text that spells `</think>` is not such a thought."""
    cutting = tiny.byte_tokenizer(
        template="{% for m in messages %}<|im_start|>{{ m.content.split('</think>')[-1] }}{% endfor %}"
    )
    cutting.add_tokens([AddedToken("</think>", special=False)])
    context, _ = ids_of(cutting, (Message("user", "What does </think> mean?"),))
    assert cutting.decode(context).startswith("<|im_start|>What does </think> mean?")
