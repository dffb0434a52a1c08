"""People's answers a user brings: shares by group, and survey microdata that may not be passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.datasets.countries import country as country_name
from workbench.datasets.countries import country_of_number
from workbench.datasets.survey_files import csv_table, numbers
from workbench.datasets.surveys import Instrument, SurveyItem
from workbench.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

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


def load_shares(path: str | Path, instrument: Instrument, renormalise: bool = False) -> pd.DataFrame:
    """People's answers to an instrument: a user's CSV with one row per item, group and option.

    Args:
        path: Columns `item` (id), `group`, `option` (its text, or its number from 1) and `share`.
        instrument: What they were asked; statements without a scale of their own are numbered.
        renormalise: Divide shares by their sum where they do not add up to 1.

    Returns:
        Columns item, group, level (0 for the lowest place) and share.

    Raises:
        InputError: An item or option is unknown, an option is missing or twice, or shares do not add up to 1.
    """
    import pandas as pd

    file_path = Path(path).expanduser()
    table = csv_table(file_path, ["item", "group", "option", "share"])
    table["share"] = numbers(table["share"].replace("", None), file_path.name)
    items = {item.id: item for item in instrument.items}
    rows = []
    for row in table.to_dict("records"):
        if str(row["item"]) not in items:
            raise unknown("item", row["item"], list(items), f" in {file_path.name}")
        level = _level(items[str(row["item"])], row["option"], file_path.name)
        share = float(row["share"])
        rows.append({"item": str(row["item"]), "group": str(row["group"]), "level": level, "share": share})
    return check_shares(pd.DataFrame(rows), renormalise)


def check_shares(table: pd.DataFrame, renormalise: bool = False) -> pd.DataFrame:
    """The shares themselves, if every item and group has each level once and they add up to 1."""
    keys = ["item", "group"]
    if not (table["share"] >= 0).all():
        raise InputError("A share is negative or missing; leave a group that was not asked out altogether.")
    if (twice := table.duplicated([*keys, "level"])).any():
        row = table[twice].iloc[0]
        raise InputError(f"Item {row['item']!r} has option {row['level'] + 1} twice for group {row['group']!r}.")
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
) -> pd.DataFrame:
    """People's answers from survey microdata a user brings (WVS, IVS, ESS ...), which may not be passed on.

    Args:
        path: CSV or Parquet, one row per respondent.
        items: Column of an item -> its codes from the lowest place to the highest; any other code is missing.
        group: Column of the country.
        weight: Column of the survey weight.

    Returns:
        Columns item, group, level, share, `n_used` and `n_dropped` (respondents of the group without a valid code or
        without a weight).
    """
    import pandas as pd

    data, w = _microdata(Path(path).expanduser(), [*items, group], weight)
    rows: list[dict[str, Any]] = []
    for item, codes in items.items():
        for name, part in data.groupby(group, sort=True):
            said = part[item]
            if not any(isinstance(code, str) for code in codes):  # one blank or text makes a column of a CSV text
                said = pd.to_numeric(said, errors="coerce")
            valid = said.isin(codes) & w[part.index].notna()
            total = float(w[part.index][valid].sum())
            counts = {"n_used": int(valid.sum()), "n_dropped": int((~valid).sum())}
            for level, code in enumerate(codes if total > 0 else []):
                share = float(w[part.index][valid & (said == code)].sum()) / total
                rows.append({"item": item, "group": str(name), "level": level, "share": share, **counts})
    if not rows:
        raise InputError(f"No answer in {Path(path).name} has one of the codes given; check the codes of the items.")
    return pd.DataFrame(rows)


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
        left out and counted in `attrs["n_without_country"]` and `attrs["n_without_weight"]`.
    """
    data, w = _microdata(Path(path).expanduser(), [*items, country], weight)
    nowhere = data[country].isna()
    unweighted = w.isna() & ~nowhere
    data, w = data[~nowhere & ~unweighted], w[~nowhere & ~unweighted]
    codes = data[list(items)].apply(numbers, name=Path(path).name)
    known = codes.where(codes.ge(0) | ((codes.columns == "Y003") & codes.ge(-2)))
    name = country_of_number if country == "S003" else country_name
    found = known.assign(country=data[country].convert_dtypes().astype(str).map(name), weight=w)
    found.attrs |= {"n_without_country": int(nowhere.sum()), "n_without_weight": int(unweighted.sum())}
    return found


def _microdata(path: Path, columns: Sequence[str], weight: str | None) -> tuple[pd.DataFrame, pd.Series]:
    """The columns needed, respondent by respondent, and weights (1 without a column); a blank cell is missing."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of your microdata.")
    data = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, low_memory=False)
    for column in [*columns, *([weight] if weight else [])]:
        if column not in data.columns:
            raise unknown("column", column, [str(name) for name in data.columns[:40]], f" of {path.name}")
    data = data[list(dict.fromkeys([*columns, *([weight] if weight else [])]))].replace(r"^\s*$", None, regex=True)
    if not weight:
        return data, pd.Series(1.0, index=data.index)
    w = numbers(data[weight], path.name)
    if (w < 0).any():
        row = int((w < 0).to_numpy().argmax())
        raise InputError(f"{path.name}: respondent {row + 1} has the weight {w.iloc[row]:g} in {weight!r}; correct it.")
    return data, w


def _level(item: SurveyItem, option: object, name: str) -> int:
    text = str(option).strip()
    if text in item.scale:
        return item.scale.index(text)
    if text.isdigit() and 1 <= int(text) <= (len(item.scale) or 11):
        return int(text) - 1
    raise InputError(f"{name}: {text!r} is no option of item {item.id!r}; give its text, or its number from 1.")
