"""A chat template writes every message, gives no date of today, and leaves no thought open."""

from __future__ import annotations

import sys

import pytest
import tiny
from tokenizers import AddedToken

from workbench.errors import InputError
from workbench.extraction import templates
from workbench.extraction.templates import thought_opened
from workbench.extraction.tokens import Encoder
from workbench.questions import Message, Option, Question

pytestmark = pytest.mark.model

ASKED = (
    Message("system", "Be brief."),
    Message("user", "Capital of France?"),
    Message("assistant", "Paris"),
    Message("user", "Of Germany?"),
)


def text_of(template: str, messages=ASKED, tokens: tuple[str, ...] = (), option: str = "Berlin") -> str:
    """What is scored under a template, context and option."""
    tokenizer = tiny.byte_tokenizer(template=template)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in tokens])
    (request,) = Encoder(tokenizer, 4096).encode(Question(messages, (Option(option),), id="capital"))
    return tokenizer.decode(request.context + request.continuation)


DROPPING = {
    "content as parts": "{% for m in messages %}<|im_start|>{% for p in m.content %}{{ p.a }}{% endfor %}{% endfor %}",
    "no system text": "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.content }}{% endfor %}",
    "the last turn only": "<|im_start|>{{ messages[-1].content }}<|im_end|>",
    "no answers": "{% for m in messages if m.role != 'assistant' %}<|im_start|>{{ m.content }}{% endfor %}",
    "the first turns cut": "{% for m in messages[-2:] %}<|im_start|>{{ m.content }}{% endfor %}",
    "turns turned round": "{% for m in messages | reverse %}<|im_start|>{{ m.content }}{% endfor %}",
    "lower case": "{% for m in messages %}<|im_start|>{{ m.content | lower }}{% endfor %}",
    "cut short": "{% for m in messages %}<|im_start|>{{ m.content[:5] }}{% endfor %}",
    "the wrong key": "{% for m in messages %}<|im_start|>{{ m.text }}{% endfor %}",
    "the question mark gone": "{% for m in messages %}<|im_start|>{{ m.content | replace('?', '') }}{% endfor %}",
}


