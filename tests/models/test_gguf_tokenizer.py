"""The tokenizers of GGUF files: the split that the file names, or a refusal; ids as other implementations give them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import gguf
import gguf_files
import pytest
import regex
import tiny
from gguf_files import refused

import workbench as wb
from workbench.models import packaged
from workbench.models.gguf import Gguf
from workbench.models.gguf_tokenizer import PRE, tokenizer_of
from workbench.packages import require

pytestmark = pytest.mark.model

IDS = {
    "In 1984 there were 10 or 123": "788 216 33 41 40 36 665 592 216 33 32 355 216 33 34 35",
    "\n\n1": "1116 33",
    "Year:\n\n  2024.\n": "19840 42 39892 34 32 34 36 30 198",
    "1\n\n2\n \n3": "33 1116 34 198 3717 35",
    "x = 3.14159;  y  =   -7": "104 446 216 35 30 33 36 33 37 41 43 216 329 216 446 256 731 39",
    "naïve façade, Ωmega, e\u0301": "3546 46494 40852 28 5664 119 93 9005 28 297 151 219",
    "你好，世界！ 第12章": "18645 250 48392 138 12831 7906 240 178 239 230 8083 219 27709 122 122 33 34 47287 250",
    "🙂🙂 I'm 5, you'RE 6": "10813 38887 10813 38887 339 5248 216 37 28 346 23 3256 216 38",
    "\t\tif a1b22:\r\n\t\treturn ½ + ²": "197 197 342 253 33 82 34 34 42 15290 197 5406 216 16738 1232 216 19133",
    "<|im_start|>user\nAdd 2 and 2.<|im_end|>\n": "1 4093 198 7684 216 34 284 216 34 30 2 198",
}
TEXTS = {text: [int(number) for number in ids.split()] for text, ids in IDS.items()}
"""Texts and their ids under SmolLM2's vocabulary, worked out by `bytes_merged` below."""

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def letters() -> list[str]:
    """What GPT-2 writes for each byte: printable ones as they are, the others from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte if byte in plain else 256 + others.index(byte)) for byte in range(256)]


def bytes_merged(text: str, tokens: list[str], merges: list[str], control: list[str]) -> list[int]:
    """Ids of a text by the textbook: control tokens, single digits, GPT-2's words, then the earliest merge first."""
    ids, rank, spelled = (
        {token: n for n, token in enumerate(tokens)},
        {pair: n for n, pair in enumerate(merges)},
        letters(),
    )
    result = []
    for piece in regex.split("(" + "|".join(map(regex.escape, control)) + ")", text):
        if piece in control:
            result.append(ids[piece])
            continue
        for run in regex.findall(r"\p{N}|\P{N}+", piece):
            for word in regex.findall(GPT2, run):
                parts = [spelled[byte] for byte in word.encode()]
                while ranked := [pair for pair in pairwise(parts) if " ".join(pair) in rank]:
                    first = min(ranked, key=lambda pair: rank[" ".join(pair)])
                    at = next(n for n in range(len(parts)) if tuple(parts[n : n + 2]) == first)
                    parts[at : at + 2] = ["".join(first)]
                result += [ids[part] for part in parts]
    return result


def test_the_embedded_models_ids_are_those_of_the_split_its_file_names():
    tokenizer = wb.load_model(packaged.EMBEDDED, device="cpu").tokenizer
    assert {text: tokenizer(text)["input_ids"] for text in TEXTS} == TEXTS
    fields = gguf.GGUFReader(
        next(require(packaged.MODELS[packaged.EMBEDDED].package, "This test").rglob("*.gguf"))
    ).fields
    tokens, merges, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "token_type"))
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    assert {text: bytes_merged(text, tokens, merges, control) for text in TEXTS} == TEXTS


def built(pre: str | None = "gpt-2", **changes: object):
    """The tokenizer of a byte-level vocabulary with these `tokenizer.ggml.` keys, without its file."""
    words = gguf_files.vocabulary(pre=pre) | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    values = {key: value for key, value in words.items() if value is not None}
    return tokenizer_of(Gguf(Path("model.gguf"), values | {"general.architecture": "llama"}, {}))


