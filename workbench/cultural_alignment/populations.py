"""People's answers: shares by group, microdata, synthetic populations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cultural_alignment.instruments import named
from workbench.cultural_alignment.surveys import SCALES, Instrument
from workbench.datasets.formats import number
from workbench.datasets.rows import Row, as_text, check_names, folded, numbers, read_columns, read_rows
from workbench.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


TABLE = Path(__file__).parent / "written" / "iso_3166.csv"
"""Columns number, name (as in `countries.csv`) and other spellings; 197, 909 and 915 are the surveys' own numbers."""


def country_name(spelling: str) -> str:
    """The name used here of a country in any known spelling; a text that names none comes back as it is."""
    return _names()[0].get(spelling.strip().casefold(), spelling.strip())


def country_of_number(code: str) -> str:
    """The name of a country by its ISO 3166 number, such as 752 or 752.0, or by its name; "" for any other number."""
    if any(letter.isalpha() for letter in code):
        return country_name(code)
    return _names()[1].get(as_text(number(code)), "")


@cache
def _names() -> tuple[dict[str, str], dict[str, str]]:
    rows = read_rows(TABLE)
    spellings = {s.casefold(): row["name"] for row in rows for s in (row["name"], *row["also"].split("|")) if s}
    return spellings, {row["number"]: row["name"] for row in rows}


SUMS_WITHIN = 1e-6


def check_personas(names: Sequence[str], shares: pd.DataFrame) -> None:
    """Refuse personas that stand for no group of the shares: steering compares each with its own.

    Raises:
        InputError: A name is no group, or there are fewer than two.
    """
    groups = list(dict.fromkeys(shares["group"]))
    strange = [name for name in names if name not in groups]
    if len(names) < 2 or strange:
        what = f"Persona {strange[0]!r} is no group of the shares" if strange else "Steering needs two personas"
        raise InputError(
            f"{what}; give personas_file=, a CSV with name and text, named like the groups ({', '.join(groups[:8])})."
        )


def load_shares(
    path: str | Path, instrument: Instrument, renormalise: bool = False, scale: str = "likert5"
) -> pd.DataFrame:
    """People's answers to an instrument: a user's CSV with one row per item, group and option.

    Args:
        path: Columns `item` (id), `group`, `option` (its text, or its number from 1) and `share`.
        instrument: What they were asked.
        renormalise: Divide shares by their sum where they do not add up to 1.
        scale: The agreement scale of `SCALES` on which statements without a scale of their own are asked.

    Returns:
        Columns item, group, level (0 for the lowest place) and share.

    Raises:
        InputError: An item or option is unknown, an option is missing or twice, or shares do not add up to 1.
    """
    import pandas as pd

    file_path = Path(path).expanduser()
    if scale not in SCALES:
        raise unknown("scale", scale, list(SCALES))
    options = {item.id: item.scale or SCALES[scale] for item in instrument}
    rows = []
    for row in read_rows(file_path, ["item", "group", "option", "share"], (), what="shares"):
        if (name := row.needed("item")) not in options:
            raise unknown("item", name, list(options), f" in {row.where}")
        if (share := row.number("share")) is None or share < 0:
            raise row.wrong("the share is negative or missing; leave a group that was not asked out altogether.")
        level = _level(name, options[name], row)
        rows.append({"item": name, "group": row.needed("group"), "level": level, "share": share})
    with named(file_path.name):
        found = check_shares(pd.DataFrame(rows), renormalise)
        last = found.drop_duplicates(["item", "group"], keep="last")
        for name, group, level in zip(last["item"], last["group"], last["level"]):
            if level < len(options[name]) - 1:
                raise InputError(
                    f"Item {name!r} lacks an option for group {group!r}: it is asked with {len(options[name])}, "
                    f"{' | '.join(options[name])}; write 0 where nobody chose, or the options people had in the "
                    "item's `scale`."
                )
        return found


def check_shares(table: pd.DataFrame, renormalise: bool = False) -> pd.DataFrame:
    """The shares themselves, if every item and group has each level once and they add up to 1."""
    keys = ["item", "group"]
    if not (table["share"] >= 0).all():
        raise InputError("A share is negative or missing; leave a group that was not asked out altogether.")
    if (twice := table.duplicated([*keys, "level"])).any():
        row = table[twice].iloc[0]
        raise InputError(f"Item {row['item']!r} has option {row['level'] + 1} twice for group {row['group']!r}.")
    check_names(table["group"].unique(), "A group")
    grouped = table.groupby(keys)["level"]
    if (short := grouped.transform("size") != grouped.transform("max") + 1).any():
        row = table[short].iloc[0]
        raise InputError(
            f"Item {row['item']!r} lacks an option for group {row['group']!r}; write 0 where nobody chose."
        )
    total = table.groupby(keys)["share"].transform("sum")
    if (total == 0).any() or (not renormalise and ((total - 1).abs() > SUMS_WITHIN).any()):
        worst = int((total - 1).abs().to_numpy().argmax())
        row = table.iloc[worst]
        raise InputError(
            f"Shares of item {row['item']!r} in group {row['group']!r} add up to {total.iloc[worst]:.6g}; correct "
            "the file so that they add up to 1 (in Python, load_shares divides them with renormalise=True)."
        )
    return table.assign(share=table["share"] / total).sort_values([*keys, "level"], ignore_index=True)


