"""Tables as reports and JupyterLab show them: estimates with intervals, headers in words, counts in the caption."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import PurePosixPath
from statistics import mode
from typing import TYPE_CHECKING, Any

from workbench import digits
from workbench.called import called, called_in, setting

if TYPE_CHECKING:
    import pandas as pd

HEADERS = "headers"
"""Key of `frame.attrs`: headers of single columns, by name; a column whose header is empty is not shown."""
OPEN_ROWS = 15
"""Longer tables are folded behind their captions."""
FIRST_ROWS, MOST_CELLS = 50, 2_500
"""Rows shown of a table of more cells than this."""
LONG, LONGEST = 40, 240
"""Characters of a text that gets a wide column, and of one that is cut; its title has the whole text."""
TERMS = {
    "n_clusters": "clusters",
    "n_total": "responses",
    "n_released": "answers released",
    "n_chosen": "tokens of the preferred answer",
    "n_rejected": "tokens of the rejected answer",
    "question_id": "question",
    "answer_correct": "accuracy",
    "answer_confidence": "confidence",
    "abstains": "abstention",
    "x": "score",
    "x_raw": "score as given",
    "p_first": "p(first option)",
    "p_max": "highest probability",
    "human_max": "highest proportion of people",
    "p_holm": "p (Holm)",
    "p_adjusted": "p (adjusted)",
    "p_permutation": "p (permutation)",
    "p_raw": "p of raw scores",
    "p_raw_holm": "p of raw scores (Holm)",
    "mean_raw": "mean of raw scores",
    "mean_abs": "mean absolute difference",
    "d_z": "Cohen's d",
    "brier": "Brier score",
    "nll": "negative log-likelihood",
    "r2": "R²",
    "tau": "Kendall's τ",
    "mean_tau": "mean τ",
    "js": "JS divergence",
    "kl": "KL divergence",
    "reverse_kl": "KL divergence, reversed",
    "symmetric_kl": "symmetric KL divergence",
    "tv": "total variation",
    "tvd": "total variation",
    "w1": "Wasserstein distance",
    "w1_uniform": "Wasserstein distance of uniform answers",
    "simpson": "Simpson index",
    "mode_match": "agreement of the mode",
    "mass_5th": "mass, 5th percentile",
    "item_total": "item–total correlation",
    "item_rest": "item–rest correlation",
    "se_paired": "standard error, paired",
    "se_independent": "standard error, independent",
    "eta_ci": "drift time (intervals)",
    "eta_fraction": "drift time (fraction)",
    "two_pass": "two-pass",
    "argmax": "most probable",
    "geval": "G-Eval",
    "ppl": "perplexity",
    "null": "shuffled",
    "null 97.5%": "shuffled, 97.5th percentile",
    "shuffled_high": "shuffled, 97.5th percentile",
    "A_shuffled_95": "AQI of DBS and DI, labels shuffled (95th percentile)",
    "dbs": "Davies–Bouldin",
    "di": "Dunn",
    "xb": "Xie–Beni",
    "chi": "Calinski–Harabasz",
    "logprob": "log-probability (nats)",
    "loo": "one level left out",
    "soft": "p(YES)",
    "spacing": "steps since the checkpoint before",
    "seed_sd": "SD over seeds",
    "seed_sd_mean": "SD over seeds, mean of checkpoints",
    "variant_sd": "SD over variants",
    "variant_half_width": "half width over variants",
    "bootstrap_half_width": "half width over items, bootstrap",
    "analytic_half_width": "half width over items, analytic",
    "weak_strong": "weak and strong halves",
    "CR": "conflict ratio",
    "top_share": "first region",
    "format_sd": "SD over formats",
    "icc_agreement": "ICC, agreement",
    "icc_consistency": "ICC, consistency",
    "ln_ches": "LN-CHES",
    "spearman": "Spearman",
    "spearman_brown": "Spearman–Brown",
    "mae_of_mean": "MAE of the mean",
    "equiv": "equivalence violated",
    "cycle": "in a cycle",
    "delta": "tolerance",
    "ok": "transitive",
    "chance_strict": "chance without ties",
    "rest": "remainder",
    "explained": "explained by ties",
    "conflict": "conflict ratio",
    "logps/chosen": "log-probability, chosen",
    "logps/rejected": "log-probability, rejected",
    "rewards/accuracies": "accuracy of the reward",
    "rewards/margins": "margin of the reward",
    "a": "discrimination a",
    "b": "difficulty b",
    "level_0": "from",
    "level_1": "to",
}
"""Names of columns and metrics in words; others lose their underscores."""
CAPITALS = {
    *("auroc", "aurc", "ece", "mce", "rmsce", "dcs", "icc", "snr", "sd", "mae", "rmse", "pmi", "ari", "icat", "ches"),
}
P_VALUE = re.compile(r"p|p_(holm|adjusted|permutation|raw|raw_holm|value)|smallest_p|p \(.*")
COUNTED = re.compile(r"n|n_\w+|questions|units|items|splits|draws|seeds|checkpoints|configurations|variants")
"""Counts: equal ones are in the caption, and `n_...` that are all zero are not shown."""
PLAIN = re.compile(r"(.*_|)(id|seed|year|row)")
"""Whole numbers without separators of thousands."""
NAMING = {"metric", "statistic", "measure", "score", "aggregation", "scoring", "contrast", "reading", "by"}
"""Columns whose cells are names, shown in words as headers are."""
BASELINES = {"chance", "baseline"}
OUTCOMES = {"verdict", "claim", "finding"}
"""Columns that stay if all rows are equal."""
SAME = {"n_clusters": "n", "n_total": "n", "units": "n", "cluster": "question_id"}
"""Columns left out where another one is the same."""
GROUPS = {"task", "benchmark", "data", "judge", "run", "profile", "kind", "score"}
"""Names of groups: they come first, and the ones that change least before others."""
BESIDE = {"se", "method"}
"""Columns left out beside an interval."""
NOTES = {"note", "reason"}
REPEATED = re.compile(r"(.*) \((?:[^()]*\[[^()]*\]|[^()]* no interval) against ([^()]*)\)")
"""A verdict with its estimate, which is shown beside it."""
BLANK = digits.number(None)
NOISE = 1e-12
"""Smaller numbers are rounding errors."""
FIGURE_SPACE = "\u2007"
"""A space as wide as a digit."""
NUMERIC = re.compile(r"<?[-−]?[\d,.]+(e[-−]?\d+)?%?( [★≈])?( *\[.*\])?|\[.*\]|–|undefined")
LEFT, AGAIN, WIDE = ' style="text-align: left"', ' style="text-align: left; color: transparent"', ' class="long"'
"""JupyterLab aligns every cell to the right; the repeated name of a group is there, but is not seen."""


@dataclass(frozen=True, slots=True)
class Cells:
    """A column as it is shown."""

    header: str
    """Its name in words."""
    texts: list[str]
    """One text a row."""
    number: bool = False
    """Whether it is aligned to the right."""
    titles: Sequence[str] = ()
    """Why numbers are undefined, one text a row."""


@dataclass(frozen=True, slots=True, repr=False)
class ShownTable:
    """A table with its caption, as it is shown; the kept file has all columns and digits.

    An estimate and the ends of its interval are one cell, counts equal in all rows are in the caption, undefined
    numbers are dashes. A table without rows shows as its caption and the reason in its `attrs`.
    """

    frame: pd.DataFrame
    """The table."""
    caption: str = ""
    """Text above it."""
    file: str = ""
    """The kept file, if there is one; its name is the anchor of the table."""
    columns: str = ""
    """Column whose values become columns as it is shown; empty for none."""

    def __repr__(self) -> str:
        if not len(self.frame):
            return ": ".join(filter(None, (self.caption, self.frame.attrs.get("reason", "no rows"))))
        import pandas as pd

        shown, facts = displayed(self.frame, self.columns)
        texts = pd.DataFrame(dict(enumerate(cells.texts for cells in shown)))
        lines = texts.set_axis([cells.header for cells in shown], axis=1).to_string(index=False, max_rows=FIRST_ROWS)
        return f"{_ended(self.caption, facts)} {facts}".strip() + f"\n{lines}"

    def _repr_html_(self) -> str:
        if not len(self.frame):
            return f"<p>{html.escape(repr(self))}</p>"
        shown, facts = displayed(self.frame, self.columns)
        total = len(shown[0].texts)
        rows = total if total * len(shown) <= MOST_CELLS else min(total, FIRST_ROWS)
        head = "".join(_cell("th", each.header, each.number, scope="col") for each in shown)
        body = zip(*(list(_column(each, shown[:at], rows)) for at, each in enumerate(shown)))
        lines = "".join(f"<tr>{''.join(row)}</tr>" for row in body)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
        named = f' id="{html.escape(PurePosixPath(self.file).stem.replace("_", "-"))}"' if self.file else ""
        link = f'<a href="{html.escape(self.file)}">CSV</a>' if self.file else ""
        small = " · ".join(filter(None, (html.escape(facts), link)))
        caption, small = html.escape(_ended(self.caption, facts)), f"<small>{small}</small>" if small else ""
        if total <= OPEN_ROWS:
            text = f"<figcaption>{' '.join(filter(None, (caption, small)))}</figcaption>" if caption or small else ""
            return f'<figure{named} style="margin: 0">{text}{table}</figure>'
        count = f"{total:,} rows" if rows == total else f"the first {rows} of {total:,} rows"
        summary = (
            f"<summary>{caption or 'Table'} <small>({count})</small></summary>{f'<p>{small}</p>' if small else ''}"
        )
        return f'<details{named}>{summary}<div style="max-height: 34em; overflow: auto">{table}</div></details>'


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its index as columns, unless the index is an unnamed row number."""
    if frame.index.names != [None]:
        return frame.reset_index()
    return frame if frame.index.inferred_type == "integer" else frame.rename_axis("").reset_index()


