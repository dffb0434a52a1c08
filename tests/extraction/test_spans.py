"""Each token's characters: spans of byte-level, metaspace, byte-fallback and normalising tokenizers."""

from functools import cache
from itertools import groupby

import pytest
import tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import workbench as wb
from workbench.extraction.tokens import Encoder, spans
from workbench.questions import Option, Question

pytestmark = pytest.mark.model


def normalising_tokenizer():
    """Lower case and NFKC before words are looked up, as no reading of its pieces can undo."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=tiny.SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tiny.CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


TOKENIZERS = {
    "byte-level": tiny.byte_tokenizer(),
    "byte-level with BOS": tiny.byte_tokenizer(bos=True),
    "metaspace with byte fallback": tiny.metaspace_tokenizer(),
    "normalising": normalising_tokenizer(),
}
HARD = "Ann's naïve\u0301  façade…\n\n 日本語 👩‍👧 is 10²!\tẞ "
letters = st.text(
    st.one_of(st.sampled_from("aé\u0301 \n日👩▁Ġ<0xE2>&ﬁ"), st.characters(exclude_categories=["Cs"])), max_size=40
)


@cache
def encoder(tokenizer):
    return Encoder(tokenizer, 4096)


def placed(tokenizer, text):
    (request,) = encoder(tokenizer).encode(Question("", (Option(text),)))
    return request.continuation, spans(tokenizer, text, request.continuation)


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())
@given(text=letters.filter(str.strip))
@settings(max_examples=50, deadline=None)
@example(text=HARD)
@example(text=" a")
@example(text="👩")
def test_distinct_spans_joined_give_the_text(tokenizer, text):
    try:
        ids, result = placed(tokenizer, text)
    except wb.InputError:
        return  # a character this tokenizer does not know
    assert len(result) == len(ids) and all(0 <= start <= end <= len(text) for start, end in result)
    assert result == sorted(result)
    assert "".join(text[start:end] for (start, end), _ in groupby(result)) == text


def test_spaces_and_split_characters_are_kept():
    tokenizer = TOKENIZERS["byte-level"]
    _, result = placed(tokenizer, " 日 is")
    assert [" 日 is"[start:end] for start, end in result[:4]] in ([" ", "日", "日", "日"], [" 日", "日", "日", " "])
    assert result[-1][1] == 5
    text, words = "The capitals of Frances", {}
    for start, end in placed(tokenizer, text)[1]:
        words.setdefault(len(text[:end].split()), []).append(text[start:end])
    assert ["".join(parts) for parts in words.values()] == ["The", " capitals", " of", " Frances"]
    assert any(len(parts) > 1 for parts in words.values())


def test_a_rewritten_text_is_placed_by_the_tokenizers_offsets():
    text = "ANN ﬁnds  10²"
    ids, result = placed(TOKENIZERS["normalising"], text)
    assert TOKENIZERS["normalising"].decode(ids) == "ann finds  102"
    assert "".join(text[start:end] for (start, end), _ in groupby(result)) == text
    assert any("ﬁ" in text[start:end] for start, end in result) and result[-1][1] == len(text)


def test_score_texts_gives_each_token_its_characters(cache):
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
    (row,) = wb.score_texts(model, [HARD]).itertuples()
    assert len(row.start) == len(row.end) == len(row.tokens) == row.n_tokens == len(row.token_logprobs)
    assert row.tokens == [HARD[start:end] for start, end in zip(row.start, row.end)]
    assert "".join(token for (token, _), _ in groupby(zip(row.tokens, row.start))) == HARD


class Python:
    """A tokenizer without offsets, of these pieces."""

    is_fast = False

    def __init__(self, *pieces):
        self.pieces = pieces

    def convert_ids_to_tokens(self, ids):
        return list(self.pieces)


def test_what_cannot_be_placed_is_none_not_a_guess():
    assert spans(Python("ann"), "ANN", [0]) is None and spans(Python("ann"), "ann", [0]) == [(0, 3)]


def test_tokens_that_overlap_in_a_character_cover_it_together():
    """A token can hold a space and the first byte of what follows, as in GPT-2 and tiktoken."""
    assert spans(Python(b"a", b" \xe6", b"\x97", b"\xa5x", b"y"), "a 日xy", [0] * 5) == [
        *[(0, 1)],
        *[(1, 4)] * 3,
        *[(4, 5)],
    ]
    assert spans(Python("aĠ", "æ", "ĹĊ"), "a é", [0] * 3) is None


def test_a_space_that_the_tokenizer_invents_belongs_to_no_token():
    assert spans(Python("▁", "<0xC3>", "<0xA9>", "▁a"), "é a", [0] * 4) == [(0, 0), (0, 1), (0, 1), (1, 3)]
