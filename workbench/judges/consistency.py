"""Consistency of scores with comparisons, and of comparisons with each other (TrustJudge, arXiv 2509.21117)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures
from workbench.answers import Bools, Floats
from workbench.errors import InputError
from workbench.figures import described
from workbench.judges.cases import Cases
from workbench.judges.readings import Judgement, Variant, in_words, of_first_judge
from workbench.judges.relations import Method, above_chance, aggregate, differences, order_table, sgn, tie_rate, upper
from workbench.statistics import Finding, compact, finding, interval, rows_by
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGE = 30
"""With more candidates, subsets are too many to enumerate."""
DRAWS = 499
"""Bootstrap samples of the cases for an interval."""
CLASSES = ("cycle", "mixed", "equiv")
"""Triples that no weak order fits, by their number of ties: none, one, two."""
RANGE = (1.0, 5.0)
"""Scale on which scores are compared."""


def conflicts(scores: ArrayLike, relations: ArrayLike, delta: float = 0.0) -> pd.DataFrame:
    """Return whether score and comparison disagree, one row per pair of candidates.

    Scores are `[cases, n]` and tie within `delta`; relations are antisymmetric signs `[cases, n, n]`; NaN missing.

    Returns:
        case (index), i, j, and `conflict` with its parts `reversal` (opposite), `score_tie_only`, `pair_tie_only`,
        all NaN if a score or the comparison is missing; `score_tie`, `pair_tie`.
    """
    s, c = np.asarray(scores, np.float64), _relations(relations)
    if s.ndim != 2 or s.shape != c.shape[:2]:
        raise InputError(f"Scores are {list(s.shape)} and relations {list(c.shape)}; both need the same candidates.")
    gap = differences(s)
    size = upper(np.maximum(np.abs(s[:, :, None]), np.abs(s[:, None, :])))
    e, r = sgn(gap, delta, size), upper(c)
    known = ~(np.isnan(e) | np.isnan(r))
    kinds = {
        "conflict": e != r,
        "reversal": e * r == -1,
        "score_tie_only": (e == 0) & (r != 0),
        "pair_tie_only": (e != 0) & (r == 0),
        "score_tie": e == 0,
        "pair_tie": r == 0,
    }
    i, j = np.triu_indices(s.shape[1], 1)
    exists = ~np.isnan(r) | ~np.isnan(gap)
    case, pair = np.nonzero(exists)
    table = {"case": case, "i": i[pair], "j": j[pair]}
    return pd.DataFrame(table | {k: np.where(known, v, np.nan)[exists] for k, v in kinds.items()})


def conflict_ratio(scores: ArrayLike, relations: ArrayLike, delta: float = 0.0) -> dict[str, object]:
    """Return CR, the proportion of pairs whose scores and comparison disagree, with an interval over cases.

    Returns:
        Keys of `statistics.interval` over pairs clustered by case, then `reversal`, `score_tie_only`, `pair_tie_only`
        (their sum is the mean), `macro` (mean over cases), `tie_rate` of the comparisons, `score_tie_rate`, `chance`
        (CR of comparisons unrelated to the scores, with the same proportions of ties) and `n_total`.
    """
    table = conflicts(scores, relations, delta)
    row = interval(table["conflict"], table["case"], "bootstrap", draws=DRAWS, bounds=SHARE)
    parts = {name: float(table[name].mean()) for name in ("reversal", "score_tie_only", "pair_tie_only")}
    ties = {"tie_rate": float(table["pair_tie"].mean()), "score_tie_rate": float(table["score_tie"].mean())}
    macro = float(table.groupby("case")["conflict"].mean().mean()) if len(table) else np.nan
    return {**row, **parts, "macro": macro, **ties, "chance": chance_conflict(table), "n_total": len(table)}


def chance_conflict(table: pd.DataFrame) -> float:
    """CR of comparisons unrelated to the scores with the proportions of ties in a table of `conflicts`."""
    ties, score_ties = float(table["pair_tie"].mean()), float(table["score_tie"].mean())
    return 1 - (ties * score_ties + (1 - ties) * (1 - score_ties) / 2)


def nontransitivity(relations: ArrayLike, k: int = 4) -> dict[str, object]:
    """Return NTR_k, the proportion of k-subsets of a case's candidates that no ranking with ties fits.

    Relations are antisymmetric signs `[cases, n, n]`, NaN missing.

    Returns:
        Keys of `statistics.interval` over subsets clustered by case (undefined if a pair is missing), `tie_rate`,
        `chance` (random relations with that proportion of ties), `chance_strict` (without ties), `n_total`.
    """
    c = _relations(relations)
    table = subsets(c, k)
    row = interval(table["violates"], table["case"], "bootstrap", draws=DRAWS, bounds=SHARE)
    ties = tie_rate(c)
    chance = chance_nontransitivity(k, ties) if k <= 5 and not np.isnan(ties) else np.nan
    strict = chance_nontransitivity(k, 0.0) if k <= 5 else np.nan
    return {**row, "tie_rate": ties, "chance": chance, "chance_strict": strict, "n_total": len(table)}


def triple_classes(relations: ArrayLike) -> dict[str, int]:
    """Return the number of triples by kind of violation, `cycle`, `mixed`, `equiv`, and without one, `ok`."""
    counts = dict.fromkeys(("ok", *CLASSES), 0)
    for x, y, z in _triples(_relations(relations)):
        known = ~np.isnan(x + y + z)
        bad, ties = _violated(x, y, z) & known, (x == 0).astype(int) + (y == 0) + (z == 0)
        counts["ok"] += int((known & ~bad).sum())
        for number, name in enumerate(CLASSES):
            counts[name] += int((bad & (ties == number)).sum())
    return counts


def chance_nontransitivity(k: int, tie_rate: float = 0.0) -> float:
    """NTR_k of random relations that tie with this probability, by enumeration for k = 3, 4, 5."""
    if not (3 <= k <= 5 and 0 <= tie_rate <= 1):
        raise InputError(f"Chance is known for k = 3, 4, 5 and tie rates in [0, 1], not k={k}, tie rate {tie_rate}.")
    return float(_bad_patterns(k, tie_rate).sum())


def chance_tied(tie_rate: float) -> float:
    """Proportion with a tie among the triples that random relations with this rate of ties violate."""
    bad = _bad_patterns(3, tie_rate)
    return float(bad[1:].sum() / bad.sum()) if bad.sum() else float("nan")


def cyclic_proportion(margin: ArrayLike) -> tuple[Floats, Floats]:
    """Return the part of antisymmetric margins `[cases, n, n]` that no score per candidate explains, and the scores.

    The part is |residual|^2 / |margin|^2 of least squares, `[cases]`, NaN if all margins are 0 or missing. Scores
    (potentials) are `[cases, n]`, centred within each set of candidates connected by comparisons.
    """
    y = _relations(margin, signs=False)
    n = y.shape[1]
    i, j = np.triu_indices(n, 1)
    gradient = np.zeros((len(i), n))
    gradient[np.arange(len(i)), i], gradient[np.arange(len(i)), j] = 1, -1
    proportions, potentials = np.full(len(y), np.nan), np.full((len(y), n), np.nan)
    for case, edges in enumerate(upper(y)):
        known = ~np.isnan(edges)
        if not known.any():
            continue
        potentials[case] = np.linalg.lstsq(gradient[known], edges[known], rcond=None)[0]
        residual = edges[known] - gradient[known] @ potentials[case]
        if (total := float(np.sum(edges[known] ** 2))) > 0:
            proportions[case] = np.sum(residual**2) / total
    return proportions, potentials


def _bad_patterns(k: int, tie_rate: float) -> Floats:
    """Probability that random relations violate transitivity, by their number of ties."""
    counts = _bad_counts(k)
    ties = np.arange(len(counts))
    return counts * tie_rate**ties * ((1 - tie_rate) / 2) ** (len(counts) - 1 - ties)


@cache
def _bad_counts(k: int) -> Floats:
    """Number of relations of k candidates that no ranking with ties fits, by their number of ties."""
    pairs = list(combinations(range(k), 2))
    patterns = np.array(list(product((-1.0, 0.0, 1.0), repeat=len(pairs))))
    at = {pair: patterns[:, column] for column, pair in enumerate(pairs)}
    bad = np.zeros(len(patterns), bool)
    for a, b, c in combinations(range(k), 3):
        bad |= _violated(at[a, b], at[b, c], at[a, c])
    return np.bincount((patterns[bad] == 0).sum(axis=1), minlength=len(pairs) + 1).astype(np.float64)


def _violated(x: Floats, y: Floats, z: Floats) -> Bools:
    """Whether no ranking with ties fits the relations x (a, b), y (b, c), z (a, c)."""
    return (x * y != -1) & (z != np.sign(x + y))


def _triples(c: Floats) -> Iterator[tuple[Floats, Floats, Floats]]:
    for a, b, d in combinations(range(c.shape[1]), 3):
        yield c[:, a, b], c[:, b, d], c[:, a, d]


def subsets(relations: ArrayLike, k: int) -> pd.DataFrame:
    """Return whether each k-subset of a case's candidates violates transitivity: case, `violates` (NaN if unknown)."""
    c = _relations(relations)
    n = c.shape[1]
    if k < 3:
        raise InputError(f"k={k}: transitivity needs at least three candidates.")
    if n > LARGE:
        raise InputError(f"{n} candidates have too many subsets; compare at most {LARGE}.")
    present = np.asarray((~np.isnan(c)).any(axis=2))
    cases, violates = [np.empty(0, np.int64)], [np.empty(0)]
    for subset in combinations(range(n), k):
        there = present[:, list(subset)].all(axis=1)
        bad, unknown = np.zeros(len(c), bool), np.zeros(len(c), bool)
        for x, y, z in _triples(c[:, subset][:, :, subset]):
            bad |= _violated(x, y, z)
            unknown |= np.isnan(x + y + z)
        cases.append(np.flatnonzero(there))
        violates.append(np.where(unknown, np.nan, bad)[there])
    return pd.DataFrame({"case": np.concatenate(cases), "violates": np.concatenate(violates)})


