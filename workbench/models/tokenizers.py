"""The proof of a tokenizer: it reads text as its `tokenizer.json` says, which is what the model was trained with.

transformers builds several classes of tokenizers (GPT2, GPTNeoX, Qwen2, Gemma, ...) anew from the vocabulary, with the
class's own splitting of text, whatever the file says.
"""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from workbench.errors import InputError

FILE = "tokenizer.json"
MISTRAL = "fix_mistral_regex"
"""The setting by which a user has transformers replace a pattern that some files of Mistral's have wrong."""
PARTS = {"normalizer": "normaliser", "pre_tokenizer": "pre-tokenizer", "model": "model"}
"""The parts of a tokenizer that decide which ids a text comes to, and their names in messages."""
PROBES = (
    "In 1984 there were 10 or 123 of 15000000000, and 3.14 or 1,000 at 02138.",
    " two  spaces,   three, before 45\n\n1\n \n 2\r\n3\t4 \t5    6 ",
    "naïve façade Ångström, nai\u0308ve fac\u0327ade A\u030angstro\u0308m, \u1e9b\u0323 ﬁ ² Ⅳ ①",
    "東京は日本の首都です。 北京是中国的首都。 서울은 수도입니다. กรุงเทพ हिन्दी العربية עברית Ελλάδα",
    "🙂 👩‍👩‍👧 🇫🇷 ❤️ ½ € → ≠",
    "I'm, you'll, they've, he'd, it's, we're, don't; I'M YOU'LL DON'T; l’été",
    "def f(x):\n    return x[0] != y['a'] and not {1: 2}  # TODO\n\t\tif x<=3: print(\"%s\\n\" % x)",
    "camelCase HTTPServer snake_case_name McDonald iPhone USA e.g. www.example.org/a?b=c&d=e a@b.org",
    "Donaudampfschifffahrtsgesellschaftskapitänsmütze " + "ab" * 60 + " " + "=" * 40 + "-" * 17,
    "a\u200bb\u00adc\u00a0d\u3000e\ufefff\u2028g\u0085h\x07i\x00j",
    "▁a ▁▁b Ġc <0x41> ##d @@ </w>",
)
"""Texts that a tokenizer and its file have to read alike: what pre-tokenizers and normalisers differ in."""


def proved(tokenizer: Any, folder: Path) -> str:
    """Make a tokenizer read text as the `tokenizer.json` of its folder says, and show that it does.

    Args:
        tokenizer: As transformers reads it from the folder; parts that differ from the file's are replaced by them.
        folder: Of the tokenizer's files.

    Returns:
        What a reader must know of it; empty where transformers reads it as its file says.

    Raises:
        InputError: If it is a Python tokenizer, its files contradict one another, or there is no telling how it splits.
    """
    _check_fast(tokenizer, str(folder))
    _check_added(tokenizer, folder)
    path = folder / FILE
    if not path.is_file():
        return _unproved(tokenizer, folder)
    own = _read(path)
    _check_vocabulary_files(own, folder)
    ids = {token.content: number for number, token in own.get_added_tokens_decoder().items()}
    _check_ids(tokenizer, ids, path)
    backend, mended, note = tokenizer.backend_tokenizer, [], _begun_as_in(own, tokenizer, folder)
    for part in (*PARTS, "decoder"):
        if part == "pre_tokenizer" and tokenizer.init_kwargs.get(MISTRAL):
            return "; ".join(filter(None, (f"its tokenizer has {MISTRAL}'s pattern, not its {FILE}'s", note)))
        if _state(getattr(backend, part)) != _state(getattr(own, part)):
            setattr(backend, part, getattr(own, part))
            mended += [PARTS[part]] if part in PARTS else []
    if text := _read_otherwise(tokenizer, own):
        raise InputError(
            f"The tokenizer in {folder} reads {text[:40]!r} otherwise than its {FILE} says, for a reason in its other "
            "files (tokenizer_config.json, added_tokens.json); make them agree, or remove those that are stale."
        )
    parts = f"its tokenizer has the {', '.join(mended)} of its {FILE}, not of transformers' {type(tokenizer).__name__}"
    return "; ".join(filter(None, (parts if mended else "", note)))