def load_microdata(
    path: str | Path,
    items: Mapping[str, Sequence[float] | Sequence[str]],
    group: str = "COUNTRY",
    weight: str | None = None,
    dropped: Counter[str] | None = None,
) -> pd.DataFrame:
    """People's answers from survey microdata a user brings (WVS, IVS, ESS ...), which may not be passed on.

    Args:
        path: CSV or Parquet, one row per respondent.
        items: Column of an item -> its codes from the lowest place to the highest; any other code is missing.
        group: Column of the country.
        weight: Column of the survey weight.
        dropped: Counts what is left out, and with it items of which nothing is left, which are else refused.

    Returns:
        Columns item, group, level, share, `n_used` and `n_dropped` (respondents of the group without a valid code or
        without a weight); `attrs["dropped"]` counts respondents without a group, and groups without an answer.
    """
    import numpy as np
    import pandas as pd

    data, w = _microdata(Path(path).expanduser(), [*items, group], weight)
    data, w = data[there := data[group].str.strip().ne("")], w[there]
    left_out = Counter({"respondents without a group": int((~there).sum())})
    check_names(data[group].str.strip().unique(), f"{Path(path).name}: a group in {group!r}")
    names, groups = np.unique(data[group].str.strip().to_numpy(str), return_inverse=True)
    rows: list[dict[str, Any]] = []
    for item, codes in items.items():
        levels = data[item].map(_places(data[item].unique(), codes)).to_numpy(float)
        valid = ~np.isnan(levels) & w.notna().to_numpy()
        if not w[valid].sum() > 0:
            if dropped is None:
                held = ", ".join(repr(text) for text in data[item].unique()[:8])
                raise InputError(
                    f"No answer to {item!r} in {Path(path).name} has one of the codes {', '.join(map(str, codes))}; it "
                    f"holds {held}: check the codes of the item."
                )
            left_out["items without a valid answer"] += 1
            continue
        cells = groups[valid] * len(codes) + levels[valid].astype(int)
        sums = np.bincount(cells, w[valid], len(names) * len(codes)).reshape(len(names), -1)
        used, all_of = (np.bincount(which, minlength=len(names)) for which in (groups[valid], groups))
        for name, given, n_used, n in zip(names.tolist(), sums, used.tolist(), all_of.tolist()):
            about = {"item": item, "group": name, "n_used": n_used, "n_dropped": n - n_used}
            left_out["items times groups without a valid answer"] += given.sum() == 0
            rows += [{**about, "level": i, "share": x / given.sum()} for i, x in enumerate(given) if given.sum() > 0]
    found = pd.DataFrame(rows, columns=["item", "group", "level", "share", "n_used", "n_dropped"])
    found.attrs["dropped"] = {reason: int(count) for reason, count in left_out.items() if count}
    if dropped is not None:
        dropped.update(found.attrs["dropped"])
    return found


def _places(texts: Iterable[str], codes: Sequence[float] | Sequence[str]) -> dict[str, int]:
    """Text -> place among the codes: numbers by their value (1 is "1" and "1.0"), texts as they stand.

    A text that is no code and differs from one code alone in case or spaces is that code.
    """
    found = {}
    for text in texts:
        value, plain = number(text), folded(text)
        alike = [
            i for i, code in enumerate(codes) if (folded(code) == plain if isinstance(code, str) else value == code)
        ]
        exact = [i for i in alike if not isinstance(code := codes[i], str) or code.strip() == text.strip()]
        if exact or len(alike) == 1:
            found[text] = (exact or alike)[0]
    return found


