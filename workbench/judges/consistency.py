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
from workbench.judges.readings import (
    Judgement,
    Variant,
    rescale,
)
from workbench.judges.relations import Method, aggregate, order_table, sgn, upper
from workbench.statistics import Finding, finding, interval, rows_by
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGE = 30
"""Beyond as many candidates subsets are drawn, not listed."""
DRAWS = 499
"""Bootstrap samples of cases behind an interval."""
CLASSES = ("cycle", "mixed", "equiv")
"""Triples no weak order fits, by their number of ties: none, one, two."""


def conflicts(scores: ArrayLike, relations: ArrayLike, delta: float = 0.0) -> pd.DataFrame:
    """Whether score and comparison disagree, one row a pair of candidates.

    Args:
        scores: `[cases, n]`, NaN where unread.
        relations: Antisymmetric signs `[cases, n, n]`, NaN where unread.
        delta: Scores within it tie, at least 0.

    Returns:
        case (index), i, j, and `conflict` with its split `reversal` (opposite), `score_tie_only`, `pair_tie_only`,
        all NaN where a score or the comparison is missing; `score_tie`, `pair_tie`.
    """
    s, c = _scores(scores), _relations(relations)
    if s.shape != c.shape[:2]:
        raise InputError(f"Scores are {list(s.shape)} and relations {list(c.shape)}; both need the same candidates.")
    scale = np.maximum(np.abs(s[:, :, None]), np.abs(s[:, None, :]))
    e, r = upper(sgn(s[:, :, None] - s[:, None, :], delta, scale)), upper(c)
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
    exists = upper((~np.isnan(c) | (~np.isnan(s[:, :, None]) & ~np.isnan(s[:, None, :]))).astype(np.float64)) > 0
    case, pair = np.nonzero(exists)
    table = {"case": case, "i": i[pair], "j": j[pair]}
    return pd.DataFrame(table | {k: np.where(known, v, np.nan)[exists] for k, v in kinds.items()})


def conflict_ratio(scores: ArrayLike, relations: ArrayLike, delta: float = 0.0) -> dict[str, object]:
    """CR: the proportion of pairs whose scores and comparison disagree, with an interval over cases.

    Returns:
        Keys of `statistics.interval` over pairs clustered by case, then `reversal`, `score_tie_only`, `pair_tie_only`
        (they add up to the mean), `macro` (mean over cases), `tie_rate` of the comparisons, `score_tie_rate`,
        `chance` (CR of comparisons unrelated to the scores, with the same proportions of ties) and `n_total`.
    """
    table = conflicts(scores, relations, delta)
    found = interval(table["conflict"], table["case"], "bootstrap", draws=DRAWS, bounds=SHARE)
    parts = {name: float(table[name].mean()) for name in ("reversal", "score_tie_only", "pair_tie_only")}
    ties, score_ties = float(table["pair_tie"].mean()), float(table["score_tie"].mean())
    macro = float(table.groupby("case")["conflict"].mean().mean()) if len(table) else np.nan
    rates = {"macro": macro, "tie_rate": ties, "score_tie_rate": score_ties, "chance": chance_conflict(table)}
    return {**found, **parts, **rates, "n_total": len(table)}


def chance_conflict(table: pd.DataFrame) -> float:
    """CR of comparisons unrelated to the scores with the proportions of ties of a table of `conflicts`."""
    ties, score_ties = float(table["pair_tie"].mean()), float(table["score_tie"].mean())
    return 1 - (ties * score_ties + (1 - ties) * (1 - score_ties) / 2)


def nontransitivity(
    relations: ArrayLike, k: int = 4, max_subsets: int | None = None, seed: int = 0
) -> dict[str, object]:
    """NTR_k: the proportion of k-subsets of a case's candidates that no ranking with ties fits.

    Args:
        relations: Antisymmetric signs `[cases, n, n]`, NaN where unread.
        k: Candidates in a subset, at least 3.
        max_subsets: Draw as many subsets a case; needed beyond 30 candidates.
        seed: Of that draw.

    Returns:
        Keys of `statistics.interval` over subsets clustered by case (subsets with an unread pair are undefined),
        `tie_rate`, `chance` (random relations with that proportion of ties), `chance_strict` (without ties), `n_total`.
    """
    c = _relations(relations)
    table = subsets(c, k, max_subsets, seed)
    found = interval(table["violates"], table["case"], "bootstrap", draws=DRAWS, bounds=SHARE)
    pairs = upper(c)
    ties = float(np.mean(pairs[~np.isnan(pairs)] == 0)) if (~np.isnan(pairs)).any() else np.nan
    chance = chance_nontransitivity(k, ties) if k <= 5 and not np.isnan(ties) else np.nan
    strict = chance_nontransitivity(k, 0.0) if k <= 5 else np.nan
    return {**found, "tie_rate": ties, "chance": chance, "chance_strict": strict, "n_total": len(table)}


