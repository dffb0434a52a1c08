"""Cultures and arguments in free text: diversity of references, stances open against closed, recurring arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.culture.alignment import similarity
from workbench.metrics.culture.checks import Floats

REFUSES = re.compile(
    r"\bas an? (ai|language model)\b|\bi('m| am) (sorry|unable|not able)\b|\bi (can't|cannot|won't|will not)\b"
    r"|\bi (do not|don't) have (personal |any )?(opinions|views|beliefs)\b",
    re.IGNORECASE,
)


def refusals(texts: Sequence[str]) -> np.ndarray:
    """Whether each text declines to answer, by the phrases that say so: a lower bound, `[texts]`."""
    return np.array([bool(REFUSES.search(text.replace("\u2019", "'"))) for text in texts])


def perspective_diversity(counts: Mapping[str, float], regions: list[str]) -> float:
    """Entropy of cultural references over all regions of a scheme, 0 (one region) to 1 (all alike); WorldView-Bench.

    Args:
        counts: References by region.
        regions: All regions, also those never named: dividing by the seen ones alone would flatter few references.

    Returns:
        H / log G; NaN without references.
    """
    if strange := set(counts) - set(regions):
        raise InputError(f"Region {sorted(strange)[0]!r} is not one of {', '.join(regions)}.")
    n = np.array([counts.get(region, 0) for region in regions], np.float64)
    if len(regions) < 2 or (n < 0).any():
        raise InputError("Diversity needs two regions at least, and counts that are not negative.")
    if n.sum() == 0:
        return float("nan")
    p = n[n > 0] / n.sum()
    return float(-(p * np.log(p)).sum() / np.log(len(regions)))


def open_closed_disparity(closed: ArrayLike, open_: ArrayLike) -> Floats:
    """Total variation between stances on a scale and stances read from free text, `[propositions]` (2406.19238).

    Both are `[propositions, stances]` in the same order, "none" among them where no stance was taken.
    """
    return 1 - similarity(closed, open_, "tvd")


def tropes(vectors: ArrayLike, eps: float = 0.15, min_samples: int = 10) -> np.ndarray:
    """Clusters of sentences that say the same, `[sentences]`; -1 belongs to none (DBSCAN on cosine distance)."""
    from sklearn.cluster import DBSCAN

    x = np.asarray(vectors, np.float64)
    if x.ndim != 2 or not (np.linalg.norm(x, axis=1) > 0).all():
        raise InputError("A sentence has no vector, or a vector of zeros; leave it out, it has no direction.")
    return DBSCAN(eps=eps, min_samples=min_samples, metric="cosine").fit_predict(x)


def jaccard(a: set[Any], b: set[Any]) -> float:
    """Shared share of two sets; NaN if both are empty."""
    return len(a & b) / len(a | b) if a | b else float("nan")


def sentence_vectors(sentences: list[str]) -> Floats:
    """TF-IDF vectors `[sentences, words]`: no download, words alike only where spelled alike."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not sentences:
        raise InputError("There are no sentences to compare.")
    return np.asarray(TfidfVectorizer(sublinear_tf=True).fit_transform(sentences).toarray(), np.float64)


def stances(frame: pd.DataFrame, options: list[str]) -> Floats:
    """Stance shares `[propositions, options + none]` from one row per text with `item` and `stance` (None: none)."""
    known = frame["stance"].where(frame["stance"].isin(options), "none")
    wide = pd.crosstab(frame["item"], known, normalize="index")
    return wide.reindex(columns=[*options, "none"], fill_value=0.0).to_numpy(np.float64)
