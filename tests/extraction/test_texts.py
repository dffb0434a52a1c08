"""Whole texts: scores, hidden states, generation."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import texts
from workbench.extraction.tokens import Request

pytestmark = pytest.mark.model
TEXTS = ["The capital of France is Paris.", "The capital of Germany", "agree"]


@pytest.fixture(params=["llama", "gpt2"])
def model(request, cache):
    return wb.wrap_model(tiny.network(request.param), tiny.byte_tokenizer(), request.param)


def test_scores_of_texts_are_those_of_the_plain_forward(model):
    table = wb.score_texts(model, TEXTS)
    for text, row in zip(TEXTS, table.itertuples()):
        ids = [model.tokenizer.bos_token_id, *model.tokenizer(text).input_ids]
        logp = model.network.double()(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        model.network.float()
        expected = [logp[t, ids[t + 1]].item() for t in range(len(ids) - 1)]
        assert row.token_logprobs == pytest.approx(expected, abs=1e-4)
        assert row.logprob == pytest.approx(sum(expected), abs=1e-4)
        assert "".join(row.tokens) == text


@pytest.mark.parametrize("stride", [1, 5, 16])
def test_a_text_beyond_the_context_is_read_in_windows(cache, stride):
    """Each token once, after at least 16 - stride others, as a float64 forward of its own window gives it."""
    model = wb.wrap_model(tiny.network(context=16), tiny.byte_tokenizer())
    text = " ".join(TEXTS * 5)
    (row,) = wb.score_texts(model, [text], stride=stride).itertuples()
    exact = copy.deepcopy(model.network).double()
    ids = [model.tokenizer.bos_token_id, *model.tokenizer(text).input_ids]
    expected, start = [], 1
    while start < len(ids):
        stop = min(len(ids), start + stride if expected else 17)
        window = ids[max(0, stop - 17) : stop]
        logp = exact(input_ids=torch.tensor([window[:-1]])).logits[0].log_softmax(-1)
        expected += [logp[i, window[i]].item() for i in range(start - stop, 0)]
        start = stop
    assert len(ids) > 40 and "".join(row.tokens) == text
    assert row.token_logprobs == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match="the model takes 16"):
        wb.score_texts(model, [text])


@given(st.integers(1, 60), st.integers(1, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_windows_are_those_of_the_harness(n, length, data):
    utils = pytest.importorskip("lm_eval.utils", reason="the extra `peer` is not installed")
    stride = data.draw(st.integers(1, length))
    theirs = utils.get_rolling_token_windows(list(range(1, n + 1)), 0, length, length - stride + 1)
    ours = texts._windows(Request((0,), tuple(range(1, n + 1))), length, stride)
    assert [(list(w.context), list(w.continuation)) for w in ours] == list(map(utils.make_disjoint_window, theirs))


@pytest.mark.parametrize("stride", [0, 513])
def test_a_stride_that_leaves_tokens_out_is_named(model, stride):
    with pytest.raises(InputError, match="from 1 to 512"):
        wb.score_texts(model, TEXTS, stride=stride)


def test_numbers_that_are_not_finite_name_the_text(cache):
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
    spoilt = model.tokenizer(TEXTS[2]).input_ids[0]
    with torch.no_grad():
        model.network.get_input_embeddings().weight[spoilt] = torch.nan
    for ask in (wb.hidden_states, wb.score_texts):
        with pytest.raises(InputError, match=r"not finite \(Text 'agreeagree'"):
            ask(model, [TEXTS[1], TEXTS[2] * 2])
    for temperature in (0, 1):
        with pytest.raises(InputError, match=r"not finite \(Prompts? 0"):
            wb.generate(model, [TEXTS[2] * 2], max_new_tokens=2, temperature=temperature)


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_hidden_states_do_not_depend_on_padding(model, pool):
    layers = (0, 1, -1)
    together = wb.hidden_states(model, TEXTS, layers=layers, pool=pool)
    for text, result in zip(TEXTS, together):
        ids = torch.tensor([model.tokenizer(text).input_ids])
        outputs = model.network.base_model(input_ids=ids, output_hidden_states=True)
        states = torch.stack([outputs.hidden_states[layer][0] for layer in layers], dim=1).detach()
        expected = {"mean": states.mean(0), "last": states[-1], "none": states}[pool]
        assert result == pytest.approx(expected.numpy(), abs=1e-5)


def test_hidden_states_name_a_layer_that_is_not_there(model):
    with pytest.raises(InputError, match="0 to 2"):
        wb.hidden_states(model, TEXTS, layers=[3])


def test_greedy_generation_is_the_argmax_and_padding_does_not_matter(model):
    table = wb.generate(model, TEXTS, max_new_tokens=5, temperature=0)
    alone = wb.generate(model, TEXTS[1:2], max_new_tokens=5, temperature=0)
    assert table["text"][1] == alone["text"][0]
    ids = torch.tensor([model.tokenizer(TEXTS[0]).input_ids])
    for _ in range(table["n_tokens"][0]):
        ids = torch.cat([ids, model.network(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
    assert model.tokenizer.decode(ids[0, -table["n_tokens"][0] :], skip_special_tokens=True) == table["text"][0]


def test_settings_shipped_with_a_model_do_not_touch_what_it_says(model):
    plain = wb.generate(model, TEXTS, max_new_tokens=8, temperature=0)
    shipped = model.network.generation_config
    shipped.update(repetition_penalty=50.0, no_repeat_ngram_size=1, suppress_tokens=list(range(5, 400)))
    assert wb.generate(model, TEXTS, max_new_tokens=8, temperature=0).equals(plain)
    assert model.network.generation_config is shipped


def test_sampling_is_seeded_and_scored_before_the_warp(model):
    how = {"max_new_tokens": 4, "samples": 3, "temperature": 0.7, "top_p": 0.9}
    first, again = wb.generate(model, TEXTS, seed=1, **how), wb.generate(model, TEXTS, seed=1, **how)
    other = wb.generate(model, TEXTS, seed=2, **how)
    assert first.equals(again) and not first["text"].equals(other["text"])
    assert len(first) == 9 and np.isfinite(first["logprob"]).all()
    sharp = wb.generate(model, TEXTS, max_new_tokens=4, temperature=1e-6)
    greedy = wb.generate(model, TEXTS, max_new_tokens=4, temperature=0)
    assert sharp["logprob"].to_numpy() == pytest.approx(greedy["logprob"].to_numpy(), abs=1e-4)


def test_sampling_does_not_touch_the_callers_random_state(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    wb.generate(model, TEXTS[:1], max_new_tokens=2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "bad",
    [
        *({name: 0} for name in ("top_p", "samples", "max_new_tokens", "batch_size")),
        {"temperature": -1},
        {"max_new_tokens": 512},
    ],
)
def test_settings_out_of_range_are_named(model, bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        wb.generate(model, TEXTS, **bad)


def test_what_is_no_text_is_named(model):
    for ask in (wb.score_texts, wb.hidden_states, wb.generate):
        for wrong, message in ([], "at least one"), ("agree", "at least one"), ([None], "None is not a text"):
            with pytest.raises(InputError, match=message):
                ask(model, wrong)
    with pytest.raises(InputError, match="Text 1 is empty"):
        wb.score_texts(model, ["agree", " "])
    with pytest.raises(InputError, match=r"a list of layer indices, e\.g\. layers=\[1\]"):
        wb.hidden_states(model, TEXTS, layers=1)


def test_a_column_of_a_table_and_a_generator_are_texts_too(model):
    texts = ["the first text", "and one more"]
    column = pd.Series(texts, index=[7, 9])
    states = wb.hidden_states(model, texts)
    assert np.array_equal(wb.hidden_states(model, column), states)
    assert np.array_equal(wb.hidden_states(model, (text for text in texts)), states)
    pd.testing.assert_frame_equal(wb.score_texts(model, column), wb.score_texts(model, texts))
    settings = {"max_new_tokens": 3, "temperature": 0.0}
    pd.testing.assert_frame_equal(wb.generate(model, column, **settings), wb.generate(model, texts, **settings))


@pytest.mark.parametrize("read", [wb.score_texts, wb.hidden_states, wb.generate])
def test_a_token_beyond_the_networks_embeddings_is_named(read):
    small = wb.wrap_model(tiny.network(vocab_size=300), tiny.byte_tokenizer())
    with pytest.raises(InputError, match=r"(Text 'Is Jupiter the largest'|Prompt 0) has a token .* knows 300 tokens"):
        read(small, ["Is Jupiter the largest"])
