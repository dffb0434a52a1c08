"""The Inglehart-Welzel map: the published projection, respondents built from it, and axes that cannot be exchanged."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from workbench.cultural_alignment import cultural_map
from workbench.cultural_alignment.cultural_map import ANCHORS, CONSTANTS, ITEMS, RANGES, ValuesMap, varimax
from workbench.errors import InputError

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside the checkout (../shared/data)")
WRITTEN = np.array(
    [
        *((-0.4, 0.6), (-0.5, 0.2), (0.1, 0.6), (-0.6, 0.0), (-0.6, -0.4)),
        *((0.75, 0.15), (0.7, 0.25), (0.0, 0.7), (0.4, -0.05), (0.45, 0.35)),
    ]
)
"""Written for this test: as in the published map, God (F063) is stronger on self-expression than on secular."""
LOADINGS = WRITTEN @ varimax(WRITTEN)
MIDDLE = np.array([(low + high) / 2 for low, high in RANGES.values()])
REACH = np.array([(high - low) / 16 for low, high in RANGES.values()])
SWEDEN, ZIMBABWE = np.array([3.585, 0.632]), np.array([-1.288, -0.376])


def respondents(loadings, n=3000):
    """Respondents `[n, 10]` whose correlations have exactly these two leading components, and their two scores."""
    left, size, turn = np.linalg.svd(loadings)
    other = left[:, 2:]
    pairs = np.einsum("ij,ik->ijk", other, other).reshape(10, -1)
    rest = np.eye(8) * (10 - (size**2).sum()) / 8
    gap = 1 - (loadings**2).sum(axis=1) - pairs @ rest.ravel()  # unit variances fix the other eight components
    rest += np.linalg.lstsq(pairs, gap, rcond=None)[0].reshape(8, 8)
    noise = np.random.default_rng(0).uniform(-1, 1, size=(n, 10))
    noise -= noise.mean(axis=0)
    exact = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T, bias=True))).T  # uncorrelated, to rounding
    z = exact[:, :2] @ (left[:, :2] * size).T + exact[:, 2:] @ (other @ np.linalg.cholesky(rest)).T
    return MIDDLE + z * REACH, exact[:, :2] @ turn


def of_point(loadings, point, constants="wvs"):
    """Item values that the loadings place at a point of the map."""
    slopes, offsets = np.array(CONSTANTS[constants]).T
    return MIDDLE + loadings @ ((point - offsets) / slopes) * REACH


def projection():
    """The published file, and the map it defines."""
    file = json.loads((DATA / "ivs_map_projection.json").read_text())
    return file, ValuesMap(*(np.array(file[key]) for key in ("center", "scale", "weights")), np.ones(2), 0, 0)


def recovered():
    """The published rotated loadings, from weights V L^-1/2 T."""
    weights = projection()[1].weights
    return weights @ np.linalg.inv(weights.T @ weights)


def check(loadings):
    x, scores = respondents(loadings)
    found = cultural_map.fit_values_map(x)
    assert np.diag(np.corrcoef(found.place(x).T, scores.T)[:2, 2:]) == pytest.approx([1, 1], abs=1e-6)
    for point in (SWEDEN, ZIMBABWE):
        assert found.place(of_point(loadings, point))[0] == pytest.approx(point, abs=5e-3)
    holes = np.where(np.random.default_rng(1).random(x.shape) < 0.1, np.nan, x)
    patchy = cultural_map.fit_values_map(holes)
    assert np.diag(np.corrcoef(patchy.place(x).T, scores.T)[:2, 2:]) == pytest.approx([1, 1], abs=2e-3)


def test_respondents_with_two_planted_components_get_their_own_scores_on_their_own_axes():
    god = np.abs(LOADINGS[ITEMS.index("F063")])
    assert god[0] > god[1]  # a rule by the importance of God would exchange the axes
    check(LOADINGS)


@needs_data
def test_respondents_with_the_published_components_get_their_published_scores():
    check(recovered())


@needs_data
def test_the_published_points_and_loadings_are_reproduced():
    file, published = projection()
    answers = {"base": (2, 2, 2, 1, 8, 8, 8, 3, 2, 1), "soupiw": (3, 2, 1, 1, 8, 8, 8, 3, 2, 0)}
    for name, items in answers.items():
        assert published.place(items, "tao_2024")[0] == pytest.approx(file["groundtruth"][name], abs=1e-8)
    loadings = recovered()
    expected = json.loads((DATA / "expected.json").read_text())["ivs_map"]
    named = expected["rotated_loadings_self_expression_secular"]
    assert loadings == pytest.approx(np.array([named[item] for item in ITEMS]), abs=5e-4)
    variances, turn = np.linalg.eigh(loadings.T @ loadings)
    assert sorted(variances, reverse=True) == pytest.approx(expected["eigenvalues"], abs=5e-4)
    unrotated = (loadings @ turn)[:, ::-1]
    again = unrotated @ varimax(unrotated)
    assert np.abs(again[:, np.argsort(-np.abs(again[ITEMS.index("F118")]))]) == pytest.approx(
        np.abs(loadings), abs=1e-4
    )


def test_missing_answers_are_completed_by_two_shrunken_components():
    """Filled cells are predicted by the components of the whole table, times (variance - noise) / variance."""
    rng = np.random.default_rng(2)
    z = rng.normal(size=(200, 2)) @ WRITTEN.T + rng.normal(0, 0.5, (200, 10))
    holes, w = rng.random(z.shape) < 0.1, rng.uniform(0.5, 1.5, 200)
    w /= w.mean()
    z -= np.average(z, axis=0, weights=w)
    loadings, filled = cultural_map._principal(np.where(holes, np.nan, z), w)
    variances, axes = np.linalg.eigh(np.cov(filled.T, aweights=w, bias=True))
    noise, top = variances[:-2].mean(), axes[:, -2:]
    predicted = filled @ top * (1 - noise / variances[-2:]) @ top.T
    assert filled[holes] == pytest.approx(predicted[holes], abs=1e-4) and (filled[~holes] == z[~holes]).all()
    assert loadings @ loadings.T == pytest.approx(top * variances[-2:] @ top.T, abs=1e-3)


def test_varimax_is_the_librarys_on_rows_of_unit_length():
    from statsmodels.multivariate.factor_rotation import rotate_factors

    lengths = np.linalg.norm(WRITTEN, axis=1, keepdims=True)
    for start in (WRITTEN, WRITTEN @ np.array([[0.6, -0.8], [0.8, 0.6]])):
        ours, theirs = start @ varimax(start), rotate_factors(start / lengths, "varimax")[0] * lengths
        order = [int(np.abs(ours.T @ column).argmax()) for column in theirs.T]
        assert np.abs(ours[:, order]) == pytest.approx(np.abs(theirs), abs=1e-4)


def test_axes_are_turned_by_f118_and_god_whatever_the_columns():
    right = cultural_map._oriented(LOADINGS)
    assert right[ITEMS.index("F118")] @ (1, 0) > 0.5 and right[ITEMS.index("F063")] @ (0, 1) < -0.3
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        for turned in (LOADINGS * signs, LOADINGS[:, ::-1] * signs):
            assert cultural_map._oriented(turned).tolist() == right.tolist()


def test_axes_that_cannot_be_named_are_refused():
    other = LOADINGS.copy()
    other[ITEMS.index("Y002")] = (0.05, 0.6)
    with pytest.raises(InputError, match=r"F118.*Y002.*load on different axes"):
        cultural_map.fit_values_map(respondents(other)[0])


def test_a_weight_counts_like_so_many_respondents():
    x, _ = respondents(LOADINGS, 200)
    x[0, 3] = np.nan
    twice = np.ones(200)
    twice[:50] = 2
    weighted, repeated = cultural_map.fit_values_map(x, twice), cultural_map.fit_values_map(np.concatenate([x, x[:50]]))
    assert weighted.place(MIDDLE) == pytest.approx(repeated.place(MIDDLE), abs=1e-9)
    assert weighted.weights == pytest.approx(repeated.weights, abs=1e-9) and (weighted.n, repeated.n) == (200, 250)
    assert cultural_map.fit_values_map(x, np.append(np.zeros(20), np.ones(180))).n_dropped == 20
    for bad in (np.full(200, np.nan), -twice, twice[:9]):
        with pytest.raises(InputError, match="one weight per respondent"):
            cultural_map.fit_values_map(x, bad)


def test_exchanged_or_reversed_axes_are_seen_on_published_countries():
    names, points = list(ANCHORS), np.array(list(ANCHORS.values()))
    assert cultural_map.check_orientation(points, names) == "axes checked against 16 published countries"
    with pytest.raises(InputError, match="axes are exchanged"):
        cultural_map.check_orientation(points[:, ::-1], names)
    for axis, sign in (("self-expression", (-1, 1)), ("secular", (1, -1))):
        with pytest.raises(InputError, match=rf"The {axis} axis is reversed.*multiply by -1"):
            cultural_map.check_orientation(points * sign, names)
    few = ["Sweden", "Zimbabwe", "U.S.A.", "Japan"]
    with pytest.raises(InputError, match="axes are exchanged"):
        cultural_map.check_orientation([ANCHORS[name][::-1] for name in few], few)
    assert "not checked: fewer than 4" in cultural_map.check_orientation(points[:2], ["752", "716"])
    line = ["Sweden", "Germany", "Turkey", "Zimbabwe"]
    alike = cultural_map.check_orientation([ANCHORS[name] for name in line], line)
    assert "signs only, as their two axes are too alike" in alike


@needs_data
def test_the_published_country_points_pass_and_are_seen_when_exchanged():
    from workbench.cultural_alignment.populations import country_name

    rows = list(csv.DictReader((DATA / "iw_country_coords.csv").open(encoding="utf-8")))
    points, names = np.array([(float(r["x"]), float(r["y"])) for r in rows]), [country_name(r["country"]) for r in rows]
    published = dict(zip(names, points))
    assert all(published[name] == pytest.approx(place, abs=0.051) for name, place in ANCHORS.items())
    assert "16 published" in cultural_map.check_orientation(points, names)
    with pytest.raises(InputError, match="axes are exchanged"):
        cultural_map.check_orientation(points[:, ::-1], names)
