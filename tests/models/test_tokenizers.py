"""A tokenizer encodes text as its tokenizer.json states, whatever class its configuration names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import workbench as wb
from workbench.errors import InputError
from workbench.extraction.tokens import Encoder
from workbench.models.tokenizers import PROBES

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("cache")]
REBUILT = ["GPT2Tokenizer", "GPTNeoXTokenizer", "CodeGenTokenizer", "Qwen2Tokenizer", "GemmaTokenizer"]
REBUILT += ["GPT2TokenizerFast", "RobertaTokenizer", "BertTokenizer", "CohereTokenizer", "PreTrainedTokenizerFast"]


def digits() -> PreTrainedTokenizerFast:
    """Splits digits one by one, as SmolLM and StarCoder do; composes accents."""
    tokenizer = tiny.byte_tokenizer(bos=True)
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])
    backend.normalizer = normalizers.NFC()
    return tokenizer


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "model"
    tiny.network().save_pretrained(place)
    digits().save_pretrained(place)
    return place


def changed(path: Path, **entries) -> None:
    """Change entries of a JSON file; None removes one."""
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    content = {name: value for name, value in (content | entries).items() if value is not None}
    path.write_text(json.dumps(content), "utf-8")


def loaded(place: Path) -> wb.Model:
    return wb.load_model(place, device="cpu")


def file_ids(place: Path, text: str) -> list[int]:
    return Tokenizer.from_file(str(place / "tokenizer.json")).encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", REBUILT)
def test_ids_are_those_of_the_file_whatever_the_class(name, folder):
    changed(folder / "tokenizer_config.json", tokenizer_class=name)
    model = loaded(folder)
    tokenizer = model.tokenizer
    for text in (*PROBES, "In 1984 there were 10 or 123 45", "\n\n1", "façade", "fac\u0327ade"):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == file_ids(folder, text)
    encoder = Encoder(tokenizer, 512)
    assert encoder.lead == [1]
    chat = (wb.Message("user", "In 1984?"),)
    assert tokenizer.decode(encoder.context(chat)) == "<|im_start|>user\nIn 1984?<|im_end|>\n<|im_start|>assistant\n"
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    changes = name not in ("CohereTokenizer", "PreTrainedTokenizerFast")
    assert ("of its tokenizer.json, not of transformers'" in model.note) == changes, model.note
    assert ("pre-tokenizer" in model.facts()["note"]) == changes


def test_what_a_class_would_put_beside_a_text_is_in_the_note(folder):
    changed(folder / "tokenizer_config.json", tokenizer_class="RobertaTokenizer")
    model = loaded(folder)
    assert model.tokenizer("a").input_ids == Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a").ids
    assert (
        "adds <s> to a text as its tokenizer.json states, not <s> </s> as transformers' RobertaTokenizer" in model.note
    )


def test_the_trap_is_real(folder):
    changed(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    read = AutoTokenizer.from_pretrained(folder)
    assert read(" 10", add_special_tokens=False)["input_ids"] != file_ids(folder, " 10")


def test_a_wrapped_tokenizer_that_is_not_its_file_is_refused(folder):
    changed(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    network = tiny.network()
    with pytest.raises(InputError, match=r"another normaliser, pre-tokenizer than .*PreTrainedTokenizerFast"):
        wb.wrap_model(network, AutoTokenizer.from_pretrained(folder))
    right = PreTrainedTokenizerFast.from_pretrained(folder)
    assert wb.wrap_model(network, right).tokenizer is right
    assert wb.wrap_model(network, loaded(folder).tokenizer)
    assert wb.wrap_model(network, digits())


@pytest.mark.parametrize("kind", ["truncation", "padding", "no special tokens split", "end token behind"])
def test_settings_for_training_do_not_touch_what_is_read(kind, folder):
    text = "The capital of France is Paris. The capital of Germany is Berlin."
    plain = Encoder(loaded(folder).tokenizer, 512).encode_texts([text])
    if kind == "truncation":
        cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
        changed(folder / "tokenizer.json", truncation=cut)
    elif kind == "padding":
        pad = {"strategy": {"Fixed": 90}, "direction": "Left", "pad_id": 2, "pad_type_id": 0, "pad_token": "</s>"}
        changed(folder / "tokenizer.json", padding=pad | {"pad_to_multiple_of": None})
    elif kind == "no special tokens split":
        changed(folder / "tokenizer_config.json", split_special_tokens=True)
    else:
        tokenizer = digits()
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        tokenizer.save_pretrained(folder)
    tokenizer = loaded(folder).tokenizer
    assert Encoder(tokenizer, 512).encode_texts([text]) == plain
    context = Encoder(tokenizer, 512).context((wb.Message("user", text),))
    assert tokenizer.decode(context).endswith(f"{text}<|im_end|>\n<|im_start|>assistant\n")


def stale_vocabulary(folder: Path) -> None:
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (folder / "vocab.json").write_text(json.dumps(vocab))


def stale_merges(folder: Path) -> None:
    merges = json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    lines = [" ".join(merge) for merge in (merges[1], merges[0], *merges[2:])]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (stale_vocabulary, "contains two tokenizers: its vocabulary files .* have '[ab]' otherwise"),
        (stale_merges, "contains two tokenizers"),
        (lambda place: changed(place / "added_tokens.json", **{"<|im_end|>": 7}), r"added_tokens.json gives .* id 7"),
        (lambda place: changed(place / "added_tokens.json", **{"<new>": 900}), "'<new>' the id 900"),
        (
            lambda place: changed(
                place / "tokenizer_config.json", added_tokens_decoder={"900": {"content": "<new>", "special": True}}
            ),
            r"tokenizer_config.json gives the token '<new>' the id 900",
        ),
        (lambda place: (place / "tokenizer.json").write_text("{"), "Cannot (read|load)"),
        (lambda place: (place / "added_tokens.json").write_text("[]"), "Cannot load"),
    ],
)
def test_files_that_contradict_one_another_are_refused(make, named, folder):
    make(folder)
    with pytest.raises(InputError, match=named):
        _ = loaded(folder).tokenizer


def legacy(folder: Path) -> None:
    """Writes vocab.json and merges.txt as they stand in tokenizer.json."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(merge) for merge in model["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges + "\n")


