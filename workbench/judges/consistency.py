"""Consistency of scores with comparisons, and of comparisons with each other (TrustJudge, arXiv 2509.21117)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations, product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.judges.readings import Judgement, Variant, rescale
from workbench.judges.relations import Method, aggregate, sgn, upper
from workbench.statistics import interval
from workbench.statistics.distances import Bools, Floats
from workbench.statistics.intervals import SHARE

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
    """CR: the share of pairs whose scores and comparison disagree, with an interval over cases.

    Returns:
        Keys of `statistics.interval` over pairs clustered by case, then `reversal`, `score_tie_only`, `pair_tie_only`
        (they add up to the mean), `macro` (mean over cases), `tie_rate` of the comparisons, `score_tie_rate`,
        `chance` (CR of comparisons unrelated to the scores, with the same shares of ties) and `n_total`.
    """
    table = conflicts(scores, relations, delta)
    found = interval(table["conflict"], table["case"], "bootstrap", draws=DRAWS, bounds=SHARE)
    parts = {name: float(table[name].mean()) for name in ("reversal", "score_tie_only", "pair_tie_only")}
    ties, score_ties = float(table["pair_tie"].mean()), float(table["score_tie"].mean())
    macro = float(table.groupby("case")["conflict"].mean().mean()) if len(table) else np.nan
    rates = {"macro": macro, "tie_rate": ties, "score_tie_rate": score_ties, "chance": chance_conflict(table)}
    return {**found, **parts, **rates, "n_total": len(table)}


def chance_conflict(table: pd.DataFrame) -> float:
    """CR of comparisons unrelated to the scores with the shares of ties of a table of `conflicts`."""
    ties, score_ties = float(table["pair_tie"].mean()), float(table["score_tie"].mean())
    return 1 - (ties * score_ties + (1 - ties) * (1 - score_ties) / 2)


def nontransitivity(
    relations: ArrayLike, k: int = 4, max_subsets: int | None = None, seed: int = 0
) -> dict[str, object]:
    """NTR_k: the share of k-subsets of a case's candidates that no ranking with ties fits.

    Args:
        relations: Antisymmetric signs `[cases, n, n]`, NaN where unread.
        k: Candidates in a subset, at least 3.
        max_subsets: Draw as many subsets a case; needed beyond 30 candidates.
        seed: Of that draw.

    Returns:
        Keys of `statistics.interval` over subsets clustered by case (subsets with an unread pair are undefined),
        `tie_rate`, `chance` (random relations with that share of ties), `chance_strict` (without ties), `n_total`.
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
    """Share of the triples that random relations with this rate of ties violate which hold a tie."""
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


def consistency_table(
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
    """NTR_k, the classes of violations and the cyclic share of every judge and aggregation."""
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


def delta_sweep(j: Judgement, scale: str, pair: str, deltas: Sequence[float], k: int = 4) -> pd.DataFrame:
    """CR, NTR_k and the rate of ties as the tolerance grows, long form: delta, metric, mean, low, high.

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
    return pd.DataFrame(rows)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