def _relations(relations: ArrayLike, signs: bool = True) -> Floats:
    """Return relations, checked for shape, antisymmetry and values."""
    c = np.asarray(relations, np.float64)
    if c.ndim != 3 or c.shape[1] != c.shape[2]:
        raise InputError(f"Relations must be [cases, n, n], not {list(c.shape)}.")
    turned = c + np.swapaxes(c, 1, 2)
    off = ~np.eye(c.shape[1], dtype=bool)
    if (np.abs(turned[:, off]) > 1e-9).any() or (np.isnan(c) != np.isnan(np.swapaxes(c, 1, 2))).any():
        raise InputError("Relations must be antisymmetric: if i beats j, j loses to i; aggregate both orders first.")
    if signs and not np.isin(c[~np.isnan(c)], (-1.0, 0.0, 1.0)).all():
        raise InputError("Relations must be -1, 0 or 1 (NaN if missing).")
    return c


METHODS: tuple[Method, ...] = ("two_pass", "likelihood", "debiased_logit", "ppl", "single_order")
COMPARED: tuple[Method, ...] = ("two_pass", "likelihood")
SCORINGS: tuple[Variant, ...] = ("argmax", "expected", "geval", "trustjudge_repo")


def conflict_table(judgements: Iterable[Judgement], scales: Sequence[str], pair: str) -> pd.DataFrame:
    """Return the conflict ratio of every judge, scale, scoring and aggregation, one row each.

    `scales` are prompts that score one answer ("score 1-5", "score 1-100"); all scores are rescaled to 1 ... 5.
    """
    rows = []
    for judge in judgements:
        relations = {method: aggregate(judge.pairs(pair), method).sign for method in COMPARED}
        for scale, variant in product(scales, SCORINGS):
            scores = judge.scores(scale, variant, RANGE)
            for method, sign in relations.items():
                setting = {"judge": judge.judge, "scale": scale, "scoring": variant, "aggregation": method}
                rows.append(setting | {"delta": 0.0, "metric": "CR", **conflict_ratio(scores, sign)})
    return pd.DataFrame(rows)


