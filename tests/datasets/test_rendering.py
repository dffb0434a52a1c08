import pytest

from workbench.datasets.items import Item, Unusable, check, choices, keyed
from workbench.datasets.rendering import INSTRUCTION, Rendering, question, rendering
from workbench.errors import InputError
from workbench.questions import Message, Option

ITEM = Item("Which planet is red?", choices(["Mars"], ["Venus", "Saturn"]), tags={"subject": "sky"})
TALE = Item("The kettle boiled, so", choices(["she made tea."], ["it froze."]), form="continuation")


def plain(style="cloze", **changes):
    return Rendering(style=style, shuffle=False, **changes)


def texts(made):
    return [(option.text, option.role) for option in made.options]


def test_cloze_scores_the_text_after_one_space():
    made = question(ITEM, plain())
    assert made.prompt == "Question: Which planet is red?\nAnswer:"
    assert texts(made) == [(" Mars", "correct"), (" Venus", "wrong"), (" Saturn", "wrong")]
    assert made.tags == {
        "subject": "sky",
        "answerable": True,
        "order": "0-1-2",
        "style": "cloze",
        "instruction": False,
    }


def test_a_continuation_goes_on_with_the_bare_text():
    made = question(TALE, plain())
    assert made.prompt == "The kettle boiled, so"
    assert texts(made) == [(" she made tea.", "correct"), (" it froze.", "wrong")]


def test_context_comes_before_the_question():
    made = question(Item("Who?", ITEM.options, context="Ann met Bea."), plain())
    assert made.prompt == "Ann met Bea.\nQuestion: Who?\nAnswer:"


def test_letters_list_the_texts_and_score_the_letters():
    made = question(ITEM, plain("letters", abstain=("?",)))
    assert made.prompt == "Question: Which planet is red?\nA. Mars\nB. Venus\nC. Saturn\nAnswer:"
    assert texts(made) == [(" A", "correct"), (" B", "wrong"), (" C", "wrong"), (" ?", "abstain")]


def test_a_source_own_abstention_is_listed_and_an_added_one_is_not():
    own = Item("Who was late?", (Option("Ann", "correct"), Option("Not known", "abstain")))
    made = question(own, plain("letters", abstain=("?",)))
    assert "B. Not known" in made.prompt and "?" not in made.prompt.removeprefix("Question: Who was late?")
    assert [role for _, role in texts(made)] == ["correct", "abstain", "abstain"]


@pytest.mark.parametrize("style", ["cloze", "letters"])
@pytest.mark.parametrize("item", [ITEM, TALE])
def test_chat_prompts_are_messages_and_options_lose_the_space(style, item):
    made = question(item, plain(style, chat=True, abstain=("I pass.",), instruction="Be careful."))
    (message,) = made.prompt
    assert isinstance(message, Message) and message.role == "user"
    assert message.content.startswith("Be careful.\n\n") and item.stem in message.content
    assert not any(text.startswith(" ") for text, _ in texts(made))
    assert ("Reply with the letter alone." in message.content) == (style == "letters")


def test_the_instruction_comes_first_after_which_a_blank_line_and_the_usual_prompt():
    how = rendering("cloze", False, "I don't know.", True, False, 0)
    made = question(ITEM, how)
    assert made.prompt == INSTRUCTION.replace("{phrase}", "I don't know.") + "\n\n" + question(ITEM, plain()).prompt
    assert made.tags["instruction"] is True
    assert texts(made)[-1] == (" I don't know.", "abstain")


def test_a_set_of_phrases_adds_an_option_each_and_spaces_are_made_even():
    how = rendering("cloze", False, [" I don't know.", "No idea."], "Own words: {phrase}", False, 0)
    made = question(ITEM, how)
    assert texts(made)[-2:] == [(" I don't know.", "abstain"), (" No idea.", "abstain")]
    assert made.prompt.startswith("Own words: I don't know.\n\n")


@pytest.mark.parametrize(("style", "phrase"), [("cloze", " I don't know."), ("letters", " ?")])
def test_default_phrase_of_each_style(style, phrase):
    assert question(ITEM, rendering(style, False, True, None, False, 0)).options[-1].text == phrase


def test_an_item_own_phrases_and_the_added_ones_are_scored_once():
    item = Item("Who?", ITEM.options, abstain=("I don't know.", "Pass."))
    made = question(item, plain(abstain=("I don't know.",)))
    assert [text for text, role in texts(made) if role == "abstain"] == [" I don't know.", " Pass."]