def triple_classes(relations: ArrayLike) -> dict[str, int]:
    """How many triples violate transitivity in which way: `cycle`, `mixed`, `equiv`, and how many do not (`ok`)."""
    counts = dict.fromkeys(("ok", *CLASSES), 0)
    for x, y, z in _triples(_relations(relations)):
        known = ~np.isnan(x + y + z)
        bad, ties = _violated(x, y, z) & known, (x == 0).astype(int) + (y == 0) + (z == 0)
        counts["ok"] += int((known & ~bad).sum())
        for number, name in enumerate(CLASSES):
            counts[name] += int((bad & (ties == number)).sum())
    return counts


def chance_nontransitivity(k: int, tie_rate: float = 0.0) -> float:
    """NTR_k of relations drawn at random, a tie with this probability, else either way: enumerated, k = 3, 4, 5."""
    if not (3 <= k <= 5 and 0 <= tie_rate <= 1):
        raise InputError(f"Chance is known for k = 3, 4, 5 and tie rates in [0, 1], not k={k}, tie rate {tie_rate}.")
    n_pairs, bad_by_ties = k * (k - 1) // 2, _bad_patterns(k)
    ties = np.arange(n_pairs + 1)
    return float(np.sum(bad_by_ties * tie_rate**ties * ((1 - tie_rate) / 2) ** (n_pairs - ties)))


def chance_tied(tie_rate: float) -> float:
    """Proportion of the triples that random relations with this rate of ties violate which hold a tie."""
    bad = _bad_patterns(3) * tie_rate ** np.arange(4) * ((1 - tie_rate) / 2) ** (3 - np.arange(4))
    return float(bad[1:].sum() / bad.sum()) if bad.sum() else float("nan")


def cyclic_share(margin: ArrayLike) -> tuple[Floats, Floats]:
    """How much of the margins no score per candidate explains: |residual|^2 / |margin|^2 of the least-squares fit.

    Args:
        margin: Antisymmetric, `[cases, n, n]`, NaN where unread.

    Returns:
        Share per case `[cases]` (NaN where all margins are 0 or unread), and potentials `[cases, n]`, centred within
        each set of candidates that comparisons connect.
    """
    y = _relations(margin, signs=False)
    n = y.shape[1]
    i, j = np.triu_indices(n, 1)
    gradient = np.zeros((len(i), n))
    gradient[np.arange(len(i)), i], gradient[np.arange(len(i)), j] = 1, -1
    shares, potentials = np.full(len(y), np.nan), np.full((len(y), n), np.nan)
    for case, edges in enumerate(upper(y)):
        known = ~np.isnan(edges)
        if not known.any():
            continue
        potentials[case] = np.linalg.lstsq(gradient[known], edges[known], rcond=None)[0]
        residual = edges[known] - gradient[known] @ potentials[case]
        if (total := float(np.sum(edges[known] ** 2))) > 0:
            shares[case] = np.sum(residual**2) / total
    return shares, potentials


@cache
def _bad_patterns(k: int) -> Floats:
    """How many relations of k candidates no ranking with ties fits, by their number of ties."""
    pairs = list(combinations(range(k), 2))
    patterns = np.array(list(product((-1.0, 0.0, 1.0), repeat=len(pairs))))
    at = {pair: patterns[:, column] for column, pair in enumerate(pairs)}
    bad = np.zeros(len(patterns), bool)
    for a, b, c in combinations(range(k), 3):
        bad |= _violated(at[a, b], at[b, c], at[a, c])
    return np.bincount((patterns[bad] == 0).sum(axis=1), minlength=len(pairs) + 1).astype(np.float64)