def check_wrapped(tokenizer: Any) -> None:
    """Refuse a tokenizer in memory that reads text otherwise than the `tokenizer.json` it was loaded from.

    Raises:
        InputError: If it does, or is a Python tokenizer.
    """
    _check_fast(tokenizer, "in memory")
    path = _origin(str(tokenizer.name_or_path or ""))
    if path is None:
        return
    own, backend = _read(path), tokenizer.backend_tokenizer
    other = [name for part, name in PARTS.items() if _state(getattr(backend, part)) != _state(getattr(own, part))]
    if not other and backend.encode("a").ids != own.encode("a").ids:
        other = ["post-processor"]
    if other and not tokenizer.init_kwargs.get(MISTRAL):
        raise InputError(
            f"The tokenizer in memory has another {', '.join(other)} than {path}: transformers'"
            f" {type(tokenizer).__name__} does not take it from the file; load it with "
            f"PreTrainedTokenizerFast.from_pretrained({str(path.parent)!r}), or, if the change is yours, save it with "
            "save_pretrained and load that."
        )


def _check_fast(tokenizer: Any, where: str) -> None:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    if isinstance(tokenizer, Tokenizer):
        raise InputError(
            f"The tokenizer {where} is one of the tokenizers library alone; give "
            "PreTrainedTokenizerFast(tokenizer_object=...) around it, with its bos_token and eos_token."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"The tokenizer {where} is a {type(tokenizer).__name__}, which is no tokenizer of transformers; "
            "wrap_model takes the network first, then what AutoTokenizer.from_pretrained gives."
        )
    if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
        raise InputError(
            f"The tokenizer {where} is a {type(tokenizer).__name__}, which runs in Python and does not say how it "
            f"splits text; give one of the tokenizers library (a {FILE}, or PreTrainedTokenizerFast)."
        )


def _read(path: Path) -> Any:
    """The tokenizer of a file.

    Raises:
        InputError: If the file cannot be read, or asks for ids drawn at random.
    """
    from tokenizers import Tokenizer

    try:
        own = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no class of its own
        raise InputError(f"Cannot read {path} ({error}); copy the file again.") from error
    if getattr(own.model, "dropout", None):
        raise InputError(f"{path} asks for BPE dropout, so a text comes to other ids each time; set it to null there.")
    own.no_truncation()
    own.no_padding()
    return own


def _begun_as_in(own: Any, tokenizer: Any, folder: Path) -> str:
    """Has a tokenizer put before and behind a text what its file says; says what its class would have put.

    Raises:
        InputError: If the file gives a special token another id than its vocabulary, or `tokenizer_config.json` says
            otherwise of the token that begins a text.
    """
    read = own.encode("a")
    put = {token: n for token, n, special in zip(read.tokens, read.ids, read.special_tokens_mask) if special}
    for token, number in put.items():
        if (found := own.token_to_id(token)) != number:
            raise InputError(
                f"The post_processor of {folder / FILE} puts {token!r} beside a text as id {number}, which its "
                f"vocabulary has as {found}; correct the ids there."
            )
    stated, begins = _json(folder / "tokenizer_config.json").get("add_bos_token"), tokenizer.bos_token in put
    if stated is not None and tokenizer.bos_token and bool(stated) != begins:
        raise InputError(
            f"{folder / 'tokenizer_config.json'} says add_bos_token {str(stated).lower()}, but the post_processor of "
            f"{FILE} puts {tokenizer.bos_token!r} before {'every' if begins else 'no'} text; correct the one that is "
            "not as the model was trained."
        )
    before, kind = _beside(tokenizer), type(tokenizer).__name__
    tokenizer.backend_tokenizer.post_processor = own.post_processor
    if (after := _beside(tokenizer)) != list(put):
        raise InputError(
            f"transformers' {kind} puts {' '.join(after) or 'nothing'} beside every text, and {folder / FILE} says "
            f"{' '.join(put) or 'nothing'}; write PreTrainedTokenizerFast as tokenizer_class in tokenizer_config.json."
        )
    said = f"its tokenizer puts {' '.join(put) or 'nothing'} beside a text as its {FILE} says"
    return f"{said}, not {' '.join(before) or 'nothing'} as transformers' {kind}" if before != list(put) else ""


def _beside(tokenizer: Any) -> list[str]:
    """The special tokens that a tokenizer puts before and behind a text."""
    read = tokenizer("a").encodings[0]
    return [token for token, special in zip(read.tokens, read.special_tokens_mask) if special]