def load_values_survey(
    path: str | Path, items: Sequence[str], country: str = "S003", weight: str = "S017"
) -> pd.DataFrame:
    """Respondents of the integrated values surveys, from a file a user brings (it may not be passed on).

    Args:
        path: CSV or Parquet, one row per respondent.
        items: Columns of the map's items; blanks and negative codes are missing, but for Y003 (autonomy), which runs
            from -2.
        country: Column of the country; the ISO 3166 numbers of `S003` become names, spelled as in `country_scores`.
        weight: Column of the survey weight.

    Returns:
        The items as numbers, NaN where missing, then `country` and `weight`; rows without a country or a weight are
        left out and counted in `attrs["n_without_country"]` and `attrs["n_without_weight"]`, those whose `S003` is no
        number of a country in `attrs["unknown_countries"]` (code -> rows).

    Raises:
        InputError: The file, a column or a cell cannot be read, or no row or no valid code of an item is left.
    """
    data, w = _microdata(Path(path).expanduser(), [*items, country], weight)
    nowhere = data[country].str.strip().eq("")
    unweighted = w.isna() & ~nowhere
    data, w = data[~nowhere & ~unweighted], w[~nowhere & ~unweighted]
    name = country_of_number if country == "S003" else country_name
    names = data[country].map({text: name(text) for text in data[country].unique()})
    strange = data[country][names.eq("")].str.strip().value_counts().to_dict()
    data, w, names = data[names.ne("")], w[names.ne("")], names[names.ne("")]
    if strange and data.empty:
        held = ", ".join(map(repr, list(strange)[:5]))
        raise InputError(
            f"{Path(path).name}: {held} in {country!r} is no ISO 3166 number of a country; check the column."
        )
    codes = data[list(items)].apply(numbers, name=Path(path).name)
    known = codes.where(codes.ge(0) | ((codes.columns == "Y003") & codes.ge(-2)))
    if empty := [item for item in items if known[item].isna().all()]:
        raise InputError(f"{Path(path).name} has no valid code in column {empty[0]!r}; check the column.")
    found = known.assign(country=names, weight=w).reset_index(drop=True)
    found.attrs |= {"n_without_country": int(nowhere.sum()), "n_without_weight": int(unweighted.sum())}
    found.attrs["unknown_countries"] = strange
    return found


def _microdata(path: Path, columns: Sequence[str], weight: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """The columns needed as texts, respondent by respondent, and weights (1 without a column; NaN where blank)."""
    import pandas as pd

    data = read_columns(path, list(dict.fromkeys([*columns, *([weight] if weight else [])])), what="microdata")
    if not weight:
        return data, pd.Series(1.0, index=data.index)
    w = numbers(data[weight], path.name)
    if (w < 0).any():
        line, value = next(w[w < 0].items())
        raise InputError(f"{path.name}, {w.index.name} {line}: the weight in {weight!r} is {value:g}; correct it.")
    return data, w


def _level(item: str, options: Sequence[str], row: Row) -> int:
    text = row.needed("option")
    if text in options:
        return options.index(text)
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= len(options):
        return int(text) - 1
    raise row.wrong(
        f"{text!r} is no option of item {item!r}; give its text, or its number from 1 ({' | '.join(options)}), or "
        "write the options people had in the item's `scale`."
    )


SPREAD = 0.25
"""Sd of a synthetic population on the 0-1 scale."""


def synthetic_shares(
    instrument: Instrument, scores: pd.DataFrame, k: int = 5, spread: float = SPREAD, seed: int = 0
) -> pd.DataFrame:
    """Synthetic populations: answers on a k-point agreement scale around published country scores.

    Nobody was asked. A country with index s on a dimension gets the mean 0.1 + 0.8 s / 100,
    moved per item and country by noise of sd 0.05, and a bell of sd `spread` around it, cut to the k places.

    Args:
        instrument: Items, whose `dimension` names a column of `scores`.
        scores: Indexed by country, made by `country_scores`; countries with a missing score are refused.
        k: Places of the scale.
        spread: Sd of the bell on the 0-1 scale.
        seed: Of the noise.

    Returns:
        Columns item, group, level, share.
    """
    import pandas as pd

    rng, grid = np.random.default_rng(seed), np.linspace(0, 1, k)
    rows = []
    for item in instrument:
        if item.dimension not in scores.columns:
            raise InputError(
                f"There are no country scores for dimension {item.dimension!r} of item {item.id!r} to make people "
                "from; give shares=, a CSV with item, group, option and share."
            )
        for country, index in scores[item.dimension].items():
            if np.isnan(index):
                raise InputError(f"{country} has no {item.dimension}; leave it out, a score is never filled in.")
            mean = 0.1 + 0.8 * float(index) / 100 + rng.normal(0, 0.05)
            share = np.exp(-(((grid - (mean if item.key == 1 else 1 - mean)) / spread) ** 2) / 2)
            share /= share.sum()
            rows += [{"item": item.id, "group": country, "level": i, "share": p} for i, p in enumerate(share)]
    return pd.DataFrame(rows)
