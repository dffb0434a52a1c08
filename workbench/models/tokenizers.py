"""Proof that a tokenizer splits text as its `tokenizer.json` states, which is what the model was trained with.

transformers builds several classes of tokenizers (GPT2, GPTNeoX, Qwen2, Gemma, ...) anew from the vocabulary, with the
class's own splitting of text instead of the file's.
"""

from __future__ import annotations

import json
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models.weights import loading, read_json
from workbench.reading import read_text

FILE = "tokenizer.json"
MISTRAL = "fix_mistral_regex"
"""Setting with which a user makes transformers replace a pattern that is wrong in some files of Mistral's models."""
PARTS = {"normalizer": "normaliser", "pre_tokenizer": "pre-tokenizer", "model": "model"}
"""The parts of a tokenizer that decide the ids of a text, and their names in messages."""
MOST_TIMES = 10_000
"""How many times as long a tokenizer may make a text."""
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
"""Texts that a tokenizer and its file must encode alike, chosen for differences of pre-tokenizers and normalisers."""


def stated(folder: Path) -> Any:
    """Return the tokenizer of a folder's `tokenizer.json` alone, or None without one.

    Raises:
        InputError: The file cannot be read, or makes a text thousands of times as long.
    """
    return _read(folder / FILE) if (folder / FILE).is_file() else None


def proved(tokenizer: Any, folder: Path, own: Any) -> str:
    """Replace the parts of a tokenizer that differ from its folder's `tokenizer.json`, and check that it encodes alike.

    Args:
        tokenizer: As transformers built it.
        folder: Its folder.
        own: What `stated` returns for it.

    Returns:
        What was replaced, for the record; empty if transformers reads the file as it is.

    Raises:
        InputError: If the tokenizer runs in Python, its files contradict one another, or its splitting is unknown.
    """
    _check_fast(tokenizer, str(folder))
    _check_added(tokenizer, folder)
    path = folder / FILE
    if own is None:
        return _unproved(tokenizer, folder)
    _check_vocabulary_files(own, folder)
    ids = {token.content: number for number, token in own.get_added_tokens_decoder().items()}
    _check_ids(tokenizer, ids, path)
    backend, replaced, note = tokenizer.backend_tokenizer, [], _use_edges(own, tokenizer, folder)
    for part in (*PARTS, "decoder"):
        if part == "pre_tokenizer" and tokenizer.init_kwargs.get(MISTRAL):
            return "; ".join(filter(None, (f"its tokenizer has {MISTRAL}'s pattern, not its {FILE}'s", note)))
        if _state(getattr(backend, part)) != _state(getattr(own, part)):
            setattr(backend, part, getattr(own, part))
            replaced += [PARTS[part]] if part in PARTS else []
    if text := _encoded_otherwise(tokenizer, own):
        raise InputError(
            f"The tokenizer in {folder} encodes {text[:40]!r} otherwise than its {FILE}, because of its other files "
            "(tokenizer_config.json, added_tokens.json); make them agree, or remove those that are stale."
        )
    kind = type(tokenizer).__name__
    parts = f"its tokenizer has the {', '.join(replaced)} of its {FILE}, not of transformers' {kind}"
    return "; ".join(filter(None, (parts if replaced else "", note)))


def check_wrapped(tokenizer: Any) -> None:
    """Refuse a tokenizer in memory that runs in Python or differs from the `tokenizer.json` it was loaded from."""
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

    kind = type(tokenizer).__name__
    if isinstance(tokenizer, Tokenizer):
        raise InputError(
            f"The tokenizer {where} is one of the tokenizers library alone; give "
            "PreTrainedTokenizerFast(tokenizer_object=...) around it, with its bos_token and eos_token."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"The tokenizer {where} is a {kind}, not a tokenizer of transformers; wrap_model takes the network first, "
            "then the tokenizer that AutoTokenizer.from_pretrained returns."
        )
    if not isinstance(getattr(tokenizer, "backend_tokenizer", None), Tokenizer):
        raise InputError(
            f"The tokenizer {where} is a {kind}, which runs in Python and does not state how it splits text; give one "
            f"of the tokenizers library (a {FILE}, or PreTrainedTokenizerFast)."
        )