def test_ids_do_not_depend_on_order_style_or_abstention():
    ways = [
        Rendering(seed=seed, style=style, chat=chat, abstain=abstain, instruction=text)
        for seed, style, chat, abstain, text in [
            (0, "cloze", False, (), ""),
            (1, "cloze", True, ("Pass.",), "Mind."),
            (2, "letters", False, ("?",), ""),
        ]
    ]
    backwards = Item(ITEM.stem, ITEM.options[::-1])
    assert len({question(item, way).id for item in (ITEM, backwards) for way in ways}) == 1
    assert question(Item(ITEM.stem, ITEM.options, context="Else."), ways[0]).id != question(ITEM, ways[0]).id


def test_shuffling_is_seeded_per_item_and_recorded():
    item = Item("Count", keyed([str(i) for i in range(8)], 0))
    made = question(item, Rendering(seed=3))
    order = [int(i) for i in made.tags["order"].split("-")]
    assert [option.text for option in made.options] == [f" {item.options[i].text}" for i in order]
    assert made == question(item, Rendering(seed=3))
    assert made.tags["order"] != question(item, Rendering(seed=4)).tags["order"]
    firsts = {question(Item(f"Q{i}", item.options), Rendering()).tags["order"][0] for i in range(100)}
    assert firsts == set("01234567")


def test_more_options_than_letters_are_unusable_in_letters_alone():
    many = Item("Pick", keyed([str(i) for i in range(27)], 0))
    assert len(question(many, plain()).options) == 27
    with pytest.raises(Unusable, match="more options than letters"):
        question(many, plain("letters"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("close", False, None, None, True, 0), "Unknown style 'close'. Did you mean 'cloze'?"),
        (("cloze", False, "  ", None, True, 0), "empty or repeated phrase"),
        (("cloze", False, ["a", "a "], None, True, 0), "empty or repeated phrase"),
        (("cloze", False, None, True, True, 0), "contains {phrase}"),
    ],
)
def test_mistakes_are_named(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        rendering(*arguments)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (Item(" ", ITEM.options), "no question"),
        (Item("Q", choices(["a"], [" "])), "an empty option"),
        (Item("Q", choices(["a"], ["a"])), "the same option twice"),
        (Item("Q", choices(["a"], [])), "fewer than two options"),
        (Item("Q", choices([], ["a", "b"])), "no correct option"),
    ],
)
def test_unusable_items(item, reason):
    with pytest.raises(Unusable, match=reason):
        check(item)


def test_options_that_differ_in_case_are_different():
    assert check(Item("Which genotype?", choices(["Aa"], ["AA", "aa"])))


def test_an_answer_that_is_the_abstention_itself_makes_no_question():
    item = Item("Who won?", options=(Option("I don't know", "correct"), Option("Nobody", "wrong")))
    with pytest.raises(Unusable, match="abstention"):
        question(item, rendering("cloze", False, "I don't know.", None, True, 0))


def test_worked_examples_stand_before_the_question_with_their_answer():
    other = Item("Which one has rings?", choices(["Saturn"], ["Mars"]))
    cloze = question(ITEM, plain(examples=(other,), instruction="Be careful."))
    assert cloze.prompt == (
        "Be careful.\n\nQuestion: Which one has rings?\nAnswer: Saturn\n\nQuestion: Which planet is red?\nAnswer:"
    )
    assert cloze.tags["shots"] == 1 and texts(cloze) == texts(question(ITEM, plain()))
    turned = Item("Which one has rings?", choices(["Saturn"], ["Mars"])[::-1])
    assert "A. Mars\nB. Saturn\nAnswer: B\n\n" in question(ITEM, plain("letters", examples=(turned,))).prompt
    tale = question(TALE, plain(examples=(Item("It rained, so", TALE.options, form="continuation"),)))
    assert tale.prompt == "It rained, so she made tea.\n\nThe kettle boiled, so"


def test_worked_examples_in_a_chat_are_turns():
    other = Item("Which one has rings?", choices(["Saturn"], ["Mars"]))
    made = question(ITEM, plain(chat=True, examples=(other,), instruction="Be careful."))
    assert [message.role for message in made.prompt] == ["user", "assistant", "user"]
    assert [message.content for message in made.prompt] == [
        "Be careful.\n\nWhich one has rings?",
        "Saturn",
        "Which planet is red?",
    ]
