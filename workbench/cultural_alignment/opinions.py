"""Opinion sets with people's answers: GlobalOpinionQA, SubPOP, OpinionQA, emotions."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.cultural_alignment.instruments import error_prefix
from workbench.cultural_alignment.populations import check_shares, country_name, load_microdata
from workbench.cultural_alignment.surveys import Instrument, SurveyItem
from workbench.datasets.formats import number, python_value
from workbench.datasets.items import Record
from workbench.datasets.rows import Row, check_names, columns_of, read_rows
from workbench.datasets.sources import find, fitting, parse
from workbench.errors import InputError, unknown
from workbench.files import user_path
from workbench.reading import printable

WEST = (
    *("U.S.A.", "Canada", "Great Britain", "Germany", "France", "Netherlands", "Belgium"),
    *("Switzerland", "Austria", "Ireland", "Denmark", "Sweden", "Norway", "Finland", "Iceland", "Italy", "Spain"),
    *("Portugal", "Greece", "Luxembourg", "Andorra", "Northern Ireland"),
)
"""North America and Western Europe, in this project's division."""
FILES = ("info.csv", "responses.csv", "metadata.csv")
"""Files of OpinionQA for each wave."""
NO_OPINION = re.compile(
    r"\b(?:do(?:n.?| no)t know|no answer|refused?|not (?:asked|applicable)|missing|prefer not|inap)\b"
    r"|\((?:vol|do not read|spontaneous)|-\d+:-\d+|^(?:dk|n/a|never heard of|can.?t (?:rate|say|choose))\b",
    re.IGNORECASE,
)
"""Options that are not opinions: not known, no answer, not applicable, volunteered, or a code of missing."""
OTHER_SAMPLE = re.compile(r"\((?:old|non)[^()]*sample\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Opinions:
    """An instrument with people's answers to it."""

    instrument: Instrument
    shares: pd.DataFrame
    """Columns item, group, level, share."""

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> items, or items times groups, left out."""
        return self.instrument.dropped


def load_opinions(source: str, n: int | None = None, seed: int = 0) -> Opinions:
    """Return opinions by one text: global_opinions[@COMMIT], subpop:ATTRIBUTE, or FOLDER:ATTRIBUTE (OpinionQA)."""
    named = parse(source, "opinions")
    if named.source is None:
        return load_opinion_qa(named.path or source, named.part, n, seed)
    if named.source.name == "subpop":
        if not named.part:
            raise InputError("subpop needs an attribute that divides people: subpop:POLPARTY.")
        return load_subpop(named.part, n, seed)
    if named.source.name == "emotions":
        return load_emotions(n, seed)
    return load_global_opinions(n, seed=seed, revision=named.commit or None)


def load_global_opinions(
    n: int | None = None,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    revision: str | None = None,
    records: Iterable[Record] | None = None,
) -> Opinions:
    """Return GlobalOpinionQA (2306.16388, CC BY-NC-SA 4.0): survey questions with answer shares of many countries.

    Options that are not opinions (`NO_OPINION`) are left out and the other shares divided by their sum; questions whose
    number of options differs from that of the shares are dropped. All items are unordered, as the source does not state
    which are ordered. A country has one name, that of `country_scores` ("Britain" and "Great Britain" are one group);
    of several samples of a country in one question the current national sample is used, else the first, and the others
    are counted. `groups` are countries in any spelling of the data set, `revision` is a commit on the hub.
    """
    records = records if records is not None else find("global_opinions", "opinions").read(commit=revision)[0]
    dropped: Counter[str] = Counter()
    items: list[SurveyItem] = []
    rows: list[dict[str, object]] = []
    for place, record in enumerate(records):
        with fitting(record, "'global_opinions'"):
            options, answers = _parsed(record)
            text = (record.get("question") or "").strip()
        keep = [i for i, text in enumerate(options) if not NO_OPINION.search(text)]
        if len(keep) < 2 or len(set(options)) < len(options) or not text:
            dropped["fewer than two opinions, or one twice"] += 1
            continue
        scale = tuple(options[i] for i in keep)
        items.append(SurveyItem(f"q{place}", text, scale=scale, ordinal=False))
        rows += _country_rows(items[-1].id, options, keep, answers, groups, dropped)
    return _drawn("global_opinions", "CC-BY-NC-SA-4.0", items, rows, n, seed, dropped)


def _parsed(record: Record) -> tuple[list[str], dict[str, list[float]]]:
    """Return options and shares by country, which the data set writes as Python texts."""
    options, selections = record["options"], record["selections"]
    if isinstance(options, str):
        options = python_value(options)
    if isinstance(selections, str):
        selections = python_value(selections[selections.index("{") : selections.rindex("}") + 1])
    shares = {str(country): _numbers(values) for country, values in selections.items()}
    return [str(option).strip() for option in _sequence(options)], shares


def _sequence(value: Any) -> list[Any]:
    """A list of a record; a text, a set or a mapping is none, though Python iterates over them."""
    if isinstance(value, str | bytes | Mapping | Set):
        raise TypeError("no list")
    return list(value)


def _numbers(value: Any) -> list[float]:
    """A list of numbers of a record."""
    numbers = [parsed for each in _sequence(value) if (parsed := number(each)) is not None]
    if len(numbers) < len(value):
        raise TypeError("not all are numbers")
    return numbers


def _country_rows(
    item: str,
    options: list[str],
    keep: list[int],
    answers: dict[str, list[float]],
    groups: Sequence[str] | None,
    dropped: Counter[str],
) -> list[dict[str, object]]:
    """Return the shares of one item, one sample per country."""
    rows: list[dict[str, object]] = []
    seen = set()
    wanted = None if groups is None else set(map(country_name, groups))
    for name, values in sorted(answers.items(), key=lambda each: bool(OTHER_SAMPLE.search(each[0]))):
        group = country_name(re.sub(r"(?<!\s)\s*\([^()]*sample\)\s*$", "", name, flags=re.IGNORECASE))
        if wanted is not None and group not in wanted:
            continue
        if len(values) != len(options) or sum(values[i] for i in keep) <= 0:
            dropped["shares do not fit the options"] += 1
        elif group in seen:
            dropped["a second sample of one country"] += 1
        else:
            seen.add(group)
            rows += [{"item": item, "group": group, "level": k, "share": values[i]} for k, i in enumerate(keep)]
    return rows


def load_subpop(
    attribute: str = "POLPARTY", n: int | None = None, seed: int = 0, records: Iterable[Record] | None = None
) -> Opinions:
    """Return SubPOP (2502.16761): answer shares of groups in Pew's American Trends Panel, in OpinionQA's scheme.

    CC BY-NC-SA 4.0 and gated: accept its terms on the hub first. Refusals are left out of the shares. Attributes that
    divide people: POLPARTY, POLIDEOLOGY, RACE, RELIG, AGE, SEX, EDUCATION, INCOME, CREGION ...
    """
    records = records if records is not None else find("subpop", "opinions").read()[0]
    dropped: Counter[str] = Counter()
    items: dict[str, SurveyItem] = {}
    rows: list[dict[str, object]] = []
    known = set()
    for record in records:
        with fitting(record, "'subpop'"):
            known.add(str(record["attribute"]))
            if record["attribute"] != attribute:
                continue
            shares, key = _numbers(record["responses"]), str(record["qkey"])
            options = list(map(str, _sequence(record["options"])))[: len(shares)]
            item = items.get(key) or _panel_item(key, record["question"], options, _numbers(record["ordinal"]))
            tags = {"group": str(record["group"])}
        if item is None or sorted(item.scale) != sorted(options):
            dropped["options differ, or fewer than two"] += 1
            continue
        items[item.id] = item
        share, tags = dict(zip(options, shares)), {"item": item.id, **tags}
        rows += [{**tags, "level": k, "share": share[text]} for k, text in enumerate(item.scale)]
    if attribute not in known:
        raise unknown("attribute", attribute, sorted(known), " of subpop")
    return _drawn("subpop", "CC-BY-NC-SA-4.0", items.values(), rows, n, seed, dropped)


def load_opinion_qa(folder: str | Path, attribute: str = "POLPARTY", n: int | None = None, seed: int = 0) -> Opinions:
    """Return OpinionQA (2303.17548) from its own files, which are on CodaLab and not on the hub (Pew's terms).

    Answers are weighted by `WEIGHT_W<wave>`; refusals are left out and counted in the shares' `n_dropped`. Groups are
    those listed in the wave's metadata.csv, as in OpinionQA's own tables; without that file all but refusals. Of rows
    of info.csv with one key (one column with several wordings) the first is used. The folder contains a folder
    American_Trends_Panel_W* per wave, with info.csv, responses.csv and metadata.csv; the attribute is a column of the
    responses. `dropped` counts rows of info.csv, respondents of groups not listed, and listed groups without an answer.
    """
    dropped: Counter[str] = Counter()
    items: dict[str, SurveyItem] = {}
    parts: list[pd.DataFrame] = []
    for wave in _waves(folder):
        try:
            new = _wave_items(wave, items, dropped)
            items |= new
            codes = {key: item.scale for key, item in new.items()}
            weight, file = f"WEIGHT_W{wave.name.rpartition('_W')[2]}", wave / "responses.csv"
            shares = load_microdata(file, codes, attribute, weight, dropped) if codes else pd.DataFrame()
            parts.append(_listed_groups(shares, wave, attribute, dropped))
        except InputError as error:
            raise InputError(f"{wave.name}: {error}") from None
    rows = pd.concat(parts).to_dict("records")
    return _drawn("opinion_qa", "Pew Research Center's terms", items.values(), rows, n, seed, dropped)


def files_of(folder: Path) -> list[Path]:
    """Return the files of OpinionQA's folder that are read."""
    return [path for wave in _waves(folder) for path in map(wave.joinpath, FILES) if path.exists()]


def _waves(folder: str | Path) -> list[Path]:
    """Return the folders of the waves below a folder."""
    top = user_path(folder)
    try:  # not "**": the folder could be that of all files
        waves = sorted(path for depth in ("", "*/", "*/*/") for path in top.glob(f"{depth}American_Trends_Panel_W*"))
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(folder)} cannot be read ({printable(error, 80)}); check the path.") from None
    if not waves:
        raise InputError(f"{folder} has no folder American_Trends_Panel_W*; give the folder human_resp of OpinionQA.")
    return waves


def _wave_items(wave: Path, seen: Collection[str], dropped: Counter[str]) -> dict[str, SurveyItem]:
    """Return the items of a wave that have answers, by key."""
    path = wave / "responses.csv"
    if not os.path.lexists(path):
        raise InputError("responses.csv does not exist; fetch the wave's answers from OpinionQA's CodaLab folder.")
    columns = set(columns_of(path))
    items: dict[str, SurveyItem] = {}
    for row in read_rows(wave / "info.csv", ["key", "question", "references", "option_ordinal"], ()):
        key = row.needed("key")
        options, places = (_python_list(row, name) for name in ("references", "option_ordinal"))
        positions = [place for place in map(number, places) if place is not None]
        if len(positions) < len(places):
            raise row.wrong(f"option_ordinal of {key!r} is not a list of numbers: {row.text('option_ordinal')[:60]!r}.")
        fit = len(options) >= len(places) and all(NO_OPINION.search(str(text)) for text in options[len(places) :])
        with error_prefix(row.where):
            item = _panel_item(key, row.needed("question"), list(map(str, options))[: len(places)], positions)
        if not fit:
            dropped["options and option_ordinal of different lengths"] += 1
        elif item is None or key not in columns:
            dropped["no answers, or fewer than two options"] += 1
        elif key in items or key in seen:
            dropped["a key of info.csv again"] += 1
        else:
            items[key] = item
    return items


def _listed_groups(shares: pd.DataFrame, wave: Path, attribute: str, dropped: Counter[str]) -> pd.DataFrame:
    """Return the shares of the groups listed in the wave's metadata.csv; without it, of all but refusals."""
    path = wave / "metadata.csv"
    rows = {row.text("key"): row for row in read_rows(path, ["key", "options"], ())} if os.path.lexists(path) else {}
    if shares.empty:
        return shares
    if rows and attribute not in rows:
        raise unknown("attribute", attribute, list(rows), " of metadata.csv")
    listed = list(map(str, _python_list(rows[attribute], "options"))) if rows else None
    check_names(dict.fromkeys([*(listed or ()), *shares["group"]]), f"A group in {attribute!r}")
    answered = set(shares["group"])
    for name in listed or ():
        dropped[f"waves without an answer of the listed group {name!r}"] += name not in answered
    chosen = shares["group"].isin(listed) if listed else ~shares["group"].str.contains(NO_OPINION)
    others = shares[~chosen].drop_duplicates("group")
    dropped["respondents of groups that are not listed"] += int(others[["n_used", "n_dropped"]].to_numpy().sum())
    if not chosen.any():
        values = ", ".join(map(repr, others["group"][:5]))
        raise InputError(f"No value of {attribute!r} in responses.csv ({values}) is listed in metadata.csv.")
    return shares[chosen]


def _python_list(row: Row, column: str) -> list[Any]:
    """Return a list that is written in Python in a cell."""
    with suppress(ValueError):
        if isinstance(value := python_value(row.text(column)), list):
            return value
    raise row.wrong(f"{column} is not a list: {row.text(column)[:60]!r}.")


def _panel_item(key: str, text: str, options: Sequence[str], places: Sequence[float]) -> SurveyItem | None:
    """Return an item with its options in the order of the survey's ordinals; unordered if two have one place."""
    ranked = sorted(zip(places, options))
    if len(ranked) < 2 or len(set(options)) < len(options):
        return None
    positions, scale = zip(*ranked)
    ordinal = len(set(positions)) == len(positions)
    return SurveyItem(key, text, scale=scale, positions=positions if ordinal else (), ordinal=ordinal)


def load_emotions(n: int | None = None, seed: int = 0) -> Opinions:
    """Return the emotions people see in 131 emojis, the items of BIG-bench with a complete human distribution.

    People could name several emotions, so the shares are divided by their sum; items without any named are dropped.
    """
    dropped: Counter[str] = Counter()
    items: list[SurveyItem] = []
    rows: list[dict[str, object]] = []
    for place, record in enumerate(find("emotions", "opinions").read()[0]):
        scores, name = record["target_scores"], f"emoji{place}"
        if sum(scores.values()) <= 0:
            dropped["no emotion named"] += 1
            continue
        text = f"Which emotion does this emoji express most? {record['input']}"
        items.append(SurveyItem(name, text, scale=tuple(scores), ordinal=False))
        shares = enumerate(scores.values())
        rows += [{"item": name, "group": "people", "level": i, "share": value} for i, value in shares]
    return _drawn("emotions", "Apache-2.0", items, rows, n, seed, dropped)


def _drawn(
    name: str,
    licence: str,
    items: Iterable[SurveyItem],
    rows: Sequence[dict[Any, Any]],
    n: int | None,
    seed: int,
    dropped: Counter[str],
) -> Opinions:
    """Return the opinions on n of the items with answers, drawn with the seed; shares divided by their sum."""
    answered = {row["item"] for row in rows}
    items = [item for item in items if item.id in answered]
    if not items:
        raise InputError(f"No item of {name!r} is left: check the names of the groups, or take all.")
    instrument = Instrument(name, items, licence, dropped=+dropped).sample(n, seed)
    chosen = set(instrument.ids)
    return Opinions(instrument, check_shares(pd.DataFrame([row for row in rows if row["item"] in chosen]), True))