SENTENCE = "I'LL see 12345 dogs.\n\n7  up"
SPLITS = {
    "gpt-2": ["I", "'", "LL", " see", " 12345", " dogs", ".", "\n", "\n", "7", " ", " up"],
    "smollm": ["I", "'", "LL", " see", " ", *"12345", " dogs", ".", "\n\n", "7", " ", " up"],
    "llama-bpe": ["I", "'LL", " see", " ", "123", "45", " dogs", ".\n\n", "7", " ", " up"],
    "qwen2": ["I", "'LL", " see", " ", *"12345", " dogs", ".\n\n", "7", " ", " up"],
    "tekken": ["I", "'LL", " see", " ", *"12345", " dogs", ".\n\n", "7", " ", " up"],
    "gpt-4o": ["I'LL", " see", " ", "123", "45", " dogs", ".\n\n", "7", " ", " up"],
    "deepseek-coder": ["I", "'", "LL", " see", " ", *"12345", " dogs", ".", "\n", "\n", "7", " ", " up"],
    "deepseek-v3": ["I", "'LL", " see", " ", "123", "45", " dogs", ".\n\n", "7", " ", " up"],
    "falcon": ["I", "'", "LL", " see", " ", "123", "45", " dogs", ".", "\n", "\n", "7", " ", " up"],
}
SAME = {"phi-2": "gpt-2", "mpt": "gpt-2", "olmo": "gpt-2", "starcoder": "smollm", "refact": "smollm"}
SAME |= {"codeshell": "smollm", "command-r": "smollm", "llama3": "llama-bpe", "llama-v3": "llama-bpe"}
SAME |= {"falcon3": "llama-bpe", "dbrx": "llama-bpe", "smaug-bpe": "llama-bpe", "deepseek-r1-qwen": "qwen2"}
SAME |= {"stablelm2": "qwen2"}


@pytest.mark.parametrize("pre", PRE)
def test_each_split_that_is_known_cuts_as_its_models_do(pre):
    cut = built(pre).backend_tokenizer.pre_tokenizer.pre_tokenize_str(SENTENCE)
    bytes_of = {letter: byte for byte, letter in enumerate(letters())}
    assert [bytes(bytes_of[letter] for letter in piece).decode() for piece, _ in cut] == SPLITS[SAME.get(pre, pre)]


@pytest.mark.parametrize("pre", [None, "default", "a-split-of-next-year"])
def test_an_unknown_split_is_refused_by_name(pre, tmp_path, cache):
    path = gguf_files.write(tmp_path / "model.gguf", words={"tokenizer.ggml.pre": pre})
    refused(path, "tokenizer.ggml.pre", pre or "''")


def test_text_is_composed_where_the_models_own_tokenizer_composes_it():
    for pre, composed in (("qwen2", True), ("command-r", True), ("gpt-2", False), ("llama-bpe", False)):
        tokenizer = built(pre)
        one, two = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("fa\u00e7ade", "fac\u0327ade"))
        assert (one == two) == composed


def test_a_piece_that_is_a_token_is_not_merged_where_the_model_does_not():
    tokens = [*gguf_files.vocabulary()["tokenizer.ggml.tokens"], "zqzq"]
    more = {"tokens": tokens, "token_type": [1] * len(tokens)}
    ids = {pre: built(pre, **more)("zqzq", add_special_tokens=False)["input_ids"] for pre in ("llama-bpe", "dbrx")}
    assert ids["llama-bpe"] == [len(tokens) - 1] and len(ids["dbrx"]) > 1


def test_a_text_begins_and_ends_as_the_file_says_or_as_its_split_does():
    def edges(pre, **more):
        ids = built(pre, **more)("agree")["input_ids"]
        return ids[0] == 1, ids[-1] == 2

    assert edges("llama-bpe", add_bos_token=None) == (True, False) == edges("tekken", add_bos_token=None)
    assert edges("gpt-2", add_bos_token=None) == (False, False) == edges("llama-bpe", add_bos_token=False)
    assert edges("gpt-2", add_bos_token=True, add_eos_token=True) == (True, True)
    assert built("gpt-2", add_bos_token=True, add_eos_token=True)("a", "b")["input_ids"].count(1) == 2


def test_control_tokens_are_special_and_user_defined_tokens_are_whole():
    kinds = list(gguf_files.vocabulary()["tokenizer.ggml.token_type"])
    tokens = gguf_files.vocabulary()["tokenizer.ggml.tokens"]
    kinds[tokens.index("<|im_end|>")] = 4
    tokenizer = built("gpt-2", token_type=kinds)
    ids = tokenizer("<|im_start|>a<|im_end|>")["input_ids"]
    assert ids[0] == tokens.index("<|im_start|>") and ids[-1] == tokens.index("<|im_end|>") and len(ids) == 3
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<|im_end|>"


