"""vLLM's server, the real one, against the local engine (`make test-vllm`)."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
import vllm_server

import workbench as wb
from workbench.errors import InputError
from workbench.models import packaged

pytestmark = [pytest.mark.model, pytest.mark.slow]
if not vllm_server.COMMAND.exists():
    pytest.skip("vLLM is not installed; make test-vllm does it", allow_module_level=True)


@pytest.fixture(scope="module")
def local() -> wb.Model:
    return wb.load_model(packaged.EMBEDDED, device="cpu")


@pytest.fixture(scope="module")
def exact(local: wb.Model):
    with vllm_server.serving(local.folder) as port:
        yield port


@pytest.fixture(scope="module")
def half(local: wb.Model):
    with vllm_server.serving(local.folder, "bfloat16") as port:
        yield port


def opened(port: int, form: str = "vllm://127.0.0.1:{port}/{name}", options: str = "") -> wb.Model:
    address = form.format(port=port, name=vllm_server.NAME)
    tokenizer = "" if form.startswith("chat") else f"&tokenizer={packaged.EMBEDDED}"
    return wb.load_model(f"{address}?concurrency=4{tokenizer}{options}")


def asked(style: str, n: int, **how) -> wb.Questions:
    return wb.load_questions("general_knowledge", n=n, seed=0, style=style, **how)


def gaps(model: wb.Model, local: wb.Model, questions: wb.Questions) -> pd.DataFrame:
    """Both readings of every option, and their difference."""
    both = [wb.ask(each, questions, store=False).set_index(["question_id", "option"]) for each in (model, local)]
    served = both[0].assign(local=both[1]["logprob"])
    return served.assign(gap=(served["logprob"] - served["local"]).abs())


@pytest.mark.parametrize(("style", "n", "options"), [("letters", 40, 250), ("cloze", 30, 200)])
def test_in_float32_every_option_is_that_of_the_local_engine(exact, local, style, n, options):
    gap = gaps(opened(exact), local, asked(style, n))["gap"]
    print(
        f"vllm float32 {style}: {len(gap)} options, median {gap.median():.2g}, largest {gap.max():.2g}", file=sys.stderr
    )
    assert len(gap) >= options and gap.max() < 5e-4


def test_bounds_of_unlisted_tokens_contain_the_exact_numbers(exact, local):
    both = gaps(opened(exact, "openai+http://127.0.0.1:{port}/v1/{name}", "&top_k=20"), local, asked("letters", 40))
    bounded = both[both["bounded"]]
    assert both["gap"].max() < 5e-4 and len(bounded) > 20
    assert bounded["local"].between(bounded["logprob_low"] - 5e-4, bounded["logprob_high"] + 5e-4).all()


def test_its_chat_endpoint_renders_as_the_local_template(exact, local):
    form = "chat+http://127.0.0.1:{port}/v1/{name}"
    model = opened(exact, form, f"&check_against={packaged.EMBEDDED}")
    both = gaps(model, local, asked("letters", 20, chat=True))
    assert both["gap"].notna().sum() > 100 and both["gap"].max() < 5e-4
    assert f"nat from {packaged.EMBEDDED} in float32" in model.facts()["contract"]


def test_half_precision_is_recognised_by_the_size_of_the_difference(half, local):
    model = opened(half, options=f"&check_against={packaged.EMBEDDED}")
    both = gaps(model, local, asked("letters", 40))
    print(f"vllm bfloat16: median {both['gap'].median():.2g}, largest {both['gap'].max():.2g}", file=sys.stderr)
    assert 0.02 < both["gap"].median() < 0.3
    assert "half precision explains it" in model.facts()["contract"]
    with pytest.raises(InputError, match=r"in float32, which differs by .* from itself in bfloat16.*tolerance"):
        wb.ask(opened(half, options=f"&check_against={packaged.EMBEDDED}&tolerance=0.01"), asked("letters", 2))


def test_after_a_crash_only_what_is_missing_is_computed(local, tmp_path, monkeypatch):
    questions = asked("cloze", 12)
    with vllm_server.serving(local.folder) as port:
        first = wb.ask(opened(port), questions[:5])
    with pytest.raises(InputError, match=r"cannot be reached|refused|tried"):
        wb.ask(opened(port, options="&retries=0"), questions)
    with vllm_server.serving(local.folder, port=port):
        both = wb.ask(opened(port), questions)
    assert both.attrs["requests_stored"] == len(first) and both.attrs["requests_computed"] == len(both) - len(first)