def displayed(frame: pd.DataFrame, pivot: str = "") -> tuple[list[Cells], str]:
    """Return the columns of a table as they are shown, and what is equal in all of its rows, for the caption.

    Args:
        frame: A table with rows; `attrs["headers"]` may name columns and metrics, or leave a column out by an empty
            name.
        pivot: Column whose values become columns, with the estimate as cells; empty for none. Ignored if two rows
            would share a cell.
    """
    headers: dict[str, str] = frame.attrs.get(HEADERS, {})
    values: dict[str, list[Any]] = {}
    for label, column in with_index(frame).items():
        name = " · ".join(map(str, label)) if isinstance(label, tuple) else str(label)
        while name in values:
            name += " "
        if headers.get(name) != "":
            values[name] = [None if gone else _python(v) for v, gone in zip(column.astype(object), column.isna())]
    table = _Table(dict(sorted(values.items(), key=_changes)), headers)
    table.drop()
    facts = table.take_facts()
    wide = table.pivoted(pivot) if pivot and pivot in table.values else None
    return wide or table.shown(), "; ".join([*([table.header(table.estimate(pivot))] if wide else []), *facts])


@dataclass(slots=True)
class _Table:
    """A table on its way to be shown."""

    values: dict[str, list[Any]]
    """Name -> values; None is undefined."""
    headers: dict[str, str]
    """Headers of single columns and metrics."""
    spans: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Estimate -> the columns of its ends; a range without an estimate goes by its lower end."""
    baseline: str = ""
    """What every row is compared with."""

    def drop(self) -> None:
        """Leave out columns without content, counts of nothing, and what an interval states better."""
        values = self.values
        if any(name == "low" or name.endswith("_low") for name in values):
            for name in BESIDE & values.keys():
                del values[name]
        self.spans = _spans(values)
        for name, column in list(values.items()):
            nothing = all(value in (None, "") for value in column) and (not _numeric(column) or _is_count(name))
            zero = name.startswith("n_") and _numeric(column) and not any(column)
            if nothing or zero or (name in SAME and column == values.get(SAME[name])):
                del values[name]

    def take_facts(self) -> list[str]:
        """Remove the columns that are equal in all rows, and return them in words."""
        facts, names = [], list(self.values)
        keys = names[: names.index(next(iter(self.spans)))] if self.spans else []
        for name, column in list(self.values.items()):
            first, stays = column[0], name in OUTCOMES | NOTES | self.ends | self.spans.keys()
            if stays or first is None or len(column) < 2 or any(value != first for value in column):
                continue
            if name in BASELINES and len(self.spans) == 1:
                self.baseline = f"({self.stated(name, _text(first))})"
            elif _is_count(name):
                facts.append(f"{self.stated(name, _text(first))}{' each' if name == 'n' else ''}")
            elif isinstance(first, (bool, int, str)) or name in keys:
                equals = ": " if isinstance(first, (bool, str)) else "\u00a0=\u00a0"
                facts.append(f"{self.header(name)}{equals}{self.named(name, first)}")
            else:
                continue
            del self.values[name]
        return facts

    @property
    def ends(self) -> set[str]:
        """The columns of ends of intervals."""
        return {end for pair in self.spans.values() for end in pair}

    def header(self, name: str) -> str:
        """The name of a column in words, of an estimate also what it is compared with."""
        if name not in self.spans:
            return self.headers.get(name) or words(name)
        low = self.spans[name][0]
        stem = name.removesuffix("low").rstrip("_") if name == low else name
        ends = "[low,\u00a0high]" if any(end is not None for end in self.values[low]) else ""
        return " ".join(filter(None, (self.headers.get(name, words(stem)), ends, self.baseline)))

    def stated(self, name: str, value: str) -> str:
        """A count or baseline with its name: "n = 20", "12 clusters", "chance 0.5"."""
        header = self.header(name)
        return (
            f"n\u00a0=\u00a0{value}" if name == "n" else f"{value} {header}" if _is_count(name) else f"{header} {value}"
        )

    def named(self, name: str, value: Any) -> str:
        """A cell of text; the name of a metric in words."""
        text = _text(value)
        if self.spans and (beside := REPEATED.fullmatch(text)):
            return (
                beside[1]
                if any(each in self.values for each in BASELINES) or self.baseline
                else f"{beside[1]} ({beside[2]})"
            )
        text = called(text) if name in GROUPS | {"group"} else setting(name, text)
        return self.headers.get(text) or (words(text) if name in NAMING else text)

    def shown(self) -> list[Cells]:
        """The columns, each estimate with its ends."""
        rows = range(len(next(iter(self.values.values()))))
        return [self.cells(name, rows) for name in self.values if name in self.spans or name not in self.ends]

    def cells(self, name: str, rows: Iterable[int]) -> Cells:
        """Some rows of a column."""
        column, header = [self.values[name][at] for at in rows], self.header(name)
        if name in self.spans:
            low, high = ([self.values[end][at] for at in rows] for end in self.spans[name])
            notes = next((self.values[each] for each in NOTES if each in self.values), [])
            titles = [notes[at] or "" for at in rows] if notes else []
            if name == self.spans[name][0]:
                return Cells(header, [ends or BLANK for _, ends in _intervals(low, low, high)], True, titles)
            return Cells(header, _beside(_intervals(column, low, high)), True, titles)
        if not _numeric(column):
            texts = [self.named(name, value) for value in column]
            return Cells(header, texts, all(map(NUMERIC.fullmatch, texts)))
        if P_VALUE.fullmatch(name):
            return Cells(header, list(map(_p_value, column)), True)
        texts = _plain(column)
        return Cells(header, [text.replace(",", "") for text in texts] if PLAIN.fullmatch(name) else texts, True)

    def estimate(self, pivot: str) -> str:
        """The estimate that a table has in its cells when the values of `pivot` are columns; empty if there is none."""
        after = list(self.values)[list(self.values).index(pivot) + 1 :]
        return next((name for name in [*self.spans, *after] if name != pivot and _numeric(self.values[name])), "")

    def pivoted(self, pivot: str) -> list[Cells] | None:
        """The columns with the estimate of each value of `pivot`; None if two rows would share a cell."""
        names, estimate = list(self.values), self.estimate(pivot)
        if not estimate:
            return None
        place, aside = names.index(estimate), self.ends | NOTES | {pivot}
        keys = [name for name in names[:place] if name not in aside]
        extras = [name for name in names[place + 1 :] if name not in aside]
        groups: dict[tuple[str, ...], dict[str, int]] = {}
        for at, value in enumerate(map(_text, self.values[pivot])):
            group = groups.setdefault(tuple(_text(self.values[key][at]) for key in keys), {})
            if value in group:
                return None
            group[value] = at
        firsts = [next(iter(group.values())) for group in groups.values()]
        usual = {name: self.usual(name, groups.values()) for name in extras}
        cells = [self.cells(key, firsts) for key in keys]
        for value in dict.fromkeys(map(_text, self.values[pivot])):
            rows = [group[value] for group in groups.values() if value in group]
            texts = self.cells(estimate, rows)
            for name in (name for name in extras if name in BASELINES or _is_count(name)):
                more = self.cells(name, rows).texts
                mine = [usual[name][at] for at, group in enumerate(groups.values()) if value in group]
                texts = replace(
                    texts,
                    texts=[
                        text
                        if self.values[name][at] in (most, None)
                        else f"{text.rstrip(FIGURE_SPACE + ' ')}, {self.stated(name, each)}"
                        for text, each, at, most in zip(texts.texts, more, rows, mine)
                    ],
                )
            known = dict(zip(rows, texts.texts))
            places = [known.get(group.get(value, -1), "") for group in groups.values()]
            cells.append(Cells(self.named(pivot, value), places, True))
        for name in extras:
            beside = _Table({name: usual[name]}, self.headers)
            if any(usual[name]) and (self.is_shared(name, groups.values()) or name in BASELINES or _is_count(name)):
                cells.append(beside.cells(name, range(len(firsts))))
        return cells

    def usual(self, name: str, groups: Iterable[dict[str, int]]) -> list[Any]:
        """The most frequent value of a column in each group of rows."""
        return [mode([self.values[name][at] for at in group.values()]) for group in groups]

    def is_shared(self, name: str, groups: Iterable[dict[str, int]]) -> bool:
        """Whether a column is the same in all rows of each group."""
        return all(len({_text(self.values[name][at]) for at in group.values()}) == 1 for group in groups)


def _changes(item: tuple[str, list[Any]]) -> float:
    """How often the name of a group of rows changes; other columns keep their places behind."""
    name, column = item
    if name not in GROUPS or _numeric(column):
        return math.inf
    changes = sum(before != after for before, after in pairwise(column))
    return changes if 2 * changes <= len(column) else math.inf


def headed(frame: pd.DataFrame, headers: dict[str, str]) -> pd.DataFrame:
    """Return a table with headers for some of its columns, or names for its metrics, when it is shown."""
    frame = frame.copy()
    frame.attrs[HEADERS] = frame.attrs.get(HEADERS, {}) | headers
    return frame


def words(name: str) -> str:
    """Return the name of a column or metric in words: `p_holm` as "p (Holm)", `n_dropped` as "dropped"."""
    if ", " in name:
        return ", ".join(map(words, name.split(", ")))
    if name in TERMS:
        return TERMS[name]
    if re.fullmatch(r"p_[a-z]\w*", name):
        return f"p({name[2:].replace('_', ' ')})"
    parts = (name[2:] if re.fullmatch(r"n_[a-z]\w*", name) else name).split("_")
    return " ".join(part.upper() if part in CAPITALS else part for part in parts)


def _spans(values: dict[str, list[Any]]) -> dict[str, tuple[str, str]]:
    """The columns of intervals by that of the estimate: `x` of `x_low` and `x_high`, or the one before `low`."""
    spans, names = {}, list(values)
    for at, low in enumerate(names):
        stem, high = low.removesuffix("low").rstrip("_"), low.removesuffix("low") + "high"
        if (low == "low" or low.endswith("_low")) and high in names and _numeric(values[low] + values[high]):
            candidates = [stem, f"mean_{stem}"] if stem else names[max(0, at - 1) : at]
            estimates = (
                name for name in candidates if name in names and _numeric(values[name]) and not _is_count(name)
            )
            spans[next(estimates, low)] = (low, high)
    return spans


def _is_count(name: str) -> bool:
    return COUNTED.fullmatch(name) is not None


def _python(value: Any) -> Any:
    """A number of numpy as one of Python."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _numeric(column: Iterable[Any]) -> bool:
    return all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in column)