def _violated(x: Floats, y: Floats, z: Floats) -> Bools:
    """Triples a-b-c with relations x (a, b), y (b, c), z (a, c) that no ranking with ties fits."""
    return (x * y != -1) & (z != np.sign(x + y))


def _triples(c: Floats) -> Iterator[tuple[Floats, Floats, Floats]]:
    for a, b, d in combinations(range(c.shape[1]), 3):
        yield c[:, a, b], c[:, b, d], c[:, a, d]


def subsets(relations: ArrayLike, k: int, max_subsets: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Whether each k-subset of a case's candidates violates transitivity: case, `violates` (NaN if a pair is unread).

    Subsets with a candidate a case does not have are no subsets of it; see `nontransitivity` for the arguments.
    """
    c = _relations(relations)
    n = c.shape[1]
    if k < 3:
        raise InputError(f"k={k}: transitivity is about three candidates or more.")
    if n > LARGE and max_subsets is None:
        raise InputError(f"{n} candidates have very many subsets; give max_subsets to draw some.")
    rng = np.random.default_rng(seed)
    present: Bools = np.asarray((~np.isnan(c)).any(axis=2))
    found: list[Floats] = []
    case: list[Floats] = []
    if max_subsets is None:
        chosen = list(combinations(range(n), k))
    else:
        chosen = [tuple(sorted(rng.choice(n, k, replace=False))) for _ in range(max_subsets if k <= n else 0)]
    for subset in chosen:
        there = present[:, list(subset)].all(axis=1)
        bad, unknown = np.zeros(len(c), bool), np.zeros(len(c), bool)
        for x, y, z in _triples(c[:, subset][:, :, subset]):
            bad |= _violated(x, y, z)
            unknown |= np.isnan(x + y + z)
        found.append(np.where(unknown, np.nan, bad)[there])
        case.append(np.flatnonzero(there).astype(np.float64))
    columns = {"case": np.concatenate([*case, np.empty(0)]), "violates": np.concatenate([*found, np.empty(0)])}
    return pd.DataFrame(columns).astype({"case": int})


def _scores(scores: ArrayLike) -> Floats:
    s = np.asarray(scores, np.float64)
    if s.ndim != 2:
        raise InputError(f"Scores must be [cases, candidates], not {list(s.shape)}.")
    return s


def _relations(relations: ArrayLike, signs: bool = True) -> Floats:
    """Antisymmetric relations of the right shape."""
    c = np.asarray(relations, np.float64)
    if c.ndim != 3 or c.shape[1] != c.shape[2]:
        raise InputError(f"Relations must be [cases, n, n], not {list(c.shape)}.")
    turned = c + np.swapaxes(c, 1, 2)
    off = ~np.eye(c.shape[1], dtype=bool)
    if (np.abs(turned[:, off]) > 1e-9).any() or (np.isnan(c) != np.isnan(np.swapaxes(c, 1, 2))).any():
        raise InputError("Relations must be antisymmetric: if i beats j, j loses to i; put both orders together first.")
    if signs and not np.isin(c[~np.isnan(c)], (-1.0, 0.0, 1.0)).all():
        raise InputError("Relations must be -1, 0 or 1 (NaN where unread).")
    return c


METHODS: tuple[Method, ...] = ("two_pass", "likelihood", "debiased_logit", "ppl", "single_order")
SCORINGS: tuple[Variant, ...] = ("argmax", "expected", "geval", "trustjudge_repo")


def conflict_table(
    judgements: Iterable[Judgement],
    scales: Sequence[str],
    pair: str,
    variants: Sequence[Variant] = SCORINGS,
    methods: Sequence[Method] = ("two_pass", "likelihood"),
    delta: float = 0.0,
) -> pd.DataFrame:
    """The conflict ratio of every judge, scale, scoring and aggregation, one row each.

    Args:
        judgements: The judges.
        scales: Prompts that score one answer, as "score 1-5"; all scores are carried to 1 ... 5.
        pair: The prompt that compares two.
        variants: Ways of scoring.
        methods: Ways of putting both orders together.
        delta: Scores within it tie, on the scale 1 ... 5; comparisons at their own tolerance 0.
    """
    rows = []
    for j in judgements:
        relations = {method: aggregate(j.pairs(pair), method).sign for method in methods}
        for scale in scales:
            ends = (float(j.of(scale).values.min()), float(j.of(scale).values.max()))
            for variant in variants:
                scores = rescale(j.scores(scale, variant), ends, (1, 5))
                for method, sign in relations.items():
                    found = conflict_ratio(scores, sign, delta)
                    about = {
                        "judge": j.judge,
                        "scale": scale,
                        "scoring": variant,
                        "aggregation": method,
                        "delta": delta,
                    }
                    rows.append(about | {"metric": "CR", **found})
    return pd.DataFrame(rows)


def transitivity_table(
    judgements: Iterable[Judgement],
    pair: str,
    methods: Sequence[Method] = METHODS,
    ks: Sequence[int] = (3, 4, 5),
    delta: float = 0.0,
) -> pd.DataFrame:
    """NTR_k, the classes of violations and the cyclic proportion of every judge and aggregation."""
    rows = []
    for j in judgements:
        for method in methods:
            relations = aggregate(j.pairs(pair), method, delta)
            shares = cyclic_share(relations.margin)[0]
            classes = triple_classes(relations.sign)
            for k in ks:
                about = {"judge": j.judge, "aggregation": method, "delta": delta, "k": k, "metric": f"NTR{k}"}
                found = nontransitivity(relations.sign, k)
                rows.append({**about, **found, **classes, "cyclic_share": _mean(shares)})
    return pd.DataFrame(rows)


def tolerance_sweep(j: Judgement, scale: str, pair: str, deltas: Sequence[float], k: int = 4) -> pd.DataFrame:
    """Return CR, NTR_k and the rate of ties as the tolerance grows, in long form: delta, metric, mean, low, high, n.

    One tolerance serves scores (on 1 ... 5) and the lead of the likelihood method alike.
    """
    rows: list[dict[str, object]] = []
    reads = j.of(scale)
    scores = rescale(j.scores(scale), (float(reads.values.min()), float(reads.values.max())), (1, 5))
    for delta in deltas:
        relations = aggregate(j.pairs(pair), "likelihood", delta)
        ties: dict[str, object] = {"mean": relations.tie_rate, "low": np.nan, "high": np.nan}
        results: dict[str, dict[str, object]] = {
            "conflict ratio": conflict_ratio(scores, relations.sign, delta),
            f"NTR{k}": nontransitivity(relations.sign, k),
            "ties among comparisons": ties,
        }
        rows += [{"delta": delta, "metric": name, **found} for name, found in results.items()]
    return pd.DataFrame(rows)[["delta", "metric", "mean", "low", "high", "n", "n_clusters"]]


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


CONTRASTED: tuple[Method, ...] = ("two_pass", "likelihood")
READINGS: tuple[tuple[str, Variant], ...] = (("fine", "argmax"), ("scale", "expected"))
"""What expected scores on the finest scale are held against, on the coarsest."""


def contrasts(judge: Judgement, scales: Sequence[str], pair: str, k: int = 5) -> pd.DataFrame:
    """Differences between readings of one judge, paired by pair or subset of answers and clustered by case.

    Args:
        judge: All it says of the same cases.
        scales: Prompts that score one answer, from the coarsest scale to the finest.
        pair: The prompt that compares two.
        k: Answers in a subset, 3 to 5.

    Returns:
        A row per `contrast`, with the keys of `statistics.interval`, and `explained`, what ties alone make of it:

        - `fine, two_pass`: conflict ratio of expected scores on the finest scale less that of the most probable level
          on the coarsest, both against agreement of two verdicts, as in TrustJudge; `fine, likelihood` against the
          more probable verdict over both orders.
        - `scale, two_pass`, `scale, likelihood`: the same of expected scores on both scales.
        - `aggregation`: conflict ratio of expected scores on the finest scale against likelihood aggregation less that
          against agreement of two.
        - `transitivity`: rate of k-subsets no ranking fits, likelihood aggregation less agreement of two.
        - `tied`: proportion of the triples violated by agreement of two that hold a tie; `tied, above chance`: less
          that in random relations with as many ties.
    """
    relations = {method: aggregate(judge.pairs(pair), method) for method in CONTRASTED}
    found: dict[str, dict[str, object]] = {}
    of, broken, by_chance = {}, {}, {}
    for method, told in relations.items():
        of[method] = fine = conflicts(judge.scores(scales[-1]), told.sign)
        for name, variant in READINGS:
            other = conflicts(judge.scores(scales[0], variant), told.sign)
            found[f"{name}, {method}"] = _less(fine, other, chance_conflict(fine) - chance_conflict(other))
        broken[method] = subsets(told.sign, k).rename(columns={"violates": "conflict"})
        known = not np.isnan(told.tie_rate)
        by_chance[method] = chance_nontransitivity(k, told.tie_rate) if known else np.nan
    explained = chance_conflict(of["likelihood"]) - chance_conflict(of["two_pass"])
    found["aggregation"] = _less(of["likelihood"], of["two_pass"], explained)
    explained = by_chance["likelihood"] - by_chance["two_pass"]
    found["transitivity"] = _less(broken["likelihood"], broken["two_pass"], explained)
    kinds = [triple_classes(sign[None]) for sign in relations["two_pass"].sign]
    tied = [np.repeat([1.0, 0.0], [each["mixed"] + each["equiv"], each["cycle"]]) for each in kinds]
    cases = np.repeat(np.arange(len(tied)), [len(each) for each in tied])
    share, chance = (
        interval(np.concatenate(tied), cases, "bootstrap", bounds=SHARE),
        chance_tied(relations["two_pass"].tie_rate),
    )
    found["tied"] = {**share, "explained": chance}
    found["tied, above chance"] = share | {name: share[name] - chance for name in ("mean", "low", "high")}
    found["tied, above chance"]["explained"] = 0.0
    return pd.DataFrame(found).T.rename_axis("contrast").infer_objects().reset_index()


def _less(one: pd.DataFrame, other: pd.DataFrame, explained: float) -> dict[str, object]:
    difference = one["conflict"].to_numpy() - other["conflict"].to_numpy()
    return {**interval(difference, one["case"], "bootstrap", bounds=(-1, 1)), "explained": explained}


def sizes(cases: Cases) -> list[int]:
    """Return the sizes of subsets to test for transitivity: those of 3, 4, 5 that the cases' answers fill."""
    return [k for k in (3, 4, 5) if k <= cases.scores.shape[1]] or [3]


def own_conflicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first judge in a `conflict_table`, without the scoring that is there for audits."""
    columns = ["scale", "scoring", "aggregation", "mean", "low", "high", "n", "n_clusters", "chance"]
    own = table[(table["judge"] == table["judge"].iloc[0]) & (table["scoring"] != "trustjudge_repo")]
    parts = {"score_tie_only": "score tie", "pair_tie_only": "pair tie"}
    return own[[*columns, "reversal", *parts]].rename(columns=parts)


def of_largest(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a `transitivity_table` about the largest subsets."""
    return rates[rates["k"] == rates["k"].max()]


def own_rates(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first judge in a `transitivity_table` about the largest subsets."""
    own = rates[(rates["judge"] == rates["judge"].iloc[0]) & (rates["k"] == rates["k"].max())]
    columns = ["aggregation", "k", "mean", "low", "high", "n", "n_clusters", "chance", "tie_rate"]
    return own[[*columns, *CLASSES, "cyclic_share"]]


def planted_rates(table: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """Return both measures of all judges but the first: expected scores, finest scale, likelihood aggregation.

    Args:
        table: Made by `conflict_table`.
        rates: Made by `transitivity_table`.
    """
    last = of_largest(rates)
    finest = table[
        (table["scoring"] == "expected")
        & (table["aggregation"] == "likelihood")
        & (table["scale"] == table["scale"].iloc[-1])
    ]
    both = pd.concat([finest, last[last["aggregation"] == "likelihood"]])
    found = both[both["judge"] != table["judge"].iloc[0]].sort_values("metric")
    found = found[["judge", "metric", "mean", "low", "high", "n", "n_clusters", "tie_rate", "chance"]]
    found.attrs["reason"] = "no planted judges, or nobody says which answers are better"
    return found


def items(judge: Judgement, cases: Cases, scale: str, pair: str) -> pd.DataFrame:
    """Return what `compare` pairs runs by: conflicts of scores and comparisons, and accuracy and position, by pair."""
    fine = conflicts(judge.scores(scale), aggregate(judge.pairs(pair), "two_pass").sign)
    both = pd.concat([fine, order_table(judge.pairs(pair), cases.scores)]).rename(columns={"random": "right"})
    names = np.array(cases.ids)[both["case"]]
    return both[["conflict", "reversal", "pair_tie", "right", "position"]].assign(question_id=names)


def main_ratio(table: pd.DataFrame) -> pd.Series[Any]:
    """Return the row of the headline: first judge, finest scale, expected scores, agreement of two verdicts."""
    own = table[table["judge"] == table["judge"].iloc[0]]
    return own[(own["scoring"] == "expected") & (own["aggregation"] == "two_pass")].iloc[-1]


def findings(table: pd.DataFrame, contrasts: pd.DataFrame, orders: pd.DataFrame) -> list[Finding]:
    """Return the claims of TrustJudge and of the controls, tested on the first judge.

    Args:
        table: Made by `conflict_table`.
        contrasts: Made by `contrasts`. A difference must lie below what ties explain of it.
        orders: Made by `relations.order_tables`.
    """
    here, reported = "this notebook", "TrustJudge, arXiv 2509.21117"
    after = f"{here}, after arXiv 2509.21117"
    row = rows_by(contrasts.assign(beyond=contrasts["explained"].clip(upper=0).fillna(0)), "contrast")
    found = [
        finding(claim, reported if paper else after, row[name], "below", row[name]["beyond"])
        for name, (paper, claim) in CLAIMS.items()
    ]
    ties = (
        "Triples that agreement of two verdicts breaks hold a tie more often than random ones with as many ties "
        f"({row['tied']['mean']:.0%} of them; Llama-3.1-8B: 84.6 %)"
    )
    found.append(finding(ties, reported, row["tied, above chance"], "above"))
    best, judged = main_ratio(table), orders[orders["judge"] == table["judge"].iloc[0]]
    right = interval(judged["random"], judged["case"], "wilson")
    unrelated = "Scores and comparisons conflict less than unrelated ones would"
    found.append(finding(unrelated, here, best, "below", best["chance"]))
    return [*found, finding("The model judges better than chance", here, right, "above", 0.5)]


CLAIMS = {
    "fine, two_pass": (
        True,
        "Expected scores on the finest scale conflict less than the most probable level on the coarsest "
        "(Llama-3.1-70B: 23.3 to 14.9 %)",
    ),
    "scale, two_pass": (
        True,
        "Expected scores conflict less on the finest scale than on the coarsest (17.1 to 14.9 %)",
    ),
    "fine, likelihood": (
        False,
        "Expected scores on the finest scale against the most probable level on the coarsest, compared by likelihood",
    ),
    "scale, likelihood": (
        False,
        "Expected scores on the finest scale against the coarsest, compared by likelihood",
    ),
    "aggregation": (
        False,
        "Likelihood aggregation conflicts less with scores than agreement of two verdicts",
    ),
    "transitivity": (
        True,
        "Likelihood aggregation is more transitive than agreement of two verdicts (15.2 to 4.4 %)",
    ),
}
"""Contrast -> whether the paper reports it, and the claim that it is below what ties explain."""


def draw_conflicts(table: pd.DataFrame) -> Figure:
    """Draw the first judge's conflict ratio by scale, scoring and aggregation."""
    alt = "Conflict ratio of the model by scale, scoring and aggregation, with intervals and chance lines."
    own, label = own_conflicts(table), "conflict ratio"
    drawn = figures.intervals(own, ["scale", "scoring"], by="aggregation", baseline="chance", xlabel=label)
    return described(drawn, alt)


def draw_rates(rates: pd.DataFrame) -> Figure:
    """Draw the non-transitivity of every judge by aggregation."""
    label = f"proportion of {rates['k'].max()}-subsets that no ranking fits"
    drawn = figures.intervals(of_largest(rates), "aggregation", by="judge", baseline="chance", xlabel=label)
    alt = "Non-transitivity rate by aggregation for the model and the planted judges, with intervals and chance lines."
    return described(drawn, alt)


def draw_sweep(sweep: pd.DataFrame) -> Figure:
    """Draw the rates of a `tolerance_sweep`."""
    drawn = figures.curves(sweep, "delta", by="metric", xlabel="tolerance δ", ylabel="rate")
    return described(drawn, "Conflict ratio, non-transitivity and tie rate of the model against the tolerance.")