def _read(path: Path) -> Any:
    """Return the tokenizer of a file."""
    from tokenizers import Tokenizer

    text = read_text(path)
    with loading(str(path), path.name):
        own = Tokenizer.from_str(text)
    if getattr(own.model, "dropout", None):
        raise InputError(f"{path} has BPE dropout, so the ids of a text are random; set it to null there.")
    for part in ("normalizer", "post_processor", "decoder"):
        if (times := _growth(json.loads(_state(getattr(own, part)) or b"{}"))) > MOST_TIMES:
            raise InputError(
                f"The {part} of {path} can make a text {times:,} times as long; take {path.name} from the model's "
                "source."
            )
    own.no_truncation()
    own.no_padding()
    return own


def _growth(part: Any) -> int:
    """Return how many times as long a part of a tokenizer may make a text, or how many tokens it adds."""
    if not isinstance(part, dict):
        return 1
    nested: list[Any] = next((part[name] for name in ("normalizers", "processors", "decoders") if name in part), [])
    own = len(str(part.get("content", ""))) + len(str(part.get("prepend", "")))
    if part.get("type") == "TemplateProcessing":
        ids = {name: len(token["ids"]) for name, token in part["special_tokens"].items()}
        own = sum(ids.get(piece.get("SpecialToken", {}).get("id"), 0) for piece in part["single"])
    return max(1, own) * prod(min(MOST_TIMES + 1, _growth(each)) for each in nested)


def _use_edges(own: Any, tokenizer: Any, folder: Path) -> str:
    """Make a tokenizer add the file's special tokens around a text; return a note if its class adds others."""
    encoding = own.encode("a")
    edges = {token: n for token, n, mask in zip(encoding.tokens, encoding.ids, encoding.special_tokens_mask) if mask}
    for token, number in edges.items():
        if (known := own.token_to_id(token)) != number:
            raise InputError(
                f"The post_processor of {folder / FILE} adds {token!r} to a text as id {number}, which its vocabulary "
                f"has as {known}; correct the ids there."
            )
    stated, begins = _json(folder / "tokenizer_config.json").get("add_bos_token"), tokenizer.bos_token in edges
    if stated is not None and tokenizer.bos_token and bool(stated) != begins:
        raise InputError(
            f"{folder / 'tokenizer_config.json'} sets add_bos_token to {str(stated).lower()}, but the post_processor "
            f"of {FILE} puts {tokenizer.bos_token!r} before {'every' if begins else 'no'} text; correct the one that "
            "differs from the model's training."
        )
    before, kind = _edges(tokenizer), type(tokenizer).__name__
    tokenizer.backend_tokenizer.post_processor = own.post_processor
    expected = " ".join(edges) or "nothing"
    if (after := _edges(tokenizer)) != list(edges):
        raise InputError(
            f"transformers' {kind} adds {' '.join(after) or 'nothing'} to every text, and {folder / FILE} adds "
            f"{expected}; write PreTrainedTokenizerFast as tokenizer_class in tokenizer_config.json."
        )
    note = f"its tokenizer adds {expected} to a text as its {FILE} states"
    return f"{note}, not {' '.join(before) or 'nothing'} as transformers' {kind}" if before != list(edges) else ""


def _edges(tokenizer: Any) -> list[str]:
    """Return the special tokens that a tokenizer adds before and behind a text."""
    encoding = tokenizer("a").encodings[0]
    return [token for token, mask in zip(encoding.tokens, encoding.special_tokens_mask) if mask]


def _check_added(tokenizer: Any, folder: Path) -> None:
    """Refuse added tokens whose ids in other files differ from the tokenizer's."""
    config, added = folder / "tokenizer_config.json", folder / "added_tokens.json"
    listed = (_json(config).get("added_tokens_decoder") or {}).items()
    ids = {str(token["content"] if isinstance(token, dict) else token): int(number) for number, token in listed}
    _check_ids(tokenizer, ids, config)
    _check_ids(tokenizer, _json(added), added)