def _plain(column: Sequence[float | None]) -> list[str]:
    """Numbers to the same decimals, or three digits of each if their sizes are very different."""
    sizes = [abs(value) for value in column if value and math.isfinite(value)]
    mixed = bool(sizes) and max(sizes) > 10 and max(sizes) >= 1000 * min(sizes)
    texts = []
    for value in column:
        places = _decimals([value or 0.0] if mixed else sizes)
        hidden = value and abs(value) > NOISE and not round(value, places)
        texts.append(digits.number(value, digits.MOST_PLACES) if hidden else _rounded(value, places))
    return texts


def _rounded(value: float | None, places: int) -> str:
    """A number to some decimals, however small it is."""
    return digits.number(value if value is None else round(value, places), places)


def _tiny(value: float | None) -> str:
    return digits.number(value) if value is None else f"{value:.1e}".replace("-", "−")


def _decimals(sizes: Sequence[float]) -> int:
    """Decimals that show three digits of the largest of these numbers, three for proportions, or all exactly."""
    top = max(map(abs, sizes), default=1.0) or 1.0
    most = 3 if 0.1 <= top <= 1 else min(digits.MOST_PLACES, max(0, 2 - math.floor(math.log10(top))))
    return next((places for places in range(most) if all(round(size, places) == size for size in sizes)), most)