def transitivity_table(judgements: Iterable[Judgement], pair: str, ks: Sequence[int] = (3, 4, 5)) -> pd.DataFrame:
    """Return NTR_k, the kinds of violations and the cyclic proportion of every judge and aggregation."""
    rows = []
    for judge, method in product(judgements, METHODS):
        relations = aggregate(judge.pairs(pair), method)
        proportions = pd.Series(cyclic_proportion(relations.margin)[0])
        rest = {**triple_classes(relations.sign), "cyclic_proportion": proportions.mean()}
        for k in ks:
            setting = {"judge": judge.judge, "aggregation": method, "delta": 0.0, "k": k, "metric": f"NTR{k}"}
            rows.append({**setting, **nontransitivity(relations.sign, k), **rest})
    return pd.DataFrame(rows)


def tolerance_sweep(judge: Judgement, scale: str, pair: str, deltas: Sequence[float], k: int = 4) -> pd.DataFrame:
    """Return CR, NTR_k and the rate of ties by tolerance, in long form: delta, metric, mean, low, high, n, n_clusters.

    The same tolerance applies to scores (on 1 ... 5) and to the lead of the likelihood method.
    """
    rows: list[dict[str, object]] = []
    scores = judge.scores(scale, scale=RANGE)
    for delta in deltas:
        relations = aggregate(judge.pairs(pair), "likelihood", delta)
        results: dict[str, dict[str, object]] = {
            "conflict ratio": conflict_ratio(scores, relations.sign, delta),
            f"NTR{k}": nontransitivity(relations.sign, k),
            "ties among comparisons": {"mean": tie_rate(relations.sign)},
        }
        rows += [{"delta": delta, "metric": name, **result} for name, result in results.items()]
    return pd.DataFrame(rows)[["delta", "metric", "mean", "low", "high", "n", "n_clusters"]]