def test_vocabulary_files_that_agree_with_the_file_are_no_fault(folder):
    legacy(folder)
    assert loaded(folder).tokenizer


def test_a_folder_without_the_file_has_a_note_on_its_tokenizers_class(folder):
    legacy(folder)
    (folder / "tokenizer.json").unlink()
    changed(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    model = loaded(folder)
    assert model.tokenizer(" 10", add_special_tokens=False)["input_ids"]
    assert "GPT2Tokenizer over merges.txt, vocab.json, with no tokenizer.json to compare it with" in model.note


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GemmaTokenizer"])
def test_files_that_make_no_tokenizer_are_refused(name, folder):
    """A vocabulary of bytes under a class that has none of their letters gives no text back."""
    legacy(folder)
    (folder / "tokenizer.json").unlink()
    changed(folder / "tokenizer_config.json", tokenizer_class=name)
    with pytest.raises(InputError, match=r"has no tokenizer\.json, and its other files .* make no tokenizer"):
        _ = loaded(folder).tokenizer


def test_a_python_tokenizer_is_refused_in_a_sentence(folder, tmp_path):
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path / "python")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    shutil.copytree(tmp_path / "python", folder, dirs_exist_ok=True)
    with pytest.raises(InputError, match="is a ByT5Tokenizer, which runs in Python"):
        _ = loaded(folder).tokenizer


def test_words_of_the_configuration_that_the_file_does_not_have_are_refused(folder):
    """A word added by tokenizer_config.json alone splits text that the file leaves whole."""
    number = len(Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab())
    word = {"content": "capital", "special": False, "normalized": True}
    changed(folder / "tokenizer_config.json", added_tokens_decoder={str(number): word})
    tokenizer = loaded(folder).tokenizer
    assert number in tokenizer("The capital")["input_ids"], "an id both files agree on is read"


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        ({"lstrip": True}, r"encodes 'camelCase .* otherwise than its tokenizer\.json"),
        ({}, r"tokenizer\.json gives the token '<x>' the id 395, which transformers reads as None"),
    ],
)
def test_added_tokens_that_the_configuration_changes_or_leaves_out_are_refused(stated, named, folder):
    """A class that is built anew takes added tokens from tokenizer_config.json where that lists any."""
    tokenizer = digits()
    tokenizer.add_tokens([AddedToken("iPhone", special=False), AddedToken("<x>", special=False)])
    tokenizer.save_pretrained(folder)
    names = ["iPhone", "<x>"] if stated else ["iPhone"]
    plain = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": False}
    ids = tokenizer.convert_tokens_to_ids(names)
    decoder = {str(number): plain | {"content": name} | stated for number, name in zip(ids, names)}
    changed(folder / "tokenizer_config.json", added_tokens_decoder=decoder, tokenizer_class="GPT2Tokenizer")
    with pytest.raises(InputError, match=named):
        _ = loaded(folder).tokenizer


def test_a_pattern_that_the_user_has_replaced_stays(folder):
    changed(folder / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer", fix_mistral_regex=True)
    model = loaded(folder)
    assert model.tokenizer(" 10", add_special_tokens=False)["input_ids"] != file_ids(folder, " 10")
    assert "fix_mistral_regex" in model.note


def test_a_special_token_of_the_configuration_that_is_ordinary_text_is_refused(folder):
    changed(folder / "tokenizer_config.json", eos_token=" ")
    with pytest.raises(InputError, match="adds the token ' ', which splits ordinary text"):
        _ = loaded(folder).tokenizer


BOMBS = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40,
    },
    "decoder": {
        "type": "Sequence",
        "decoders": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}] * 9,
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}] * 200 + [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1] * 200, "tokens": ["<s>"] * 200}},
    },
}


@pytest.mark.parametrize("part", BOMBS)
def test_a_file_that_makes_texts_thousands_of_times_as_long_is_refused(part, tmp_path):
    tiny.network().save_pretrained(tmp_path)
    tiny.byte_tokenizer().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text()) | {part: BOMBS[part]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"The {part} of .* can make a text [0-9,]+ times as long"):
        wb.load_model(tmp_path).tokenizer  # noqa: B018
