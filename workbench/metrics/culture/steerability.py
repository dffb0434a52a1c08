"""Does a persona bring a model nearer to its own country than to others, without making all personas alike?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.culture.checks import Floats, table
from workbench.statistics import interval


@dataclass(frozen=True, slots=True)
class Steering:
    """What personas do, with the null that targets are interchangeable."""

    personas: pd.DataFrame
    """One row per persona: `persona`, `gain`, `margin`, `rank` of its own country (1 is nearest; means at ties)."""
    top1: float
    """Share of personas nearest to their own country (ties shared)."""
    mrr: float
    """Mean of 1 / rank."""
    erratic: float
    """Share of personas that move away from their country (gain < 0)."""
    gain: dict[str, Any]
    """Mean gain with its interval over personas; all NaN without answers of no persona."""
    own_gain: dict[str, Any]
    """Mean gain less a persona's mean gain with the other countries: flatter answers bring it nearer to all of them."""
    margin: dict[str, Any]
    """Mean margin with its interval over personas."""
    p_top1: float
    """Share of label shuffles with a top1 as high, (b + 1) / (m + 1)."""
    p_margin: float
    """The same for the mean margin."""
    chance: float
    """Top1 when targets are interchangeable: 1 / countries."""
    n: int
    """Personas."""


def steer(
    alignment: ArrayLike,
    without: ArrayLike | None = None,
    names: list[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Steering:
    """Gain, margin and rank of every persona's own country.

    Args:
        alignment: Alignment of persona i's answers with country j, `[C, C]`.
        without: Alignment of the answers without a persona, `[C]`.
        names: Names of the countries.
        draws: Shuffles of the target labels.
        seed: Of the shuffles.
    """
    a = table("alignment", alignment, 2, 2)
    c = len(a)
    if a.shape != (c, c):
        raise InputError(f"alignment has shape {a.shape}; give one row and one column per country.")
    none = np.full(c, np.nan) if without is None else np.asarray(without, np.float64)
    if none.shape != (c,):
        raise InputError(f"without has shape {none.shape}; give one number per country, {c} in all.")
    own = np.arange(c)
    rng = np.random.default_rng(seed)
    shuffles = rng.permuted(np.tile(own, (draws, 1)), axis=1)
    gain, margin, rank = np.diag(a) - none, _margin(a, own), _rank(a, own)
    top1, null_top1 = float(_top1(a, own)), _top1(a, shuffles)
    null_margin = _margin(a, shuffles).mean(axis=1)
    slack = 1e-12
    return Steering(
        personas=pd.DataFrame(
            {"persona": names or [str(i) for i in range(c)], "gain": gain, "margin": margin, "rank": rank}
        ),
        top1=top1,
        mrr=float((1 / rank).mean()),
        erratic=float((gain < 0).mean()) if without is not None else np.nan,
        gain=interval(gain),
        own_gain=interval(gain - ((a - none).sum(axis=1) - gain) / (c - 1)),
        margin=interval(margin),
        p_top1=float((1 + (null_top1 >= top1 - slack).sum()) / (1 + draws)),
        p_margin=float((1 + (null_margin >= margin.mean() - slack).sum()) / (1 + draws)),
        chance=1 / c,
        n=c,
    )


def collapse(personas: ArrayLike, humans: ArrayLike) -> float:
    """Mean distance between personas over mean distance between the humans they stand for; below 1: too alike.

    NaN where all humans are the same.

    Args:
        personas: `[personas, features]`, on the same 0-1 scales as the humans.
        humans: `[countries, features]`.
    """
    from scipy.spatial.distance import pdist

    one, two = pdist(table("personas", personas, 2)), pdist(table("humans", humans, 2))
    return float(one.mean() / two.mean()) if two.mean() > 0 else np.nan


def _margin(a: Floats, target: np.ndarray) -> Floats:
    """Alignment with the target less the mean of the others, per persona; targets may be many rows."""
    own = a[np.arange(len(a)), target]
    return own - (a.sum(axis=1) - own) / (len(a) - 1)


def _rank(a: Floats, target: np.ndarray) -> Floats:
    own = a[np.arange(len(a)), target][:, None]
    return (a > own + 1e-12).sum(axis=1) + (np.abs(a - own) <= 1e-12).sum(axis=1) / 2 + 0.5


def _top1(a: Floats, target: np.ndarray) -> Floats:
    """Share of personas whose target is nearest, per row of targets; a tie of m counts 1 / m."""
    best = a >= a.max(axis=1, keepdims=True) - 1e-12
    return np.asarray((best[np.arange(len(a)), target] / best.sum(axis=1)).mean(axis=-1))
