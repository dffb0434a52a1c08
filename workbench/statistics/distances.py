"""Entropy and distances of distributions, and checks of arrays of probabilities."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
SLACK = 1e-6
"""By how much probabilities may miss their sum of 1, or leave [0, 1]."""
DIGITS = 12
"""Decimal digits by which numbers are compared with an edge, a target or each other: 1 - 0.7 is 0.3."""


def entropy(p: ArrayLike) -> Floats:
    """Shannon entropy of distributions over the last axis, in nats, `[...]`; NaN pads shorter ones."""
    x = np.asarray(p, np.float64)
    return -np.sum(np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0)), 0.0), axis=-1) + 0.0


def tv(p: ArrayLike, q: ArrayLike) -> Floats:
    """Total variation of distributions over the last axis, 0 to 1, `[...]`."""
    return np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64)).sum(axis=-1) / 2


def kl(p: ArrayLike, q: ArrayLike) -> Floats:
    """Kullback-Leibler divergence of q from p over the last axis, in nats, `[...]`; infinite where q alone is 0."""
    from scipy.special import rel_entr

    return np.asarray(rel_entr(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(axis=-1), np.float64)


def js(p: ArrayLike, q: ArrayLike) -> Floats:
    """Jensen-Shannon divergence (the square of the distance) over the last axis, in nats, `[...]`.

    scipy's distance is NaN where rounding makes the divergence of near equals negative.
    """
    middle = (np.asarray(p, np.float64) + np.asarray(q, np.float64)) / 2
    return np.maximum((kl(p, middle) + kl(q, middle)) / 2, 0.0)


def w1(p: ArrayLike, q: ArrayLike, positions: ArrayLike) -> Floats:
    """Wasserstein-1 distance over the last axis, in units of the positions, `[...]`.

    Args:
        p: Distributions, `[..., options]`.
        q: Others.
        positions: Where each option lies, `[options]` or `[..., options]`, in any order.
    """
    difference = np.asarray(p, np.float64) - np.asarray(q, np.float64)
    at = np.broadcast_to(np.asarray(positions, np.float64), difference.shape)
    order = np.argsort(at, axis=-1)
    moved = np.cumsum(np.take_along_axis(difference, order, axis=-1), axis=-1)[..., :-1]
    return np.asarray((np.abs(moved) * np.diff(np.take_along_axis(at, order, axis=-1), axis=-1)).sum(axis=-1))


def fractions(**arrays: ArrayLike) -> tuple[Floats, ...]:
    """The named arrays as `[N]` floats of one length, each between 0 and 1."""
    found = tuple(_floats(name, array) for name, array in arrays.items())
    first = next(iter(arrays))
    for name, array in zip(arrays, found):
        if array.ndim != 1 or array.shape != found[0].shape:
            raise InputError(
                f"{name} has shape {array.shape}, {first} {found[0].shape}; give one number per item each."
            )
    if not found[0].size:
        raise InputError(f"{first} is empty; a metric needs at least one item.")
    for name, array in zip(arrays, found):
        _check_range(name, array)
    return found


def simplex(**parts: ArrayLike) -> tuple[Floats, ...]:
    """The named parts of a distribution, broadcast against each other; they must add up to 1 within 1e-6."""
    given = [_floats(name, part) for name, part in parts.items()]
    try:
        found = np.broadcast_arrays(*given)
    except ValueError:
        raise InputError(f"{', '.join(parts)} have shapes {[part.shape for part in given]} that do not fit.") from None
    if not found[0].size:
        raise InputError(f"{next(iter(parts))} is empty; a metric needs at least one item.")
    for name, part in zip(parts, found):
        _check_range(name, part)
    total = np.sum(found, axis=0)
    if (off := np.abs(total - 1) > SLACK).any():
        raise InputError(f"{' + '.join(parts)} must be 1, but add up to {total[off].flat[0]:.6g} in {off.sum()} items.")
    return tuple(found)


def distributions(name: str, values: ArrayLike) -> Floats:
    """A table `[items, classes]` of probabilities, each row adding up to 1 within 1e-6."""
    rows = _floats(name, values)
    if rows.ndim != 2 or not rows.size or (rows < 0).any() or not (np.abs(rows.sum(axis=1) - 1) <= SLACK).all():
        raise InputError(f"{name} must be a table [items, classes] whose rows are at least 0 and add up to 1.")
    return rows


def mask(name: str, values: ArrayLike, size: int) -> Bools:
    """A yes/no column `[size]`, given as booleans or as 0 and 1."""
    array = np.asarray(values)
    if array.shape != (size,) or not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} must hold {size} values that are true or false.")
    return array.astype(bool)


def threshold(name: str, value: Any, closed: bool = True) -> Floats:
    """A number, or several, between 0 and 1 (below 1 unless `closed`)."""
    array = _floats(name, value)
    if not array.size or (array < 0).any() or (array > 1).any() or (not closed and (array == 1).any()):
        raise InputError(f"{name} must be at least 0 and {'at most' if closed else 'below'} 1, not {value!r}.")
    return array


def settled(values: ArrayLike) -> Floats:
    """Numbers rounded to 12 digits, to be compared: 1 - 0.7 is then 0.3, which as a float it is not."""
    return np.asarray(np.round(np.asarray(values, np.float64), DIGITS), np.float64)


def checked_bins(bins: int) -> int:
    """A number of bins, at least 1."""
    if bins < 1:
        raise InputError(f"bins must be at least 1, not {bins!r}.")
    return bins


def bin_of(values: ArrayLike, bins: int, closed: Literal["left", "right"] = "left") -> Ints:
    """The bin, from 0, of each number in [0, 1], `[N]`, among bins of equal width closed on one side.

    The last bin holds 1 and the first one 0, whichever side is closed. Numbers and edges are compared after rounding to
    12 digits.

    Raises:
        InputError: Fewer than one bin.
    """
    inner = settled(np.arange(1, checked_bins(bins)) / bins)
    return np.searchsorted(inner, settled(values), side="right" if closed == "left" else "left").astype(np.int64)


def _floats(name: str, values: ArrayLike) -> Floats:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold numbers.") from None
    if np.isnan(array).any():
        raise InputError(f"{name} holds NaN in {int(np.isnan(array).sum())} places; leave those items out first.")
    return array


def _check_range(name: str, array: Floats) -> None:
    if (off := (array < -SLACK) | (array > 1 + SLACK)).any():
        raise InputError(f"{name} must lie between 0 and 1, but holds {array[off].flat[0]:.6g}.")
