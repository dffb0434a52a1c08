"""Answers of people: shares by group, microdata, synthetic populations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.cultural_alignment.instruments import WRITTEN, error_prefix
from workbench.cultural_alignment.surveys import SCALES, Instrument
from workbench.datasets.formats import number
from workbench.datasets.rows import Row, as_text, check_names, folded, numbers, read_columns, read_rows
from workbench.errors import InputError, unknown
from workbench.files import user_path
from workbench.statistics.distances import SLACK

LARGEST_WEIGHT = 1e12
SPREAD, NOISE = 0.25, 0.05
"""Standard deviations on the 0-1 scale of a synthetic population, and of its mean by item and country."""


def country_name(spelling: str) -> str:
    """Return the standard name of a country in any known spelling; other texts are returned unchanged."""
    return _names()[0].get(spelling.strip().casefold(), spelling.strip())


def country_of_number(code: str) -> str:
    """Return the name of a country by its ISO 3166 number, such as 752 or 752.0, or by its name; "" if unknown."""
    if any(letter.isalpha() for letter in code):
        return country_name(code)
    return _names()[1].get(as_text(number(code)), "")


@cache
def _names() -> tuple[dict[str, str], dict[str, str]]:
    """Return names by spelling and by number, from ISO 3166 and the surveys' own numbers 197, 909 and 915."""
    rows = read_rows(WRITTEN / "iso_3166.csv")
    spellings = {s.casefold(): row["name"] for row in rows for s in (row["name"], *row["also"].split("|")) if s}
    return spellings, {row["number"]: row["name"] for row in rows}


def check_personas(names: Sequence[str], shares: pd.DataFrame) -> None:
    """Refuse personas that are not groups of the shares: steering compares each with its own group.

    Raises:
        InputError: A name is not a group, or there are fewer than two names.
    """
    groups = list(dict.fromkeys(shares["group"]))
    missing = [name for name in names if name not in groups]
    if len(names) < 2 or missing:
        what = f"Persona {missing[0]!r} is not a group of the shares" if missing else "Steering needs two personas"
        raise InputError(
            f"{what}; give personas_file=, a CSV with name and text, named like the groups ({', '.join(groups[:8])})."
        )


def load_shares(
    path: str | Path, instrument: Instrument, renormalise: bool = False, scale: str = "likert5"
) -> pd.DataFrame:
    """Return people's answers to an instrument from a user's CSV with the columns item, group, option and share.

    An option is its text, or its number from 1. Rows of items that `Instrument.head` left out are skipped. `scale` is
    the agreement scale of statements without a scale of their own; `renormalise` divides shares by their sum where they
    do not add up to 1.

    Returns:
        Columns item, group, level (0 for the lowest position) and share.

    Raises:
        InputError: An item or option is unknown, an option is missing or listed twice, or shares do not add up to 1.
    """
    path = user_path(path)
    if scale not in SCALES:
        raise unknown("scale", scale, list(SCALES))
    options = {item.id: item.scale or SCALES[scale] for item in instrument}
    places = {name: {text: i for i, text in enumerate(texts)} for name, texts in options.items()}
    rows = []
    for row in read_rows(path, ["item", "group", "option", "share"], (), what="shares"):
        if (name := row.needed("item")) in instrument.left_out:
            continue
        if name not in options:
            raise unknown("item", name, list(options), f" in {row.where}")
        if (share := row.number("share")) is None or share < 0:
            raise row.wrong("the share is negative or missing; leave out a group without answers.")
        level = _level(name, places[name], row)
        rows.append({"item": name, "group": row.needed("group"), "level": level, "share": share})
    with error_prefix(path.name):
        if not rows:
            raise InputError(f"No row is about an item of this run ({', '.join(options)}).")
        return check_shares(pd.DataFrame(rows), renormalise, options)


def _level(item: str, options: Mapping[str, int], row: Row) -> int:
    text = row.needed("option")
    if text in options:
        return options[text]
    if text.isascii() and text.isdecimal() and 1 <= (place := float(text)) <= len(options):
        return int(place) - 1
    raise row.wrong(
        f"{text!r} is not an option of item {item!r}; give its text, or its number from 1 ({' | '.join(options)}), or "
        "write people's options in the item's `scale`."
    )