def _p_value(value: float | None) -> str:
    if value is None or value in (0, 1):
        return digits.number(value, 0)
    return "<0.001" if 0 < value < 0.001 else digits.number(value, 3)


def _intervals(means: list[Any], lows: list[Any], highs: list[Any]) -> list[tuple[str, str]]:
    """Estimates and ends as texts, to the decimals of the median interval, or of each if their widths differ."""
    rows = list(zip(means, lows, highs))
    places = [None if None in (low, high) else digits.places(low, high) for _, low, high in rows]
    known = sorted(each for each in places if each is not None)
    if not known:
        return [(text, "") for text in _plain(means)]
    middle, alike, texts = known[len(known) // 2], known[-1] <= known[0] + 1, []
    for row, own in zip(rows, places):
        each = middle if alike else own
        top = max((abs(value) for value in row if value is not None), default=0.0)
        if each is None:
            mean, low, high = _plain([row[0]])[0], "", ""
        elif each == digits.MOST_PLACES and top < 0.001:
            mean, low, high = ("0" if value == 0 else _tiny(value) for value in row)
        else:
            mean, low, high = (_rounded(value, each) for value in row)
        texts.append((mean, "" if own is None else f"[{low}, {high}]"))
    return texts


def _beside(texts: list[tuple[str, str]]) -> list[str]:
    """Estimates and ends in one text each, padded so that the points of the estimates are below each other."""
    longest = max(len(ends) for _, ends in texts)
    return [f"{mean} {ends.rjust(longest, FIGURE_SPACE)}" if longest else mean for mean, ends in texts]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _plain([value])[0] if value is None or isinstance(value, (int, float)) else str(value)


def _ended(caption: str, facts: str) -> str:
    """A caption with data sets by their names, and with a full stop if something follows."""
    caption = called_in(caption)
    return f"{caption}." if facts and caption and caption[-1] not in ".?!:" else caption


def _column(cells: Cells, before: list[Cells], rows: int) -> Iterator[str]:
    """The cells of a column; the name of a group is seen in its first row only."""
    names = not cells.number and not any(each.number for each in before)
    keys = list(zip(*(each.texts for each in (*before, cells))))
    for at, text in enumerate(cells.texts[:rows]):
        again = names and at > 0 and keys[at] == keys[at - 1]
        title = cells.titles[at] if cells.titles and "[" not in text else ""
        yield _cell("td" if before or cells.number else "th", text, cells.number, again, title)


def _cell(tag: str, text: str, number: bool, again: bool = False, title: str = "", scope: str = "row") -> str:
    """A cell of the table or its head; a long text is cut, and its title has all of it."""
    if len(text) > LONGEST:
        text, title = f"{text[: LONGEST - 40].rstrip()} …", text
    text = text.replace(" ", "\u00a0") if number and tag == "td" else text
    kind = ' class="num"' if number else (WIDE if len(text) > LONG else "") + (AGAIN if again else LEFT)
    scoped = f' scope="{scope}"' if tag == "th" else ""
    titled = f' title="{html.escape(title)}"' if title else ""
    return f"<{tag}{scoped}{kind}{titled}>{html.escape(text)}</{tag}>"