@pytest.mark.parametrize("kind", DROPPING)
def test_a_template_that_drops_or_changes_a_message_is_refused(kind):
    with pytest.raises(InputError, match=r"drops or changes message \d of question 'capital'.*chat=False"):
        text_of(DROPPING[kind])


ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "on one question": "{% if 'Germany' in messages[-1].content %}{{ lipsum(n=99999) }}{% endif %}",
    "doubles": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "fills": "{{ 'a'.ljust(4000000000) }}",
    "repeats, when it is read": "{{ ['a'] * 4000000000 }}",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_without_end_is_stopped(kind, monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is limited on Linux")
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(templates, "SECONDS", 0.3)
    plain = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(InputError, match=r"takes more than 0.3 s or 512 MB for one chat; correct it.*chat=False"):
        text_of(ENDLESS[kind] + plain)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert "Germany" in text_of(plain)


def test_a_template_may_compute_no_power_and_write_two_asterisks():
    plain = "{% for m in messages %}<|im_start|>**{{ dict(**{'x': m.content}).x }}**{% endfor %}"
    assert "**Of Germany?**" in text_of(plain)
    with pytest.raises(InputError, match=r"not valid \(it computes a power with \*\*"):
        text_of("{{ 7 ** 7 ** 9 }}" + plain)


def test_a_short_message_that_occurs_in_the_templates_own_text_is_still_missed():
    template = "<|im_start|>Here is a chat with a user, Hi: {{ messages[-1].content }}"
    with pytest.raises(InputError, match="drops or changes message 1"):
        text_of(template, (Message("system", "user"), Message("user", "Capital?")))


@pytest.mark.parametrize(
    "template",
    [
        tiny.TEMPLATE,
        "{% for m in messages %}<|im_start|>{{ m.content | trim }}\n{% endfor %}",
        "{% for m in messages %}{% if m.role == 'system' %}{% set system = m.content %}{% endif %}{% endfor %}"
        "{% for m in messages if m.role != 'system' %}<|im_start|>"
        "{{ messages[0].content + '\n\n' if loop.last else '' }}{{ m.content }}{% endfor %}",
    ],
    ids=["whole", "trimmed", "the system text before the last turn"],
)
def test_a_template_that_writes_every_message_is_rendered(template):
    text = text_of(template)
    assert all(message.content.strip() in text for message in ASKED) and text.endswith("Berlin")


def test_a_trimmed_prefill_is_refused_and_a_whole_one_ends_the_prompt():
    chat = (Message("user", "Capital?"), Message("assistant", "It is "))
    assert text_of(tiny.TEMPLATE, chat).endswith("assistant\nIt is Berlin")
    with pytest.raises(InputError, match="changes the prefilled answer of question 'capital'"):
        text_of(tiny.TEMPLATE.replace("m['content'] }}", "m['content'] | trim }}"), chat)


OPENED = [
    "<think>",
    "<think>\n",
    "<thinking>\n",
    "<thought>\n",
    "<reasoning>",
    "<reason>",
    "<analysis>\n",
    "<plan>",
    "<seed:think>",
    "<seed:think><seed:cot_budget_reflect>No budget.</seed:cot_budget_reflect>",
    "[THINK]",
    "<|START_THINKING|>",
    "<|begin_of_thought|>\n\n",
    "<|think|>",
    "<|thinking|>",
    "<｜think｜>",
    "◁think▷",
    "«thought»",
    "【thinking】",
    "<inner_monologue>",
    "<scratchpad>",
    "<|inner_prefix|>",
    "```thinking\n",
    "\nThought: ",
    "\n**Reasoning:** ",
    "\nHere are my reasoning steps:\n",
    "Here is my thought process: ",
    "Let me think step by step.\n",
    "<|channel|>analysis<|message|>",
    "<|channel|>commentary<|message|>",
    "<|channel>thought\n",
    "<|im_end|>\n<|im_start|>thought\n",
    "<think></think><think>\n",
    "<answer_plan>",
    '<think type="long">',
]
CLOSED = [
    "",
    "<think>\n\n</think>\n\n",
    "<think></think>",
    "<thought></thought>",
    "[THINK][/THINK]",
    "<seed:think><seed:cot_budget_reflect>No budget.</seed:cot_budget_reflect>\n</seed:think>",
    "<|START_THINKING|><|END_THINKING|><|START_RESPONSE|>",
    "<|begin_of_thought|><|end_of_thought|>",
    "◁think▷◁/think▷",
    "<|channel|>final<|message|>",
    "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>",
    "<|channel>thought\n<channel|>",
    "<|think_start|><|think_end|>",
    "<|no_think|>",
    "/no_think\n",
    "</think>",
    "<answer>",
    "(A plain answer)",
    " Begin with <think>.<|im_end|>\n<|im_start|>assistant\n",
    " Begin with <think>.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    " Begin with <think>.<end_of_turn>\n<start_of_turn>model\n",
    "Answer: ",
    "Think first.\nThe final answer is: ",
]


@pytest.mark.parametrize("mark", OPENED)
@pytest.mark.parametrize("special", [True, False])
def test_a_header_that_opens_a_thought_is_refused(mark, special):
    template = tiny.TEMPLATE + "{% if add_generation_prompt %}{{ " + repr(mark) + " }}{% endif %}"
    with pytest.raises(InputError, match=r"chain of thought .* before question 'capital' is answered"):
        text_of(template, tokens=(mark.strip(),) if special and mark.startswith("<") else ())


@pytest.mark.parametrize("mark", CLOSED)
def test_a_header_that_closes_its_thought_is_scored(mark):
    template = tiny.TEMPLATE + "{% if add_generation_prompt %}{{ " + repr(mark) + " }}{% endif %}"
    assert text_of(template).endswith(mark + "Berlin")


def test_a_thought_that_a_given_reply_would_close_is_open_all_the_same():
    """A model that always thinks writes its thought behind such a header, whatever its template does with replies."""
    always = tiny.TEMPLATE.replace(
        "{{ m['content'] }}",
        "{{ '<think>\n\n</think>\n\n' if m.role == 'assistant' and loop.last else '' }}{{ m.content }}",
    )
    with pytest.raises(InputError, match=r"chain of thought \(<think>\)"):
        text_of(always + "{{ '<think>\n' if add_generation_prompt else '' }}")


def test_a_short_message_does_not_move_the_header_into_the_templates_own_words():
    answers = "<|im_start|>system\nDraft (an inner monologue) in [THINK] marks.\n" + tiny.TEMPLATE.replace(
        "<|im_start|>assistant\n", "[/INST]"
    ).replace("<|im_end|>", "").replace("<|im_start|>{{", "[INST]{{")
    assert text_of(answers, (Message("user", "a"),)).endswith("[/INST]Berlin")


def test_a_line_that_ends_before_every_reply_precedes_options():
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}"
        "{{ '<|im_start|>assistant' if add_generation_prompt else '' }}"
    )
    assert text_of(template).endswith("<|im_start|>assistant\nBerlin")
    spaced = template.replace("\n{{", " {{")
    assert text_of(spaced).endswith("<|im_start|>assistantBerlin")


