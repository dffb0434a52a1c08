"""Questions of a registered benchmark or of a user's file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from workbench.datasets.items import Item, Unlisted, Unusable, check, counted, read_items
from workbench.datasets.referring import KEPT
from workbench.datasets.rendering import Rendering, question, refers, rendering
from workbench.datasets.sources import SUFFIXES, Source, adapted, parse
from workbench.errors import InputError
from workbench.files import sha256_of, titles
from workbench.kinds import Style
from workbench.questions import Origin, Question, Questions, ranked


def load_questions(
    source: str | os.PathLike[str],
    n: int | None = None,
    seed: int = 0,
    *,
    abstain: bool | str | Sequence[str] | None = None,
    instruction: bool | str | None = None,
    style: Style = "cloze",
    chat: bool = False,
    shuffle: bool = True,
    shots: int = 0,
    subset: str | None = None,
    revision: str | None = None,
) -> Questions:
    """Load the questions of a benchmark or of a user's file.

    Args:
        source: A name of `names()`, or a .csv, .jsonl or .json file with the columns `question`, `correct`, `wrong`
            and optionally `abstain`, `subject`, `context` and any tags. `hub:<name>` loads the full data set from the
            hub where only a part of it is embedded; names that exist only on the hub need no prefix.
        n: Sample size; None takes all. The first 50 of a seed are among its first 100.
        seed: Of the sample and of the order of each question's options.
        abstain: Phrases added as abstaining options (their probabilities are summed); True for a default phrase.
        instruction: Text before the prompt. True states that errors are penalised and that the first phrase of
            `abstain` is acceptable when unsure; your own text may contain `{phrase}`.
        style: `cloze` scores the text of each option; `letters` lists the options and scores their letters. Added
            abstentions are not listed. Items with an option that refers to other options ("All of the above", "Both A
            and B") are left out of `cloze` and counted.
        chat: Make the prompt a user message; options lose their leading space.
        shuffle: Shuffle the options of each question (several sources list the correct one first). If an option refers
            to others, the order of the source is kept; in sources that give options by role, such as a user's file,
            that option comes last.
        shots: Number of worked examples before each question. They are the last questions of the seed's permutation
            and are left out of the result. A larger number adds examples before the earlier ones.
        subset: One of the parts listed by `names()`.
        revision: A commit of the hub's data set other than the pinned one.

    Returns:
        Questions in the order of the source. `.dropped` counts unusable records, `.noted` questions whose order was
        kept, `.origin` pins the content. Tags: `benchmark`, `subject`, `answerable`, `order` ("2-0-1": the source's
        index of each option shown), `style`, `instruction`, `shots` (if any) and those of the source. Ids depend only
        on the content.

    Raises:
        InputError: Unknown source, subset or style; data not fetched, damaged or unreachable; an invalid row in the
            user's file, or an option that refers to letters the file does not assign; no question left.
    """
    if not isinstance(shots, int) or shots < 0:
        raise InputError(f"shots must be a whole number of worked examples, 0 for none, not {shots!r}.")
    how = rendering(style, chat, abstain, instruction, shuffle, seed)
    dropped: Counter[str] = Counter()
    named = parse(os.fspath(source), "questions")
    if named.source is None and (path := named.path):
        if subset or revision:
            raise InputError(f"subset and revision apply to benchmarks, not to the file {path.name}; leave them out.")
        items, name = read_items(path), path.stem
        origin = Origin(path.name, f"sha256:{sha256_of(path)}", "the user's own")
        _check_renderable(items, how, path.name)
    elif benchmark := named.source:
        shown = f"hub:{benchmark.name}" if str(source).startswith("hub:") else benchmark.name
        items, origin = _read(benchmark, shown, subset or named.part, revision or named.commit, dropped)
        name = benchmark.name
    if shots:
        items, how = _with_examples(items, how, shots, seed, dropped)
    questions, kept = _rendered(items, how, name, dropped)
    if not questions:
        why = "; ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise InputError(f"{origin.name} has no question in style={style!r} ({why}); try another style.")
    return Questions(questions, origin, dropped, {KEPT: kept} if kept else {}).sample(n, seed)


def load_benchmarks(sources: Sequence[str], n: int | None = None, seed: int = 0, **settings: Any) -> list[Questions]:
    """Load several sources, each with its label of `labels` as the tag `benchmark`.

    Two files of one name, or a benchmark and its full version on the hub, stay separate groups.

    Args:
        sources: Names or files, as for `load_questions`.
        n: Sample size per source.
        seed: Of the samples and orders.
        settings: Further arguments of `load_questions`.
    """
    named = labels(sources).items()
    return [load_questions(source, n, seed, **settings).tagged(benchmark=label) for label, source in named]


def labels(sources: Sequence[str]) -> dict[str, str]:
    """Return unique labels for sources: label -> source.

    The label is the stem of a file or the name of a source, extended where two would be equal; see `files.titles`.

    Raises:
        InputError: There are no sources, or one is repeated.
    """
    if not sources or len(set(sources)) < len(sources):
        raise InputError(f"{list(sources)} is empty or repeats a source; give each source once.")
    return dict(zip(titles(sources, SUFFIXES["questions"]), sources))


def _read(source: Source, shown: str, subset: str, commit: str, dropped: Counter[str]) -> tuple[list[Item], Origin]:
    part = source.part(subset)
    records, digest = source.read(part, commit)
    given = adapted(source, lambda record: check(source.adapter(record)), (records, digest), dropped, ("subject",))
    items = [item for item, _ in given]
    if not items:
        raise InputError(f"{shown!r} ({digest}) has no usable record ({counted(dropped)}); use the pinned commit.")
    return items, Origin(f"{shown} ({part})" if part else shown, digest, source.licence)


def _rendered(items: Iterable[Item], how: Rendering, name: str, dropped: Counter[str]) -> tuple[list[Question], int]:
    """Return the questions, and the number of those whose options refer to other options."""
    questions, kept = [], 0
    for item in items:
        try:
            questions.append(question(item, how).tagged(benchmark=name))
        except Unusable as reason:
            dropped[str(reason)] += 1
        else:
            kept += refers(item)
    return questions, kept


def _check_renderable(items: Iterable[Item], how: Rendering, file: str) -> None:
    """Refuse a user's file by its first item that cannot become a question; items that only `letters` can show pass."""
    for item in items:
        try:
            question(item, how)
        except Unlisted:
            continue
        except Unusable as reason:
            raise InputError(
                f"{file}: {item.stem[:60]!r} cannot become a question ({reason}); change or delete it."
            ) from None


def _with_examples(
    items: Sequence[Item], how: Rendering, shots: int, seed: int, dropped: Counter[str]
) -> tuple[list[Item], Rendering]:
    """Return the remaining items, and the rendering with the last usable items of the permutation as examples."""
    examples: list[Item] = []
    for item in reversed(ranked(items, seed, lambda each: each.id)):
        try:
            question(item, how)
        except Unusable:
            continue
        examples.append(item)
        if len(examples) == shots:
            break
    if len(examples) < shots or len(items) == shots:
        raise InputError(f"{shots} worked examples leave none of {len(items)} questions; use fewer shots.")
    taken = {replace(item, apart="").id for item in examples}  # copies in other subjects would give the answer away
    left = [item for item in items if replace(item, apart="").id not in taken]
    dropped["shown as a worked example"] += len(items) - len(left)
    return left, replace(how, examples=tuple(reversed(examples)))