BASELINES: tuple[tuple[str, Variant], ...] = (("fine", "argmax"), ("scale", "expected"))
"""Scorings on the coarsest scale that expected scores on the finest scale are compared with."""


def contrasts(judge: Judgement, scales: Sequence[str], pair: str, k: int = 5) -> pd.DataFrame:
    """Return differences between scorings and aggregations of one judge, paired and clustered by case.

    `scales` are prompts that score one answer, from the coarsest scale to the finest; k is 3 to 5.

    Returns:
        One row per `contrast`, with the keys of `statistics.interval` and `explained`, the difference due to ties:

        - `fine, two_pass`: conflict ratio of expected scores on the finest scale minus that of the most probable level
          on the coarsest, both with two-pass comparisons, as in TrustJudge; `fine, likelihood` with comparisons by
          likelihood.
        - `scale, two_pass`, `scale, likelihood`: the same, with expected scores on both scales.
        - `aggregation`: conflict ratio of expected scores on the finest scale, likelihood minus two-pass.
        - `transitivity`: proportion of k-subsets that no ranking fits, likelihood minus two-pass.
        - `tied`: proportion with a tie among the triples that two-pass comparisons violate; `tied, above chance`: minus
          that of random relations with as many ties.
    """
    relations = {method: aggregate(judge.pairs(pair), method) for method in COMPARED}
    rows: dict[str, dict[str, object]] = {}
    finest, violations, by_chance = {}, {}, {}
    for method, relation in relations.items():
        finest[method] = fine = conflicts(judge.scores(scales[-1]), relation.sign)
        for name, variant in BASELINES:
            other = conflicts(judge.scores(scales[0], variant), relation.sign)
            rows[f"{name}, {method}"] = _difference(fine, other, chance_conflict(fine) - chance_conflict(other))
        violations[method] = subsets(relation.sign, k).rename(columns={"violates": "conflict"})
        ties = tie_rate(relation.sign)
        by_chance[method] = np.nan if np.isnan(ties) else chance_nontransitivity(k, ties)
    one, two = finest["likelihood"], finest["two_pass"]
    rows["aggregation"] = _difference(one, two, chance_conflict(one) - chance_conflict(two))
    explained = by_chance["likelihood"] - by_chance["two_pass"]
    rows["transitivity"] = _difference(violations["likelihood"], violations["two_pass"], explained)
    kinds = [triple_classes(sign[None]) for sign in relations["two_pass"].sign]
    tied = [np.repeat([1.0, 0.0], [each["mixed"] + each["equiv"], each["cycle"]]) for each in kinds]
    cases = np.repeat(np.arange(len(tied)), [len(each) for each in tied])
    row = interval(np.concatenate(tied), cases, "bootstrap", bounds=SHARE)
    chance = chance_tied(tie_rate(relations["two_pass"].sign))
    rows["tied"] = {**row, "explained": chance}
    above = {name: row[name] - chance for name in ("mean", "low", "high")}
    rows["tied, above chance"] = {**row, **above, "explained": 0.0}
    return pd.DataFrame(rows).T.rename_axis("contrast").infer_objects().reset_index()