def test_who_speaks_of_thinking_in_a_message_is_not_taken_for_a_thought():
    chat = (Message("system", "Put thoughts in <think>."), Message("user", "Thought:\n<think>\nWhat is a <reason>?"))
    assert text_of(tiny.TEMPLATE, chat).endswith("assistant\nBerlin")
    answers = "<|im_start|>system\nThink in <think> marks.<|im_end|>\n" + tiny.TEMPLATE
    assert text_of(answers).endswith("assistant\nBerlin")


def test_a_thought_opened_before_a_prefilled_answer_is_refused():
    opening = tiny.TEMPLATE.replace(
        "{{ m['content'] }}", "{{ '<think>' if m.role == 'assistant' else '' }}{{ m['content'] }}"
    )
    with pytest.raises(InputError, match="chain of thought"):
        text_of(opening, (Message("user", "Capital?"), Message("assistant", "It is ")))


HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}{% if not loop.last or m.role != 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
CHANNELS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")


def test_options_are_scored_in_the_final_channel():
    """Under a header without a channel the model writes one next, so an option would stand in its place."""
    text = text_of(HARMONY, tokens=CHANNELS)
    assert text.endswith("<|end|><|start|>assistant<|channel|>final<|message|>Berlin")
    prefilled = text_of(HARMONY, (*ASKED, Message("assistant", "It is ")), tokens=CHANNELS)
    assert prefilled.endswith("<|start|>assistant<|channel|>final<|message|>It is Berlin")


def test_a_channel_that_no_token_opens_is_refused():
    with pytest.raises(InputError, match="writes a channel and not yet an answer"):
        text_of(tiny.TEMPLATE + "{{ '<|start|>assistant' if add_generation_prompt else '' }}")


def test_options_stand_behind_the_control_tokens_that_begin_every_answer():
    """A template may write a recipient into answers it is given, and leave it to the model in its header."""
    template = (
        "{% for m in messages %}<|start|>{{ m.role }}{{ ' to=user' if m.role == 'assistant' else '' }}<|message|>"
        "{{ m.content }}{{ '' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}"
        "{{ '<|start|>assistant' if add_generation_prompt else '' }}"
    )
    tokens = ("<|start|>", "<|message|>", "<|end|>")
    assert text_of(template, tokens=tokens).endswith("<|start|>assistant to=user<|message|>Berlin")


def test_a_reply_is_generated_from_the_templates_own_header():
    tokenizer = tiny.byte_tokenizer(template=HARMONY)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in CHANNELS])
    assert tokenizer.decode(Encoder(tokenizer, 4096).context(ASKED)).endswith("<|start|>assistant")


@pytest.mark.parametrize(
    "date",
    [
        "{{ strftime_now('%d %B %Y') }}",
        "{% set f='%d %B %Y' %}{{ strftime_now(f) }}",
        "{{ strftime_now(format='%d ' ~ '%B %Y') }}",
        "{% set now = strftime_now %}{{ now('%d %B %Y') }}",
        "{% macro day(f) %}{{ strftime_now(f) }}{% endmacro %}{{ day('%d %B %Y') }}",
        '{{- strftime_now("%d %B %Y") -}}',
    ],
)
def test_the_date_is_fixed_however_a_template_asks_for_it(date):
    assert text_of("<|im_start|>" + date + tiny.TEMPLATE).startswith("<|im_start|>01 January 2025<|im_start|>system")


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ({"tool_use": tiny.TEMPLATE, "rag": tiny.TEMPLATE}, r"several templates \(tool_use, rag\), none of them"),
        ([{"name": "rag", "template": tiny.TEMPLATE}], r"several templates \(a list\)"),
        ("{% for m in messages %}", "is not valid"),
        ("{{ m.content", "is not valid"),
        ("{{ raise_exception('no') }}", "refuses question 'capital'"),
        ("{{ 1 / 0 }}", "refuses question 'capital'"),
    ],
)
def test_templates_that_cannot_be_rendered_are_refused_in_a_sentence(template, cause):
    with pytest.raises(InputError, match=cause):
        text_of(template)


def test_of_several_templates_the_default_is_taken():
    assert "user\nOf Germany?" in text_of({"tool_use": "{{ 1 / 0 }}", "default": tiny.TEMPLATE})


def test_a_thought_is_named_by_its_mark():
    assert thought_opened("<|im_start|>assistant\n<Thought>\n") == "<thought>"