def test_what_is_saved_gives_the_ids_and_the_template_that_were_built(tmp_path, cache):
    path = gguf_files.write(tmp_path / "model.gguf", words={"tokenizer.ggml.pre": "smollm"})
    loaded, fresh = wb.load_model(path, device="cpu").tokenizer, built("smollm")
    assert [loaded(text)["input_ids"] for text in TEXTS] == [fresh(text)["input_ids"] for text in TEXTS]
    assert loaded.chat_template == tiny.TEMPLATE
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<s>", "</s>", "</s>")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("model", "bert", "'bert'"),
        ("tokens", ["<unk>", "a", "a"], "token_type"),
        ("token_type", None, "token_type"),
        ("eos_token_id", 9999, "eos 9999"),
        ("merges", ["a qqqq"], "merges"),
        ("add_space_prefix", True, "add_space_prefix"),
        ("remove_extra_whitespaces", True, "remove_extra_whitespaces"),
        ("add_sep_token", True, "add_sep_token"),
        ("precompiled_charsmap", [1, 2], "precompiled_charsmap"),
        ("bos_token_id", None, "bos"),
    ],
)
def test_a_vocabulary_that_cannot_be_read_right_is_refused(key, value, word, tmp_path, cache):
    more = {"tokenizer.ggml.add_bos_token": True} if key == "bos_token_id" else {}
    path = gguf_files.write(tmp_path / "model.gguf", words=more | {f"tokenizer.ggml.{key}": value})
    refused(path, word)


def test_a_duplicate_token_or_one_without_an_embedding_is_refused(tmp_path, cache):
    tokens = gguf_files.vocabulary()["tokenizer.ggml.tokens"]
    many = [*tokens, *(f"[{n}]" for n in range(400))]
    for name, listed, reason in (("a", [*tokens, tokens[9]], f"token {tokens[9]!r} twice"), ("b", many, "for 704")):
        words = {"tokenizer.ggml.tokens": listed, "tokenizer.ggml.token_type": [1] * len(listed)}
        refused(gguf_files.write(tmp_path / f"{name}.gguf", words=words), reason)


def pieces_merged(text: str, words: dict, prefix: bool) -> list[int]:
    """Ids of a text by llama.cpp's rule: the neighbours that make the token of the highest score first; else bytes."""
    tokens, scores = words["tokenizer.ggml.tokens"], words["tokenizer.ggml.scores"]
    ids, result = {token: n for n, token in enumerate(tokens)}, []
    for piece in regex.split(r"(<s>|</s>|<\|im_start\|>|<\|im_end\|>)", text):
        if piece in ("<s>", "</s>", "<|im_start|>", "<|im_end|>"):
            result.append(ids[piece])
            continue
        parts = list(("▁" * (prefix and bool(piece)) + piece).replace(" ", "▁"))
        while known := [n for n in range(len(parts) - 1) if "".join(parts[n : n + 2]) in ids]:
            best = max(known, key=lambda n: (scores[ids["".join(parts[n : n + 2])]], -n))
            parts[best : best + 2] = ["".join(parts[best : best + 2])]
        for part in parts:
            result += [ids[part]] if part in ids else [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
    return result


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces_are_merged_by_their_scores_with_unknown_characters_as_bytes(prefix, tmp_path, cache):
    words = gguf_files.pieces() | {"tokenizer.ggml.add_space_prefix": prefix}
    tokenizer = wb.load_model(gguf_files.write(tmp_path / "model.gguf", words=words), device="cpu").tokenizer
    texts = [*TEXTS, *tiny.CORPUS[:4], " agree", "  agree", "a <s> b</s>\n", "Strongly  disagree <|im_end|> user"]
    ids = {text: tokenizer(text)["input_ids"] for text in texts}
    assert ids == {text: [1, *pieces_merged(text, words, prefix)] for text in texts}
    assert tokenizer.decode(ids["  agree"][1:]) == "  agree"


def test_phi_3s_control_tokens_eat_the_white_space_behind_them(tmp_path, cache):
    path = gguf_files.write(tmp_path / "model.gguf", gguf_files.made("Phi3"), words=gguf_files.pieces())
    tokenizer = wb.load_model(path, device="cpu").tokenizer
    assert tokenizer("<|im_end|>\n user")["input_ids"] == tokenizer("<|im_end|>user")["input_ids"]
    assert tokenizer("<s>\n user")["input_ids"] != tokenizer("<s>user")["input_ids"]
