"""The engine computes nothing twice, agrees with a float64 forward, and knows when to step down."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import engine, packed, trie
from workbench.extraction.tokens import Request
from workbench.models import proof

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore:.*is read by:UserWarning")]
STEPS = {
    "gemma2": "tree",
    **dict.fromkeys(("doge", "bloom", "gpt_neo", "mamba", "jamba", "lfm2", "qwen3_next", "roberta", "xlm"), "rows"),
    "phi3_long": "alone",
}
"""The step each family takes, if it is not the trie."""


def model(family: str = "llama", **changes) -> wb.Model:
    return wb.wrap_model(tiny.network(family, **changes), tiny.byte_tokenizer(), family)


def random_requests(n: int, seed: int = 0) -> list[Request]:
    draw = np.random.default_rng(seed)
    contexts = [tuple(draw.integers(5, 400, draw.integers(1, 40)).tolist()) for _ in range(n)]
    return [
        Request(context, tuple(draw.integers(5, 400, draw.integers(1, 6)).tolist()))
        for context in contexts
        for _ in range(3)
    ]


def reference(network, requests) -> np.ndarray:
    """Each request alone, in float64, with full logits."""
    exact = copy.deepcopy(network).double()
    values = []
    with torch.inference_mode():
        for request in requests:
            ids = torch.tensor([request.context + request.continuation])
            logp = exact(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            at = range(len(request.context) - 1, ids.shape[1] - 1)
            values.append(sum(logp[t, ids[0, t + 1]].item() for t in at))
    return np.array(values)


def branching_requests(n: int = 30, seed: int = 1) -> list[Request]:
    """Requests that share prefixes of all lengths, up to a window and several tiles away."""
    draw = np.random.default_rng(seed)
    base = tuple(draw.integers(5, 400, 200).tolist())
    made = []
    for _ in range(n):
        context = base[: draw.integers(1, 200)] + tuple(draw.integers(5, 9, draw.integers(0, 30)).tolist())
        made += [Request(context, tuple(draw.integers(5, 8, draw.integers(1, 5)).tolist())) for _ in range(4)]
    return made


def scored(subject: wb.Model, requests: list[Request], budget: int | None = None) -> np.ndarray:
    values = np.full(len(requests), np.nan)
    for _, indices, result in engine.score(subject, requests, budget):
        values[indices] = [terms.sum() for terms in result]
    return values


def scored_plainly(network, requests, batch_tokens=256) -> np.ndarray:
    values = np.full(len(requests), np.nan)
    for _, indices, batch in engine.score_rows(network, requests, batch_tokens):
        values[indices] = [terms.sum() for terms in batch]
    return values


def prefixes(requests: list[Request]) -> set[tuple[int, ...]]:
    """Every distinct prefix that has to be computed, by brute force."""
    sequences = {r.context + r.continuation[:-1] for r in requests}
    return {s[:n] for s in sequences for n in range(1, len(s) + 1)}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_architecture_agrees_with_float64(family):
    subject, requests = model(family), random_requests(8) + branching_requests(10)
    choice = engine.choose(subject)
    assert choice.step == STEPS.get(family, "trie"), choice
    assert choice.gap < 1e-4
    assert (choice.passed_over == "") == (choice.step == "trie")
    assert scored(subject, requests) == pytest.approx(reference(subject.network, requests), abs=1e-4)


@pytest.mark.parametrize(
    ("family", "window"),
    [
        ("gpt_neo", {"window_size": 150}),
        *((family, {"sliding_window": 150}) for family in ("mistral", "gemma2", "gemma3")),
    ],
)
def test_windows_longer_than_the_probes_are_respected(family, window):
    """Probes are shorter than most windows; prompts are not."""
    subject, requests = model(family, **window), branching_requests(6)
    stem = tuple(np.random.default_rng(7).integers(5, 400, 300).tolist())
    requests += [Request(stem[:n], tail) for n in (300, 280, 160) for tail in ((7, 8, 9), (8, 9), (9, 7, 8, 5))]
    assert scored(subject, requests) == pytest.approx(reference(subject.network, requests), abs=1e-4)


@pytest.mark.parametrize("name", ["Roberta", "XLMRoberta", "XLMRobertaXL", "Camembert", "Data2VecText", "Xmod"])
def test_positions_that_count_from_the_padding_id_are_the_networks_own(name):
    """A padding id inside a text has no position of its own in the RoBERTa family."""
    small = {"vocab_size": 704, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 1}
    small |= {"intermediate_size": 48, "max_position_embeddings": 66, "is_decoder": True}
    if name == "Xmod":
        small |= {"languages": ["en_XX"], "default_language": "en_XX"}
    torch.manual_seed(0)
    network = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**small)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    subject = wb.wrap_model(network, tiny.byte_tokenizer(), name)
    stem = tuple(np.random.default_rng(0).integers(5, 400, 50).tolist())
    requests = [Request(stem[:n], (7, 8)) for n in (3, 20, 50)] + [Request((5, 1, 6, 1, 1, 7), (1, 8, 9))]
    assert scored(subject, requests) == pytest.approx(reference(subject.network, requests), abs=1e-4)
    assert subject.context_length == 64, "the positions of the table that stand for no token"
    texts = ["Paris", "The capital of France"]
    states = wb.hidden_states(subject, texts, pool="last")[:, 0]
    for state, text in zip(states, texts):
        plain = network.base_model(torch.tensor(subject.tokenizer([text])["input_ids"])).last_hidden_state[0, -1]
        assert state == pytest.approx(plain.detach().numpy(), abs=1e-4)
    with pytest.raises(InputError, match="counts positions from its padding id on"):
        wb.generate(subject, texts, max_new_tokens=4)


def test_a_network_that_ends_in_an_error_is_refused_in_a_sentence(monkeypatch):
    subject = model()
    monkeypatch.setattr(subject.network.model.norm, "forward", lambda *_: [][0])
    with pytest.raises(InputError, match=r"A LlamaForCausalLM cannot be read: .*\(list index out of range\)"):
        engine.choose(subject)


@pytest.mark.parametrize("vocabulary", [64, 704, 49152])
def test_probes_cross_from_one_pack_to_the_next(vocabulary):
    plan = trie.build([Request(*pair) for pair in proof.probes(vocabulary, 512)])
    assert max(len(pack.carried) for pack in trie.packs(plan, engine.PROBE_BUDGET)) > 32


def test_keys_that_are_carried_wrongly_are_detected(monkeypatch):
    monkeypatch.setattr(
        packed, "packs", lambda *given: (replace(pack, carried=pack.carried * 0) for pack in trie.packs(*given))
    )
    choice = engine.choose(model())
    assert choice.step == "tree"
    assert "trie: differs by" in choice.passed_over


@pytest.mark.parametrize("family", ["llama", "gemma2", "doge", "phi3_long"])
def test_the_total_of_the_progress_bar_is_the_number_of_tokens_computed(family):
    """A bar that counts tokens ends where the tokens do, whatever the step."""
    subject, requests = model(family), branching_requests(5) * 2
    done = sum(tokens for tokens, _, _ in engine.score(subject, requests))
    assert engine.work(subject, requests, trie.build(requests)) == done


@pytest.mark.parametrize("budget", [1, 7, 64, 100, 1000])
def test_results_do_not_depend_on_how_the_run_is_split(budget):
    subject, requests = model("gemma3"), branching_requests()
    assert scored(subject, requests, budget) == pytest.approx(scored(subject, requests), abs=2e-5)


def test_results_do_not_depend_on_order_or_company():
    subject, requests = model(), branching_requests()
    together = scored(subject, requests)
    assert scored(subject, requests[::-1])[::-1].tolist() == together.tolist()
    assert scored(subject, requests[:20]) == pytest.approx(together[:20], abs=2e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 2), min_size=1, max_size=8), st.lists(st.integers(0, 2), min_size=1, max_size=4)
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 40),
)
def test_the_plan_computes_each_prefix_once_and_each_needed_row_once(pairs, budget):
    requests = [Request(tuple(context), tuple(continuation)) for context, continuation in pairs]
    plan = trie.build(requests)
    assert len(plan.tokens) == len(prefixes(requests))
    needed = {
        (r.context + r.continuation)[:n]
        for r in requests
        for n in range(len(r.context), len(r.context) + len(r.continuation))
    }
    assert plan.head_rows == len(needed)
    packs = list(trie.packs(plan, budget))
    assert [p.start for p in packs] == list(range(0, len(plan.tokens), budget))
    assert sum(tile.stop - tile.start for p in packs for tile in p.tiles) == len(plan.tokens)


def test_counts_at_the_network_equal_the_plan():
    """Tokens that enter the body and rows that enter the head, counted at the network itself."""
    subject, requests = model(), random_requests(20) + branching_requests()
    body, rows = [], []
    subject.network.model.register_forward_pre_hook(
        lambda _, args, kwargs: body.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    subject.network.lm_head.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[:-1].numel()))
    engine.choose(subject)
    body.clear(), rows.clear()
    plan = trie.build(requests)
    scored(subject, requests * 2, 256)
    assert sum(body) == len(plan.tokens) == len(prefixes(requests))
    assert sum(rows) == plan.head_rows
    assert max(rows) <= packed.HEAD_ROWS


def test_the_network_is_left_as_it_was():
    subject = model()
    before = subject.network.config._attn_implementation
    ids = torch.tensor([[5, 6, 7]])
    expected = subject.network(input_ids=ids).logits
    scored(subject, random_requests(3))
    assert subject.network.config._attn_implementation == before
    assert torch.equal(subject.network(input_ids=ids).logits, expected)


def test_a_method_that_gives_wrong_numbers_is_rejected(monkeypatch):
    real = trie.ancestors

    def blind(depth):
        on_path, within = real(depth)
        return on_path, within | np.tril(np.ones(within.shape[-2:], dtype=bool))

    monkeypatch.setattr(packed, "ancestors", blind)
    choice = engine.choose(model())
    assert choice.step == "tree"
    assert "trie: differs by" in choice.passed_over
    monkeypatch.setattr(trie, "ancestors", blind)
    assert engine.choose(model(seed=1)).step == "rows"


def test_running_out_of_memory_halves_the_budget_and_goes_on(monkeypatch):
    subject, requests = model(), branching_requests()
    expected = scored(subject, requests)
    real, budgets = packed.score, []

    def scarce(network, plan, budget):
        budgets.append(budget)
        for n, batch in enumerate(real(network, plan, budget)):
            if n == 1 and budget > 128:
                raise torch.OutOfMemoryError
            yield batch

    monkeypatch.setattr(packed, "score", scarce)
    assert scored(subject, requests, 512) == pytest.approx(expected, abs=2e-5)
    assert budgets == [512, 256, 128]


@pytest.mark.parametrize("free, expected", [(np.inf, 16384), (0.0, 64), (4e8, 2849)])
def test_the_budget_fits_a_fraction_of_free_memory(monkeypatch, free, expected):
    subject = replace(model(), device="cuda")
    monkeypatch.setattr(packed, "bytes_per_token", lambda network: 35_100.0)
    monkeypatch.setattr(engine, "_free_memory", lambda model: free)
    assert engine.token_budget(subject) == expected


def test_a_token_takes_keys_of_every_layer_and_one_layer_of_activations():
    network = model().network
    config = network.config
    parts = 4 * config.num_hidden_layers * config.hidden_size + 8 * config.hidden_size + 3 * config.intermediate_size
    assert packed.bytes_per_token(network) == 4 * parts


def test_a_device_without_memory_for_a_few_tokens_is_named(monkeypatch):
    subject = model()
    engine.choose(subject)

    def none_left(*_):
        raise torch.OutOfMemoryError
        yield

    monkeypatch.setattr(packed, "score", none_left)
    with pytest.raises(InputError, match="has too little memory"):
        scored(subject, branching_requests(2))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_long_unbranched_stretches_read_their_keys_in_place(family, monkeypatch):
    subject, draw, in_place = model(family), np.random.default_rng(4), []
    real = packed._attend_group

    def spy(queries, keys, values, group, *rest):
        in_place.append(isinstance(group.keys, slice))
        return real(queries, keys, values, group, *rest)

    monkeypatch.setattr(packed, "_attend_group", spy)
    stem = tuple(draw.integers(5, 400, 480).tolist())
    requests = [Request(stem[:n], tuple(draw.integers(5, 9, 3).tolist())) for n in (480, 480, 470, 400)]
    expected = reference(subject.network, requests)
    for budget in (100, 192, 1000):
        assert scored(subject, requests, budget) == pytest.approx(expected, abs=1e-4)
    assert any(in_place) and not all(in_place)


def test_a_network_that_sees_what_follows_is_refused():
    """Encoders come with a language-model head too; their numbers are no likelihoods."""
    config = transformers.BertConfig(
        vocab_size=704, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    torch.manual_seed(0)
    network = transformers.BertLMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    with pytest.raises(InputError, match="not a causal language model"):
        engine.choose(wb.wrap_model(network, tiny.byte_tokenizer()))


def test_a_slower_method_is_a_warning():
    with pytest.warns(UserWarning, match="gemma2 is read by 'tree'"):
        engine.choose(model("gemma2"))


def test_half_precision_is_checked_against_its_own_noise():
    network = tiny.network().bfloat16()
    choice = engine.choose(wb.wrap_model(network, tiny.byte_tokenizer()))
    assert 1e-4 < choice.gap < engine.HALF_TOLERANCE


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_the_gap_of_half_precision_is_that_to_float32_over_the_same_weights(family):
    """Measured module by module, it is what a whole network in float32 would show, and the weights stay in half."""
    network = tiny.network(family).bfloat16()
    whole = copy.deepcopy(network).float()
    before = {name: (weight.data_ptr(), weight.clone()) for name, weight in network.named_parameters()}
    with pytest.warns(UserWarning, match="nat from float32"):
        choice = engine.choose(wb.wrap_model(network, tiny.byte_tokenizer()))
    probes = proof.probes(network.config.vocab_size, 512)
    expected = np.abs(proof.plain(network, probes) - proof.plain(whole, probes)).max()
    assert choice.half_gap == pytest.approx(expected, abs=1e-4) and expected > 1e-3
    for name, weight in network.named_parameters():
        assert weight.dtype == torch.bfloat16 and weight.data_ptr() == before[name][0]
        assert torch.equal(weight, before[name][1])
    assert engine.choose(model()).half_gap is None


def test_a_tier_names_what_decides_a_number_in_half_precision(monkeypatch):
    """There devices, steps and versions differ by tenths of a nat; in float32 they all give the same."""
    subject = model()
    half = replace(subject, dtype="bfloat16")
    plain, tiers = engine.tier(subject), {engine.tier(half), engine.tier(replace(half, device="cuda:1"))}
    monkeypatch.setattr(engine, "version", lambda name: "0.0")
    assert engine.tier(subject) == plain
    assert len(tiers | {engine.tier(half), plain}) == 4


def test_float32_in_less_than_its_precision_is_another_tier():
    subject = model()
    plain = engine.tier(subject)
    torch.set_float32_matmul_precision("medium")
    try:
        assert engine.tier(subject) != plain
    finally:
        torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert engine.tier(subject) != plain
    assert engine.tier(subject) == plain


def test_memory_does_not_grow_with_the_vocabulary_of_a_long_prompt():
    """Logits exist only for needed rows: a prompt of 400 tokens with one label runs the head on one row."""
    subject = model()
    rows = []
    subject.network.lm_head.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[:-1].numel()))
    engine.choose(subject)
    rows.clear()
    scored(subject, [Request(tuple(range(5, 405)), (7,))])
    assert rows == [1]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_agrees_with_a_float64_forward(family, batch_tokens):
    """Learned and rotary positions, batched and alone."""
    network, requests = tiny.network(family), random_requests(12)
    assert scored_plainly(network, requests, batch_tokens) == pytest.approx(reference(network, requests), abs=1e-4)


def test_does_not_depend_on_order_or_company():
    network, requests = tiny.network(), random_requests(10)
    together = scored_plainly(network, requests)
    assert scored_plainly(network, requests[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert scored_plainly(network, requests[:4]) == pytest.approx(together[:4], abs=1e-5)


def test_the_end_token_inside_a_text_is_not_taken_for_padding():
    """Padding is masked by length: an end token, whose id is also the pad id, is scored like any other."""
    network = tiny.network()
    requests = [Request((7, 2, 9), (2, 11)), Request(tuple(range(20, 40)), (2,))]
    assert scored_plainly(network, requests) == pytest.approx(reference(network, requests), abs=1e-4)


def test_equal_sequences_share_a_forward():
    network = tiny.network()
    seen = []
    network.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True)
    context = tuple(range(5, 25))
    scored_plainly(network, [Request(context, (i,)) for i in range(5, 10)])
    assert seen == [(1, 20)]


def test_the_head_runs_only_where_a_number_is_needed():
    network = tiny.network()
    seen = []
    network.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
    requests = random_requests(6)
    scored_plainly(network, requests, 4096)
    unique = {r.context + r.continuation[:-1]: len(r.continuation) for r in requests}
    assert sum(seen) == sum(unique.values())


def test_half_precision_logits_are_raised_before_the_softmax():
    network = tiny.network().bfloat16()
    requests = random_requests(3)
    values = scored_plainly(network, requests)
    assert not np.allclose(values, np.round(values * 32) / 32)


def test_oracle_of_the_shift():
    """Position t-1 scores token t: logits [[2,1,0],[0,3,1]] score tokens 0, 1 as -0.4076060 and -0.1698460."""

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask, use_cache):
            table = {5: [2.0, 1.0, 0.0], 0: [0.0, 3.0, 1.0]}
            logits = torch.tensor([[table.get(i, [0.0, 0.0, 0.0]) for i in row] for row in input_ids.tolist()])
            return type("Output", (), {"logits": logits})

    assert scored_plainly(Fixed(), [Request((5,), (0, 1))]) == pytest.approx([-0.5774520], abs=1e-6)
