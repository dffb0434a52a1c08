"""Instruments, personas and country scores: those written for the project, and a user's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.datasets.surveys import OWN, SCALES, Instrument, Persona, SurveyItem
from workbench.errors import InputError, unknown

if TYPE_CHECKING:
    import pandas as pd

WRITTEN = files("workbench.datasets") / "written" / "cultural_alignment"
WBC24 = "wbc24"
WBC24_NOTE = (
    "Written for this project and not validated: a wbc24 score is no Hofstede score, and cannot be compared with one "
    "except by rank."
)
INACCURATE = ("Very inaccurate", "Moderately inaccurate")
ACCURACY = {
    5: (*INACCURATE, "Neither inaccurate nor accurate", "Moderately accurate", "Very accurate"),
    6: (*INACCURATE, "Slightly inaccurate", "Slightly accurate", "Moderately accurate", "Very accurate"),
}
"""How well a statement describes oneself, by the number of points (IPIP)."""
ACCURATE = 'How accurately does this describe you? "{}."'
DIMENSIONS = ("PDI", "IDV", "MAS", "UAI", "LTO", "IVR")
DEFAULT_PERSONAS = ("U.S.A.", "China", "Japan", "Germany", "Brazil", "India", "Sweden", "Russia")


def load_instrument(source: str | Path = WBC24, licence: str = "the user's own") -> Instrument:
    """An instrument: the one written for the project, or a user's CSV of items.

    Args:
        source: `wbc24`, or a CSV with the column `text` and, if wanted, `id`, `dimension`, `key` (1 or -1), `opposite`
            (for the binary format), `scale` (options from low to high divided by `|`; empty for an agreement
            scale), `positions` (numbers divided by `|`) and `ordinal` (false if the options have no order).
        licence: Terms of the user's items; those of VSM, WVS and similar instruments forbid passing them on.

    Raises:
        InputError: The file or a row of it is wrong.
    """
    if str(source) == WBC24:
        return Instrument(WBC24, tuple(_written_items()), "Apache-2.0", WBC24_NOTE)
    path = Path(source).expanduser()
    table = csv_table(path, ["text"])
    rows = table.to_dict("records")
    items = [_item({str(k): str(v) for k, v in row.items()}, i + 2, path.name) for i, row in enumerate(rows)]
    return Instrument(path.stem, tuple(items), licence)


def check_dimensions(instrument: Instrument) -> None:
    """Refuse an instrument whose dimensions are not the six with published country scores, which a map needs."""
    mine = list(dict.fromkeys(item.dimension for item in instrument.items))
    if set(mine) != set(DIMENSIONS):
        raise InputError(
            f"{instrument.name!r} has the dimensions {', '.join(mine[:8])}; the map needs items on "
            f"{', '.join(DIMENSIONS)}. The notebooks robustness and opinion_distributions take any."
        )


def load_vsm(path: str | Path) -> Instrument:
    """The 24 items of the VSM 2013 questionnaire from a user's CSV, with the ids m01 to m24 in the manual's order.

    Its item texts may not be passed on, so none are here; options run from 1 to 5 as the questionnaire prints them.
    """
    found = load_instrument(path, "Hofstede and Minkov; not to be passed on")
    wanted = [f"m{i:02d}" for i in range(1, 25)]
    if [item.id for item in found.items] != wanted:
        raise InputError(f"{Path(path).name} must list the 24 items with the ids m01 to m24, in that order.")
    if any(len(item.scale) != 5 for item in found.items):
        raise InputError(f"Every VSM item in {Path(path).name} has five options; write them in `scale`, divided by |.")
    return found


def load_ipip(path: str | Path, points: int = 6) -> Instrument:
    """Items of the International Personality Item Pool (public domain) from a CSV, asked on its accuracy scale.

    Args:
        path: Columns `text`, `key` (1 or -1) and `label` (the construct), as in the pool's table of assignments; `id`
            or `item` if wanted. The 25 items of R's `psych::bfi` fit, and its answers go through `load_microdata`.
        points: 5, with a neutral middle, or 6.
    """
    if points not in ACCURACY:
        raise unknown("number of points", points, [str(known) for known in ACCURACY])
    found = load_instrument(path, "public domain (IPIP)")
    asked = [replace(item, text=ACCURATE.format(item.text.rstrip(".")), scale=ACCURACY[points]) for item in found.items]
    return replace(found, items=tuple(asked))


def country_scores(path: str | Path | None = None) -> pd.DataFrame:
    """Six published dimension scores per country.

    Args:
        path: None for 24 countries (G. Hofstede, G. J. Hofstede and M. Minkov's matrix of 2015-08-16, cited as facts),
            or the user's copy of the whole matrix (divided by semicolons, `#NULL!` where there is no score).

    Returns:
        Indexed by country: `name` (as said in a sentence) and `region` for the 24, and PDI, IDV, MAS, UAI, LTO, IVR;
        NaN where a score is missing, never filled in. Scores are not percentages: some exceed 100.
    """
    import pandas as pd

    if path is None:
        with (WRITTEN / "countries.csv").open(encoding="utf-8") as file:
            return pd.read_csv(file).set_index("country")
    file_path = Path(path).expanduser()
    table = csv_table(file_path, [], ";").rename(columns=lambda name: str(name).strip().upper())
    table = table.rename(columns={"LTOWVS": "LTO"})
    if missing := [name for name in ("COUNTRY", *DIMENSIONS) if name not in table.columns]:
        raise InputError(f"{file_path.name} lacks the column {missing[0]!r}; it has {', '.join(table.columns)}.")
    found = table.set_index(table["COUNTRY"].str.strip().rename("country"))[list(DIMENSIONS)]
    return found.replace({"#NULL!": None, "": None}).apply(numbers, name=file_path.name)


def personas(countries: Sequence[str] = DEFAULT_PERSONAS, wording: str = "native") -> list[Persona]:
    """Personas of these countries, in one of the wordings of `personas.csv`.

    Raises:
        InputError: A country has no row in the table, or there is no such wording.
    """
    import pandas as pd

    with (WRITTEN / "personas.csv").open(encoding="utf-8") as file:
        texts = pd.read_csv(file).set_index("wording")["text"]
    if wording not in texts.index:
        raise unknown("wording of a persona", wording, [str(name) for name in texts.index])
    table = country_scores()
    for country in countries:
        if country not in table.index:
            raise unknown("country", country, [str(name) for name in table.index])
    return [Persona(c, texts[wording].format(country=table.at[c, "name"]), wording) for c in countries]


def load_personas(path: str | Path) -> list[Persona]:
    """A user's personas: a CSV with the columns `name` (as the group is called in the shares) and `text`."""
    file_path = Path(path).expanduser()
    table = csv_table(file_path, ["name", "text"])
    if table["name"].duplicated().any() or (table[["name", "text"]] == "").any(axis=None):
        raise InputError(f"{file_path.name} has a persona twice, or one without a name or a text; mend that row.")
    return [Persona(name, text, "own") for name, text in zip(table["name"], table["text"])]


def _written_items() -> list[SurveyItem]:
    import pandas as pd

    with (WRITTEN / f"{WBC24}.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    sides = {1: ("high", "low"), -1: ("low", "high")}
    return [
        SurveyItem(row["id"], row[sides[row["key"]][0]], row["dimension"], int(row["key"]), row[sides[row["key"]][1]])
        for row in table.to_dict("records")
    ]


def numbers(column: pd.Series, name: str) -> pd.Series:
    """A column of texts as numbers; None is missing. `name` is the file it comes from."""
    import pandas as pd

    found = pd.to_numeric(column, errors="coerce")
    if (bad := found.isna() & column.notna()).any():
        raise InputError(f"{name}: {column[bad].iloc[0]!r} in column {column.name!r} is no number.")
    return found.astype(float)


def csv_table(path: Path, needed: list[str], sep: str = ",") -> pd.DataFrame:
    """A file's cells as texts, if it is there, well-formed and has the columns needed."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a .csv file.")
    try:
        table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path.name} is not a well-formed UTF-8 CSV file ({error}).") from None
    if missing := [name for name in needed if name not in table.columns]:
        raise InputError(f"{path.name} lacks the column {missing[0]!r}; it has {', '.join(table.columns)}.")
    if table.empty:
        raise InputError(f"{path.name} holds no rows.")
    return table


def _item(row: Mapping[str, str], number: int, name: str) -> SurveyItem:
    split = {
        key: tuple(part.strip() for part in row.get(key, "").split("|") if part.strip())
        for key in ("scale", "positions")
    }
    if len(split["scale"]) == 1 and split["scale"][0] in SCALES:
        split["scale"] = ()
    try:
        key, positions = int(row.get("key") or 1), tuple(float(each) for each in split["positions"])
    except ValueError:
        raise InputError(f"{name}, row {number}: key is 1 or -1, positions are numbers divided by |.") from None
    ordinal = row.get("ordinal", "").strip().lower() not in ("false", "no", "0")
    item_id = (row.get("id") or row.get("item") or "").strip() or f"item{number - 1}"
    texts = {"text": row["text"].strip(), "opposite": row.get("opposite", "").strip()}
    dimension = (row.get("dimension") or row.get("label") or "").strip() or "all"
    return SurveyItem(item_id, texts["text"], dimension, key, texts["opposite"], split["scale"], positions, ordinal)


def own_format(instrument: Instrument) -> str:
    """The scale to ask an instrument on: its own, or the five-point agreement scale for bare statements."""
    has = {bool(item.scale) for item in instrument.items}
    if len(has) > 1:
        raise InputError(f"Instrument {instrument.name!r} mixes items with and without a scale; ask them apart.")
    return OWN if has == {True} else "likert5"
