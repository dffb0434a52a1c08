"""llama.cpp's server, the real one, against the local engine: the first engine that is not built on transformers."""

from __future__ import annotations

from pathlib import Path

import gguf_files
import llama_server
import numpy as np
import pandas as pd
import pytest
import tiny

import workbench as wb
from workbench.errors import InputError
from workbench.models import packaged

pytest.importorskip("xllamacpp", reason="llama.cpp's server is not installed")
pytestmark = pytest.mark.model


def opened(port: int, options: str = "", tokenizer: str = packaged.EMBEDDED) -> wb.Model:
    where = f"openai+http://127.0.0.1:{port}/v1/{llama_server.NAME}"
    return wb.load_model(f"{where}?tokenizer={tokenizer}&concurrency=1{options}")


@pytest.fixture(scope="module")
def local() -> wb.Model:
    return wb.load_model(packaged.EMBEDDED, device="cpu")


@pytest.fixture(scope="module")
def plain(local: wb.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dequantised weights in a GGUF file in float32."""
    words = gguf_files.vocabulary(local.tokenizer, "smollm")
    return gguf_files.write(tmp_path_factory.mktemp("gguf") / "plain.gguf", local.network, words=words)


@pytest.fixture(scope="module")
def shipped() -> Path:
    return next(packaged.MODELS[packaged.EMBEDDED].package.folder.rglob("*.gguf"))


ASKED = [
    ("Which metal is liquid at room temperature?", "Mercury", "Iron", "Copper"),
    ("How many legs does a spider have?", "Eight", "Six", "Ten"),
    ("What is frozen water called?", "Ice", "Steam", "Sand"),
    ("Which month follows April?", "May", "March", "August"),
    ("What do bees make?", "Honey", "Milk", "Silk"),
    ("Which planet do we live on?", "Earth", "Mars", "Venus"),
]


def questions(letters: int, cloze: int = 0) -> list[wb.Question]:
    listed = []
    for number, (asked, *answers) in enumerate(ASKED):
        options = "\n".join(f"{letter}. {answer}" for letter, answer in zip("ABC", answers))
        prompt = f"Question: {asked}\n{options}\nAnswer:"
        roles = ("correct", "wrong", "wrong")
        if number < letters:
            listed.append(wb.Question(prompt, tuple(wb.Option(f" {o}", role) for o, role in zip("ABC", roles))))
        if number < cloze:
            full = tuple(wb.Option(f" {answer}, I think.", role) for answer, role in zip(answers, roles))
            listed.append(wb.Question(f"Question: {asked}\nAnswer:", full))
    return listed


def gaps(served: pd.DataFrame, local: pd.DataFrame) -> pd.Series:
    both = served.merge(local, on=["question_id", "option"], suffixes=("", "_local"), validate="one_to_one")
    assert len(both) == len(served) == len(local)
    return (both.logprob - both.logprob_local).abs()


def test_the_same_weights_in_float32_give_the_same_numbers(local: wb.Model, plain: Path) -> None:
    asked = questions(letters=4, cloze=1)
    exact = wb.ask(local, asked, store=False)
    with llama_server.serving(plain) as port:
        served = wb.ask(opened(port, "&top_k=30"), asked, store=False)
    gap = gaps(served, exact)
    letters = served.n_tokens == 1
    assert not served.bounded[letters].any() and gap[letters].max() < 1e-2
    bounded = served[served.bounded].merge(exact, on=["question_id", "option"], suffixes=("", "_local"))
    assert len(bounded) > 1
    assert (bounded.logprob_local <= bounded.logprob_high + 1e-2).all()


@pytest.mark.slow
def test_the_whole_vocabulary_makes_every_option_exact(local: wb.Model, plain: Path) -> None:
    asked = [wb.Question("The capital of France is", (wb.Option(" Paris, on the Seine"), wb.Option(" zinc")))]
    with llama_server.serving(plain) as port:
        served = wb.ask(opened(port, "&top_k=49152"), asked, store=False)
    assert np.isfinite(served.logprob).all() and not served.get("bounded", pd.Series([False])).any()
    assert gaps(served, wb.ask(local, asked, store=False)).max() < 1e-2


def test_the_shipped_file_differs_by_what_quantised_activations_cost(local: wb.Model, shipped: Path) -> None:
    asked = questions(letters=6)
    with llama_server.serving(shipped) as port:
        model = opened(port, "&top_k=200&check_against=" + packaged.EMBEDDED)
        gap = gaps(wb.ask(model, asked, store=False), wb.ask(local, asked, store=False))
        facts = model.facts()
    assert 1e-2 < gap.median() < 0.5 and gap.max() < 1.5
    assert "ftype=Q4_1" in facts["stated"] and "max_model_len=1024" in facts["stated"]
    assert "0 nat when repeated, 0 nat in reverse order" in facts["contract"]


def test_after_a_crash_only_what_is_missing_is_asked(local: wb.Model, shipped: Path, cache: Path) -> None:
    asked, tokenizer = questions(letters=2), str(local.folder)
    with llama_server.serving(shipped) as port:
        first = wb.ask(opened(port, "&top_k=200", tokenizer), asked[:1])
    with pytest.raises(InputError, match=r"cannot be reached|refused|tried"):
        wb.ask(opened(port, "&top_k=200&retries=0", tokenizer), asked)
    with llama_server.serving(shipped, port=port):
        both = wb.ask(opened(port, "&top_k=200", tokenizer), asked)
    assert both.attrs["requests_stored"] == len(first) and both.attrs["requests_computed"] == len(both) - len(first)
    pd.testing.assert_frame_equal(both.iloc[: len(first)], first, check_like=True)


def test_another_tokenizer_is_refused(shipped: Path, tmp_path: Path) -> None:
    tiny.byte_tokenizer().save_pretrained(tmp_path)
    with llama_server.serving(shipped) as port:  # noqa: SIM117
        with pytest.raises(InputError, match=r"calls token .* in the local tokenizer|breaks the contract"):
            wb.ask(opened(port, "&top_k=200", str(tmp_path)), questions(letters=1), store=False)


def test_its_chat_endpoint_gives_the_labels_of_the_local_template(local: wb.Model, plain: Path) -> None:
    options = tuple(wb.Option(text) for text in ("Yes", "No"))
    asked = [wb.Question((wb.Message("user", f"{text} Reply Yes or No."),), options) for text, *_ in ASKED[:3]]
    with llama_server.serving(plain) as port:
        address = f"chat+http://127.0.0.1:{port}/v1/{llama_server.NAME}?concurrency=1&top_k=100"
        model = wb.load_model(f"{address}&check_against={packaged.EMBEDDED}")
        served = wb.ask(model, asked, store=False)
    exact = ~served.bounded
    assert exact.sum() > 3 and gaps(served, wb.ask(local, asked, store=False))[exact].max() < 1e-2
    assert "nat from smollm2-135m-instruct" in model.facts()["contract"]
