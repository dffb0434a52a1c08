"""Entropy and distances of distributions, and validation of arrays of probabilities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
SLACK = 1e-6
"""Tolerance of probabilities for their range [0, 1] and their sum of 1."""
DIGITS = 12
"""Decimal digits in comparisons with an edge, a target or each other, so that 1 - 0.7 equals 0.3."""


def entropy(p: ArrayLike) -> Floats:
    """Return the Shannon entropy over the last axis, in nats, `[...]`; NaN pads shorter distributions."""
    x = np.asarray(p, np.float64)
    return -np.sum(np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)), 0.0), axis=-1) + 0.0


def tv(p: ArrayLike, q: ArrayLike) -> Floats:
    """Return the total variation distance over the last axis, 0 to 1, `[...]`."""
    return np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum(axis=-1) / 2


def kl(p: ArrayLike, q: ArrayLike) -> Floats:
    """Return the Kullback-Leibler divergence KL(p || q) over the last axis, in nats, `[...]`; inf if only q is 0."""
    from scipy.special import rel_entr

    return np.asarray(rel_entr(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(axis=-1), np.float64)


def js(p: ArrayLike, q: ArrayLike) -> Floats:
    """Return the Jensen-Shannon divergence (the squared distance) over the last axis, in nats, `[...]`.

    Unlike scipy's distance, never NaN when rounding makes the divergence of near-equal distributions negative.
    """
    middle = (np.asarray(p, np.float64) + np.asarray(q, np.float64)) / 2
    return np.maximum((kl(p, middle) + kl(q, middle)) / 2, 0.0)


def w1(p: ArrayLike, q: ArrayLike, positions: ArrayLike) -> Floats:
    """Return the Wasserstein-1 distance over the last axis, in units of the positions, `[...]`.

    Args:
        p: Distributions, `[..., options]`.
        q: Distributions, `[..., options]`.
        positions: Position of each option, `[options]` or `[..., options]`, in any order.
    """
    difference = np.asarray(p, np.float64) - np.asarray(q, np.float64)
    at = np.broadcast_to(np.asarray(positions, np.float64), difference.shape)
    order = np.argsort(at, axis=-1)
    moved = np.cumsum(np.take_along_axis(difference, order, axis=-1), axis=-1)[..., :-1]
    return np.asarray((np.abs(moved) * np.diff(np.take_along_axis(at, order, axis=-1), axis=-1)).sum(axis=-1))


def fractions(**arrays: ArrayLike) -> tuple[Floats, ...]:
    """Return the named arrays as floats `[N]`, checked to have one length and values between 0 and 1."""
    checked = tuple(_floats(name, array) for name, array in arrays.items())
    first = next(iter(arrays))
    for name, array in zip(arrays, checked):
        if array.ndim != 1 or array.shape != checked[0].shape:
            shape = checked[0].shape
            raise InputError(f"{name} has shape {array.shape}, {first} {shape}; pass one number per item in each.")
    if not checked[0].size:
        raise InputError(f"{first} is empty; a metric needs at least one item.")
    for name, array in zip(arrays, checked):
        _check_range(name, array)
    return checked


def simplex(**parts: ArrayLike) -> tuple[Floats, ...]:
    """Return the named parts of a distribution, broadcast against each other and checked to add up to 1."""
    given = [_floats(name, part) for name, part in parts.items()]
    try:
        checked = np.broadcast_arrays(*given)
    except ValueError:
        shapes = [part.shape for part in given]
        raise InputError(f"{', '.join(parts)} have shapes {shapes}, which do not broadcast.") from None
    if not checked[0].size:
        raise InputError(f"{next(iter(parts))} is empty; a metric needs at least one item.")
    for name, part in zip(parts, checked):
        _check_range(name, part)
    total = np.sum(checked, axis=0)
    if (off := np.abs(total - 1) > SLACK).any():
        raise InputError(f"{' + '.join(parts)} must be 1, but add up to {total[off].flat[0]:.6g} in {off.sum()} items.")
    return tuple(checked)


def distributions(name: str, values: ArrayLike) -> Floats:
    """Return a table of probabilities `[items, classes]`, checked to have rows that add up to 1."""
    rows = _floats(name, values)
    if rows.ndim != 2 or not rows.size or (rows < 0).any() or not (np.abs(rows.sum(axis=1) - 1) <= SLACK).all():
        raise InputError(f"{name} must be a table [items, classes] of numbers >= 0 whose rows add up to 1.")
    return rows


def mask(name: str, values: ArrayLike, size: int) -> Bools:
    """Return booleans `[size]`, given as booleans or as 0 and 1."""
    array = np.asarray(values)
    if array.shape != (size,) or not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} must contain {size} booleans, or values 0 and 1.")
    return array.astype(bool)


def threshold(name: str, value: Any, closed: bool = True) -> Floats:
    """Return a number or several, checked to be between 0 and 1 (below 1 unless `closed`)."""
    array = _floats(name, value)
    if not array.size or (array < 0).any() or (array > 1).any() or (not closed and (array == 1).any()):
        raise InputError(f"{name} must be at least 0 and {'at most' if closed else 'below'} 1, not {value!r}.")
    return array


def settled(values: ArrayLike) -> Floats:
    """Return numbers rounded to 12 digits for comparison, so that 1 - 0.7 equals 0.3."""
    return np.asarray(np.round(np.asarray(values, np.float64), DIGITS), np.float64)


def checked_bins(bins: int) -> int:
    """Return a number of bins, checked to be at least 1."""
    if bins < 1:
        raise InputError(f"bins must be at least 1, not {bins!r}.")
    return bins


def bin_of(values: ArrayLike, bins: int, closed: Literal["left", "right"] = "left") -> Ints:
    """Return the bin (from 0) of each number in [0, 1], `[N]`, for bins of equal width closed on one side.

    0 is in the first bin and 1 in the last, whichever side is closed. Numbers and edges are rounded to 12 digits.

    Raises:
        InputError: Fewer than one bin.
    """
    inner = settled(np.arange(1, checked_bins(bins)) / bins)
    return np.searchsorted(inner, settled(values), side="right" if closed == "left" else "left").astype(np.int64)


def _floats(name: str, values: ArrayLike) -> Floats:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers.") from None
    if np.isnan(array).any():
        raise InputError(f"{name} contains {int(np.isnan(array).sum())} NaN values; leave those items out first.")
    return array


def _check_range(name: str, array: Floats) -> None:
    if (off := (array < -SLACK) | (array > 1 + SLACK)).any():
        raise InputError(f"{name} must lie between 0 and 1, but has {array[off].flat[0]:.6g}.")