def _check_ids(tokenizer: Any, stated: dict[str, int], path: Path) -> None:
    known = tokenizer.get_vocab() if stated else {}
    for token, number in stated.items():
        if (actual := known.get(token)) != number:
            raise InputError(
                f"{path} gives the token {token!r} the id {number}, which transformers reads as {actual} with the "
                "files beside it; make them agree, or remove the one that is stale."
            )


def _check_vocabulary_files(own: Any, folder: Path) -> None:
    """Refuse vocabulary files that differ from `tokenizer.json`."""
    model = json.loads(_state(own.model))
    kind, stale = model.get("type"), ""
    if kind in ("BPE", "WordLevel"):
        ids = _json(folder / "vocab.json")
        stale = next((token for token, n in ids.items() if isinstance(n, int) and own.token_to_id(token) != n), "")
    if kind == "WordPiece" and (folder / "vocab.txt").is_file():
        words = read_text(folder / "vocab.txt").split("\n")
        stale = next((token for n, token in enumerate(words) if token and own.token_to_id(token) != n), "")
    if kind == "BPE" and (folder / "merges.txt").is_file():
        lines = read_text(folder / "merges.txt").split("\n")
        beside = [line.strip("\r") for line in lines if line.strip() and not line.startswith("#version")]
        inside = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        stale = stale or next((a or b for a, b in zip_longest(beside, inside) if a != b), "")
    if stale:
        raise InputError(
            f"{folder} contains two tokenizers: its vocabulary files (vocab.json, merges.txt, vocab.txt) have "
            f"{stale!r} otherwise than its {FILE}; remove those that are not this model's."
        )


def _unproved(tokenizer: Any, folder: Path) -> str:
    """Return the note on a tokenizer without a `tokenizer.json`, whose splitting only its class defines."""
    names = [path.name for path in sorted(folder.iterdir()) if path.name.startswith(("vocab", "merges", "tekken"))]
    names += [path.name for path in sorted(folder.glob("*.model"))]
    text = "Hello world, 12 and \n3"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() != text:
        raise InputError(
            f"{folder} has no {FILE}, and its other files ({', '.join(names)}) make no tokenizer that gives text back; "
            f"add the {FILE}."
        )
    kind = type(tokenizer).__name__
    return f"its tokenizer is transformers' {kind} over {', '.join(names)}, with no {FILE} to compare it with"


def _encoded_otherwise(tokenizer: Any, own: Any) -> str:
    """Return the first probe whose ids differ from the file's; empty if there is none."""
    own.encode_special_tokens = True
    more = [text for text in tokenizer.added_tokens_encoder if own.token_to_id(text) is None]
    texts = [text for text in PROBES if not any(token in text for token in more)]
    if token := next((token for token in more if 2 * sum(token in text for text in PROBES) > len(PROBES)), ""):
        raise InputError(
            f"tokenizer_config.json adds the token {token!r}, which splits ordinary text and is not in {FILE}; "
            "remove it there, or take both files from one source."
        )
    encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    expected = (own.encode(text, add_special_tokens=False).ids for text in texts)
    return next((text for text, ids, right in zip(texts, encoded, expected) if list(ids) != right), "")


def _state(part: Any) -> bytes:
    """Return a part of a tokenizer as JSON, with empty prefixes and suffixes of tokens as null."""
    if part is None:
        return b""
    state = bytes(part.__getstate__())
    for name in (b"continuing_subword_prefix", b"end_of_word_suffix"):
        state = state.replace(b'"' + name + b'":""', b'"' + name + b'":null')
    return state


def _origin(name: str) -> Path | None:
    """Return the local `tokenizer.json` of the folder or hub id that a tokenizer was loaded from, if there is one."""
    if not name:
        return None
    if (path := Path(name) / FILE).is_file():
        return path
    from huggingface_hub import try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(name, FILE)
    except ValueError:  # not a hub id
        return None
    return Path(cached) if isinstance(cached, str) else None


def _json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if there is no such file."""
    return read_json(path) if path.exists() else {}