def _check_added(tokenizer: Any, folder: Path) -> None:
    """Refuse added tokens whose ids in the files beside are not those they have."""
    beside = _json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    _check_ids(tokenizer, {_content(token): int(n) for n, token in beside.items()}, folder / "tokenizer_config.json")
    _check_ids(tokenizer, _json(folder / "added_tokens.json"), folder / "added_tokens.json")


def _check_ids(tokenizer: Any, stated: dict[str, int], path: Path) -> None:
    known = tokenizer.get_vocab() if stated else {}
    for token, number in stated.items():
        found = known.get(token)
        if found != number:
            raise InputError(
                f"{path} gives the token {token!r} the id {number}, which transformers reads as {found} with the files "
                "beside it; make them agree, or remove the one that is stale."
            )


def _check_vocabulary_files(own: Any, folder: Path) -> None:
    """Refuse files of a vocabulary that is not the one in `tokenizer.json`."""
    model = json.loads(_state(own.model))
    kind, stale = model.get("type"), ""
    if kind in ("BPE", "WordLevel"):
        ids = _json(folder / "vocab.json")
        stale = next((token for token, n in ids.items() if isinstance(n, int) and own.token_to_id(token) != n), "")
    if kind == "WordPiece" and (folder / "vocab.txt").is_file():
        words = (folder / "vocab.txt").read_text("utf-8").splitlines()
        stale = next((token for n, token in enumerate(words) if token and own.token_to_id(token) != n), "")
    if kind == "BPE" and (folder / "merges.txt").is_file():
        lines = (folder / "merges.txt").read_text("utf-8").split("\n")
        beside = [line.strip("\r") for line in lines if line.strip() and not line.startswith("#version")]
        inside = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        stale = stale or next((a or b for a, b in zip_longest(beside, inside) if a != b), "")
    if stale:
        raise InputError(
            f"{folder} holds two tokenizers: its vocabulary files (vocab.json, merges.txt, vocab.txt) have {stale!r} "
            f"otherwise than its {FILE}; remove those that are not this model's."
        )


def _unproved(tokenizer: Any, folder: Path) -> str:
    """The note of a tokenizer without a `tokenizer.json`, which only its class says how to split.

    Raises:
        InputError: If the files do not make a tokenizer.
    """
    names = [path.name for path in sorted(folder.iterdir()) if path.name.startswith(("vocab", "merges", "tekken"))]
    names += [path.name for path in sorted(folder.glob("*.model"))]
    kind = type(tokenizer).__name__
    text = "Hello world, 12 and \n3"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() != text:
        raise InputError(
            f"{folder} has no {FILE}, and its other files ({', '.join(names)}) make no tokenizer that gives text back; "
            f"add the {FILE}."
        )
    return f"its tokenizer is transformers' {kind} over {', '.join(names)}, with no {FILE} to hold it against"


def _read_otherwise(tokenizer: Any, own: Any) -> str:
    """The first probe that comes to other ids than the file's; empty if there is none."""
    own.encode_special_tokens = True
    more = [text for text in tokenizer.added_tokens_encoder if own.token_to_id(text) is None]
    probes = [text for text in PROBES if not any(token in text for token in more)]
    found = tokenizer(probes, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    for text, ids in zip(probes, found):
        if list(ids) != own.encode(text, add_special_tokens=False).ids:
            return text
    return ""


def _state(part: Any) -> bytes:
    """A part of a tokenizer as JSON; empty prefixes and suffixes of tokens are none."""
    if part is None:
        return b""
    state = bytes(part.__getstate__())
    for name in (b"continuing_subword_prefix", b"end_of_word_suffix"):
        state = state.replace(b'"' + name + b'":""', b'"' + name + b'":null')
    return state


def _origin(name: str) -> Path | None:
    """The `tokenizer.json` of the folder or hub id that a tokenizer in memory was loaded from, if it is at hand."""
    if not name:
        return None
    if (path := Path(name) / FILE).is_file():
        return path
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(name, FILE)
    except ValueError:  # no hub id
        return None
    return Path(found) if isinstance(found, str) else None


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file.

    Raises:
        InputError: If the file holds something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path} ({error}); copy the file again.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object; copy the file again.")
    return found