def _difference(one: pd.DataFrame, other: pd.DataFrame, explained: float) -> dict[str, object]:
    difference = one["conflict"].to_numpy() - other["conflict"].to_numpy()
    return {**interval(difference, one["case"], "bootstrap", bounds=(-1, 1)), "explained": explained}


def sizes(cases: Cases) -> list[int]:
    """Return the sizes of subsets to test for transitivity: 3, 4, 5 as far as the cases have as many answers."""
    return [k for k in (3, 4, 5) if k <= cases.scores.shape[1]] or [3]


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a `conflict_table` or a `transitivity_table` for display."""
    return compact(table, drop=["metric", "macro"])


def model_conflicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first judge in a `conflict_table`, without the scoring method used for audits."""
    parts = {"score_tie_only": "score tie", "pair_tie_only": "pair tie"}
    columns = ["scale", "scoring", "aggregation", "mean", "low", "high", "n", "n_clusters", "chance", "reversal"]
    rows = of_first_judge(table)
    return rows.loc[rows["scoring"] != "trustjudge_repo", [*columns, *parts]].rename(columns=parts)


def of_largest(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a `transitivity_table` for the largest subsets."""
    return rates[rates["k"] == rates["k"].max()]


def model_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first judge in a `transitivity_table` for the largest subsets."""
    columns = ["aggregation", "k", "mean", "low", "high", "n", "n_clusters", "chance", "tie_rate"]
    return of_largest(of_first_judge(rates))[[*columns, *CLASSES, "cyclic_proportion"]]


def planted_rates(table: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Return both measures of all judges but the first: expected scores, finest scale, likelihood aggregation."""
    finest = table[(table["scoring"] == "expected") & (table["scale"] == table["scale"].iloc[-1])]
    both = pd.concat([finest, of_largest(rates)])
    both = both[(both["aggregation"] == "likelihood") & (both["judge"] != table["judge"].iloc[0])]
    columns = ["judge", "metric", "mean", "low", "high", "n", "n_clusters", "tie_rate", "chance"]
    both = both.sort_values("metric")[columns]
    both.attrs["reason"] = "no planted judges, or no marks that say which answers are better"
    return both


def items(judge: Judgement, cases: Cases, scale: str, pair: str) -> pd.DataFrame:
    """Return conflicts of scores and comparisons, accuracy and position bias by pair, for `compare`."""
    pairs = judge.pairs(pair)
    fine = conflicts(judge.scores(scale), aggregate(pairs, "two_pass").sign)
    both = pd.concat([fine, order_table(pairs, cases.scores)]).rename(columns={"random": "right"})
    names = np.array(cases.ids)[both["case"]]
    return both[["conflict", "reversal", "pair_tie", "right", "position"]].assign(question_id=names)


def main_ratio(table: pd.DataFrame) -> pd.Series[Any]:
    """Return the row of the headline: first judge, finest scale, expected scores, two-pass comparisons."""
    rows = of_first_judge(table)
    return rows[(rows["scoring"] == "expected") & (rows["aggregation"] == "two_pass")].iloc[-1]


PAPER, HERE = "TrustJudge, arXiv 2509.21117", "this notebook"
FINE = "Expected scores on the finest scale conflict less than the most probable level on the coarsest"
SCALE = "Expected scores conflict less on the finest scale than on the coarsest"
CLAIMS = {
    "fine, two_pass": f"{FINE} (Llama-3.1-70B: 23.3 to 14.9 %)",
    "scale, two_pass": f"{SCALE} (17.1 to 14.9 %)",
    "fine, likelihood": f"{FINE}, compared by likelihood",
    "scale, likelihood": f"{SCALE}, compared by likelihood",
    "aggregation": "Likelihood aggregation conflicts less with scores than two-pass aggregation",
    "transitivity": "Likelihood aggregation is more transitive than two-pass aggregation (15.2 to 4.4 %)",
}
"""Contrast -> claim that it is below what ties explain."""
PUBLISHED = ("fine, two_pass", "scale, two_pass", "transitivity")
"""Contrasts of the paper."""


def findings(table: pd.DataFrame, contrasts: pd.DataFrame, orders: pd.DataFrame) -> list[Finding]:
    """Return the claims of TrustJudge and of the controls, tested on the first judge of a `conflict_table`.

    The mean of a contrast must be below the part explained by ties.
    """
    row = rows_by(contrasts.assign(beyond=contrasts["explained"].clip(upper=0).fillna(0)), "contrast")
    sources = {name: PAPER if name in PUBLISHED else f"{HERE}, after {PAPER}" for name in CLAIMS}
    words = dict.fromkeys(CLAIMS, "difference of conflict ratios") | {"transitivity": "difference of non-transitivity"}
    explained = "what ties explain"
    claims = [
        finding(claim, sources[name], row[name], "below", row[name]["beyond"], "", words[name], explained)
        for name, claim in CLAIMS.items()
    ]
    ties = (
        "Triples that two-pass aggregation violates have a tie more often than random ones with as many ties "
        f"({row['tied']['mean']:.0%} of them; Llama-3.1-8B: 84.6 %)"
    )
    best, pairs = main_ratio(table), orders[orders["judge"] == table["judge"].iloc[0]]
    right = interval(pairs["random"], pairs["case"], "wilson")
    unrelated = "Scores and comparisons conflict less than unrelated ones"
    return [
        *claims,
        finding(
            ties, PAPER, row["tied, above chance"], "above", 0.0, "", "proportion with a tie, less chance", "at chance"
        ),
        finding(unrelated, HERE, best, "below", best["chance"], "", "conflict ratio", "unrelated judgements"),
        above_chance(right, HERE),
    ]


def draw_conflicts(table: pd.DataFrame) -> Figure:
    """Draw the first judge's conflict ratio by scale, scoring and aggregation."""
    rows = in_words(model_conflicts(table))
    rows["scale"] = "scores " + rows["scale"].str.removeprefix("score ").str.replace("-", " to ")
    named: dict[str, Any] = {"baseline": "chance", "baseline_name": "unrelated scores and comparisons", "of": "pairs"}
    label = "conflict ratio (proportion of pairs)"
    drawn = figures.intervals(rows, ["scale", "scoring"], by="aggregation", xlabel=label, **named)
    alt = "Conflict ratio of the model by scale, scoring and aggregation, beside that of unrelated comparisons."
    return described(drawn, alt)


def draw_rates(rates: pd.DataFrame) -> Figure:
    """Draw the non-transitivity of every judge by aggregation."""
    label = f"proportion of sets of {rates['k'].max()} answers that no ranking fits"
    named: dict[str, Any] = {"baseline": "chance", "baseline_name": "random comparisons, as many ties", "of": "sets"}
    drawn = figures.intervals(in_words(of_largest(rates)), "aggregation", by="judge", xlabel=label, **named)
    alt = "Non-transitivity rate by aggregation for the model and the planted judges, beside that of random relations."
    return described(drawn, alt)


def draw_sweep(sweep: pd.DataFrame) -> Figure:
    """Draw the rates of a `tolerance_sweep`."""
    rows = sweep.assign(metric=sweep["metric"].str.replace(r"NTR(\d+)", r"sets of \1 that no ranking fits", regex=True))
    labels: dict[str, Any] = {"xlabel": "tolerance (difference of scores from 1 to 5)", "ylabel": "proportion"}
    drawn = figures.curves(rows, "delta", by="metric", why="proportion of all comparisons", **labels)
    return described(drawn, "Conflict ratio, non-transitivity and tie rate of the model against the tolerance.")
