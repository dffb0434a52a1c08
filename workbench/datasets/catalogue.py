"""`load_questions`: questions of a benchmark of the registry, or of a user's file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from workbench.datasets.items import Item, Unlisted, Unusable, check, counted
from workbench.datasets.referring import KEPT
from workbench.datasets.rendering import Rendering, Style, question, refers, rendering
from workbench.datasets.sources import SUFFIXES, Source, adapted, parse
from workbench.datasets.user_files import read_items
from workbench.errors import InputError
from workbench.files import sha256_of, titles
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
    """Questions of a benchmark or of a user's file.

    Args:
        source: A name of `names()` or the path of a .csv, .jsonl or .json with the columns `question`, `correct` and
            `wrong`, and if wanted `abstain`, `subject`, `context` and any tags. `hub:<name>` takes the full data set
            from the hub where a part of it is embedded; a name that only the hub has needs no `hub:`.
        n: How many; None, or more than there are, takes all. The first 50 of a seed are among its first 100.
        seed: Chooses the sample and the order of each question's options.
        abstain: One or more phrases added as options that abstain (their probabilities add up); True for a default.
        instruction: Said before the prompt. True: that mistakes cost and that the first phrase of `abstain` is
            welcome when unsure; a text of your own may hold `{phrase}`.
        style: `cloze` scores each option's text; `letters` lists the options and scores their letters. Added
            abstentions are not listed. Items with an option that speaks of others ("All of the above", "Both A and
            B") are left out of `cloze` and counted.
        chat: Prompts become a user's message, options lose their leading space.
        shuffle: Puts each question's options in an order of its own (several sources list the right one first). Where
            an option speaks of others the source's order is kept; in a source that gives options by role, your file
            among them, such options come last.
        shots: How many worked examples stand before each question: the last questions of the seed's permutation, which
            are then not asked themselves. With more shots the former examples stay, nearest to the question.
        subset: A part of the benchmark, where `names()` lists some.
        revision: Another commit of a data set on the hub than the pinned one.

    Returns:
        The questions, in the order of the source; `.dropped` counts records no question could be made of, `.noted`
        questions whose order was kept, `.origin` pins the content. Tags: `benchmark`, `subject`, `answerable`, `order`
        ("2-0-1": the source's index of each option shown), `style`, `instruction`, `shots` (where there are any), and
        those of the source. Ids depend on the content alone.

    Raises:
        InputError: Unknown source, subset or style; data that is not fetched, damaged or out of reach; a row of the
            user's file that is wrong, or names options by letters that the file does not give; no question is left.
    """
    if not isinstance(shots, int) or shots < 0:
        raise InputError(f"shots={shots!r} is no number of worked examples; give a whole number, 0 for none.")
    how = rendering(style, chat, abstain, instruction, shuffle, seed)
    dropped: Counter[str] = Counter()
    named = parse(os.fspath(source), "questions")
    if named.source is None and (path := named.path):
        if subset or revision:
            raise InputError(f"subset and revision go with benchmarks, not with the file {path.name}.")
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
        raise InputError(f"No question of {origin.name} is left in style={style!r} ({why}); try another style.")
    return Questions(questions, origin, dropped, {KEPT: kept} if kept else {}).sample(n, seed)


def labels(sources: Sequence[str]) -> dict[str, str]:
    """A label for each of several sources, to tell their questions apart in one table: label -> source.

    A file is called by its stem, others by their name, unless two would be called the same; see `files.titles`.

    Raises:
        InputError: There is no source, or one stands twice.
    """
    if not sources or len(set(sources)) < len(sources):
        raise InputError(f"{list(sources)} is empty or names a source twice; name each once.")
    return dict(zip(titles(sources, SUFFIXES["questions"]), sources))


def _read(source: Source, shown: str, subset: str, commit: str, dropped: Counter[str]) -> tuple[list[Item], Origin]:
    part = source.part(subset)
    records, digest = source.read(part, commit)
    given = adapted(source, lambda record: check(source.adapter(record)), (records, digest), dropped, ("subject",))
    items = [item for item, _ in given]
    if not items:
        raise InputError(
            f"No record of {shown!r} ({digest}) can be asked ({counted(dropped)}); take the pinned commit."
        )
    return items, Origin(f"{shown} ({part})" if part else shown, digest, source.licence)


def _rendered(items: Iterable[Item], how: Rendering, name: str, dropped: Counter[str]) -> tuple[list[Question], int]:
    """The questions of items, and how many of them have options that speak of others."""
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
    """Name the first item of a user's file that makes no question; what cloze cannot ask is left out and counted."""
    for item in items:
        try:
            question(item, how)
        except Unlisted:
            continue
        except Unusable as reason:
            raise InputError(f"{file}: {item.stem[:60]!r} cannot be asked: {reason}; change it or delete it.") from None


def _with_examples(
    items: Sequence[Item], how: Rendering, shots: int, seed: int, dropped: Counter[str]
) -> tuple[list[Item], Rendering]:
    """The items that are asked, and the rendering with the last `shots` usable items of the permutation as examples."""
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
        raise InputError(f"{shots} worked examples leave nothing to ask of {len(items)} questions; take fewer shots.")
    taken = {replace(item, apart="").id for item in examples}  # what stands again in another subject would be answered
    left = [item for item in items if replace(item, apart="").id not in taken]
    dropped["shown as a worked example"] += len(items) - len(left)
    return left, replace(how, examples=tuple(reversed(examples)))