def check_shares(
    shares: pd.DataFrame, renormalise: bool = False, options: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Return the shares, sorted, after checking that each item and group has every level once and adds up to 1.

    `options` are those of each item; without them its highest level is the last.
    """
    keys = ["item", "group"]
    if not shares["share"].between(0, np.inf, inclusive="left").all():
        raise InputError("A share is negative, infinite or missing; leave out a group without answers.")
    if (twice := shares.duplicated([*keys, "level"])).any():
        row = shares[twice].iloc[0]
        raise InputError(f"Item {row['item']!r} has option {row['level'] + 1} twice for group {row['group']!r}.")
    check_names(shares["group"].unique(), "A group")
    levels = shares.groupby(keys)["level"]
    wanted = (
        levels.transform("max") + 1 if options is None else shares["item"].map({i: len(options[i]) for i in options})
    )
    if (short := levels.transform("size") != wanted).any():
        row = shares[short].iloc[0]
        texts = options[row["item"]] if options else ()
        given = f": it has {len(texts)}, {' | '.join(texts)}" if texts else ""
        raise InputError(
            f"Item {row['item']!r} lacks an option for group {row['group']!r}{given}; write 0 for an option that was "
            "not chosen, or people's options in the item's `scale`."
        )
    total = shares.groupby(keys)["share"].transform("sum")
    if (total == 0).any() or np.isinf(total).any() or (not renormalise and ((total - 1).abs() > SLACK).any()):
        worst = int((total - 1).abs().to_numpy().argmax())
        row = shares.iloc[worst]
        raise InputError(
            f"Shares of item {row['item']!r} in group {row['group']!r} add up to {total.iloc[worst]:.6g}; correct "
            "the file so that they add up to 1 (in Python, load_shares(renormalise=True) divides them by their sum)."
        )
    return shares.assign(share=shares["share"] / total).sort_values([*keys, "level"], ignore_index=True)


def load_microdata(
    path: str | Path,
    items: Mapping[str, Sequence[float] | Sequence[str]],
    group: str = "COUNTRY",
    weight: str | None = None,
    dropped: Counter[str] | None = None,
) -> pd.DataFrame:
    """Return people's answers from survey microdata that a user provides (WVS, IVS, ESS ...).

    Args:
        path: CSV or Parquet, one row per respondent.
        items: Column of an item -> its codes, lowest position first; any other code is missing.
        group: Column of the country.
        weight: Column of the survey weight.
        dropped: Counter of what is left out, including items without a valid answer, which are refused without it.

    Returns:
        Columns item, group, level, share, `n_used` and `n_dropped` (respondents of the group without a valid code or
        without a weight); `attrs["dropped"]` counts respondents without a group, and groups without an answer.
    """
    data, w = _microdata(user_path(path), [*items, group], weight)
    data, w = data[there := data[group].str.strip().ne("")], w[there]
    left_out = Counter({"respondents without a group": int((~there).sum())})
    check_names(data[group].str.strip().unique(), f"{Path(path).name}: a group in {group!r}")
    groups, names = pd.factorize(data[group].str.strip(), sort=True)
    rows: list[dict[str, Any]] = []
    for item, codes in items.items():
        levels = data[item].map(_places(data[item].unique(), codes)).to_numpy(float)
        valid = ~np.isnan(levels) & w.notna().to_numpy()
        if len(set(codes)) < len(codes):
            raise InputError(f"The codes of {item!r} are {', '.join(map(str, codes))}; give each code once.")
        if not w[valid].sum() > 0:
            if dropped is None:
                values = ", ".join(repr(text) for text in data[item].unique()[:8])
                raise InputError(
                    f"No answer to {item!r} in {Path(path).name} has one of the codes {', '.join(map(str, codes))}; "
                    f"its values are {values}: check the codes of the item."
                )
            left_out["items without a valid answer"] += 1
            continue
        cells = groups[valid] * len(codes) + levels[valid].astype(int)
        sums = np.bincount(cells, w[valid], len(names) * len(codes)).reshape(len(names), -1)
        used, total = (np.bincount(which, minlength=len(names)) for which in (groups[valid], groups))
        for name, given, n_used, n in zip(names.tolist(), sums, used.tolist(), total.tolist()):
            tags = {"item": item, "group": name, "n_used": n_used, "n_dropped": n - n_used}
            left_out["items times groups without a valid answer"] += given.sum() == 0
            rows += [{**tags, "level": i, "share": x / given.sum()} for i, x in enumerate(given) if given.sum() > 0]
    shares = pd.DataFrame(rows, columns=["item", "group", "level", "share", "n_used", "n_dropped"])
    shares.attrs["dropped"] = {reason: int(count) for reason, count in left_out.items() if count}
    if dropped is not None:
        dropped.update(shares.attrs["dropped"])
    return shares


def _places(texts: Iterable[str], codes: Sequence[float] | Sequence[str]) -> dict[str, int]:
    """Return text -> position among the codes: numbers by value (1 is "1" and "1.0"), texts as written.

    A text that differs from exactly one code in case or spaces alone is that code.
    """
    places, known = {}, defaultdict[object, list[int]](list)
    for i, code in enumerate(codes):
        known[folded(code) if isinstance(code, str) else code].append(i)
    for text in texts:
        value = number(text)
        alike = sorted(known.get(folded(text), []) + ([] if value is None else known.get(value, [])))
        exact = [i for i in alike if not isinstance(code := codes[i], str) or code.strip() == text.strip()]
        if exact or len(alike) == 1:
            places[text] = (exact or alike)[0]
    return places


def load_values_survey(
    path: str | Path, items: Sequence[str], country: str = "S003", weight: str = "S017"
) -> pd.DataFrame:
    """Return respondents of the integrated values surveys, from a file that a user provides.

    Blanks and negative codes of the items are missing, except for Y003 (autonomy), which starts at -2. ISO 3166 numbers
    in `S003` become names, spelled as in `country_scores`; in another column numbers are names.

    Returns:
        The items as numbers, NaN where missing, then `country` and `weight`. Rows left out are counted in `attrs`:
        `n_without_country`, `n_without_weight`, and `unknown_countries` (code in `S003` -> rows).

    Raises:
        InputError: The file, a column or a cell cannot be read, or no row or no valid code of an item is left.
    """
    data, w = _microdata(user_path(path), [*items, country], weight)
    nowhere = data[country].str.strip().eq("")
    unweighted = w.isna() & ~nowhere
    data, w = data[~nowhere & ~unweighted], w[~nowhere & ~unweighted]
    name = country_of_number if country == "S003" else country_name
    names = data[country].map({text: name(text) for text in data[country].unique()})
    unknown_codes = data[country][names.eq("")].str.strip().value_counts().to_dict()
    data, w, names = data[names.ne("")], w[names.ne("")], names[names.ne("")]
    if unknown_codes and data.empty:
        shown = ", ".join(map(repr, list(unknown_codes)[:5]))
        raise InputError(
            f"{Path(path).name}: {shown} in {country!r} is not an ISO 3166 number of a country; check the column."
        )
    codes = data[list(items)].apply(numbers, name=Path(path).name)
    known = codes.where(codes.ge(0) | ((codes.columns == "Y003") & codes.ge(-2)))
    if empty := [item for item in items if known[item].isna().all()]:
        raise InputError(f"{Path(path).name} has no valid code in column {empty[0]!r}; check the column.")
    table = known.assign(country=names, weight=w).reset_index(drop=True)
    table.attrs |= {"n_without_country": int(nowhere.sum()), "n_without_weight": int(unweighted.sum())}
    table.attrs["unknown_countries"] = unknown_codes
    return table


def _microdata(path: Path, columns: Sequence[str], weight: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """Return the columns as texts, one row per respondent, and the weights (1 without a column; NaN where blank)."""
    data = read_columns(path, list(dict.fromkeys([*columns, *([weight] if weight else [])])), what="microdata")
    if not weight:
        return data, pd.Series(1.0, index=data.index)
    w = numbers(data[weight], path.name)
    if (wrong := (w < 0) | (w > LARGEST_WEIGHT)).any():
        line, value = next(w[wrong].items())
        raise InputError(f"{path.name}, {w.index.name} {line}: the weight in {weight!r} is {value:g}; correct it.")
    return data, w


def synthetic_shares(instrument: Instrument, scores: pd.DataFrame, k: int = 5, seed: int = 0) -> pd.DataFrame:
    """Return synthetic populations: answers on a k-point agreement scale around published country scores.

    A country with score s on a dimension gets the mean 0.1 + 0.8 s / 100, plus noise by item and country of sd 0.05,
    and a normal distribution of sd 0.25 around it, restricted to the k positions. Countries with a missing score are
    refused.
    """
    rng, grid = np.random.default_rng(seed), np.linspace(0, 1, k)
    rows = []
    for item in instrument:
        if item.dimension not in scores.columns:
            raise InputError(
                f"There are no country scores for dimension {item.dimension!r} of item {item.id!r} to make people "
                "from; give shares=, a CSV with item, group, option and share."
            )
        for country, score in scores[item.dimension].items():
            if np.isnan(score):
                raise InputError(f"{country} has no {item.dimension} score; leave the country out.")
            mean = 0.1 + 0.8 * float(score) / 100 + rng.normal(0, NOISE)
            share = np.exp(-(((grid - (mean if item.key == 1 else 1 - mean)) / SPREAD) ** 2) / 2)
            share /= share.sum()
            rows += [{"item": item.id, "group": country, "level": i, "share": p} for i, p in enumerate(share)]
    return pd.DataFrame(rows)
