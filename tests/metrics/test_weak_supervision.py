import numpy as np
import pytest

from workbench.errors import InputError
from workbench.metrics import weak_supervision as weak
from workbench.metrics.calibration import auroc


def test_O_80_polar_risk():
    h = np.tile([0.7, 0.2, 0.1], (3, 1))
    assert weak.polar_risk(h, [1, 0, -1]) == pytest.approx([0.8, 0.3, np.nan], nan_ok=True)


def planted(n=500, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    truth = (x[:, 0] + 0.3 * rng.normal(size=n) > 0).astype(int)
    says = lambda rate: np.where(rng.random(n) < rate, truth, 1 - truth)  # noqa: E731
    sources = np.stack([says(0.7), says(0.8), says(0.75)], axis=1)
    sources[rng.random(sources.shape) < 0.2] = weak.ABSTAINS
    return x, truth, sources


@pytest.mark.parametrize("scalariser", list(weak.SCALARISERS))
def test_the_risk_knows_wrong_answers_without_gold(scalariser):
    x, truth, sources = planted()
    h = weak.harmonise(x, sources, 2, scalariser)
    assert h.sum(axis=1) == pytest.approx(np.ones(len(x)))
    given = sources[:, 0]
    risk = weak.polar_risk(h, given)
    answered = given != weak.ABSTAINS
    assert np.isnan(risk[~answered]).all()
    assert auroc(risk[answered], given[answered] != truth[answered]) > 0.8


def test_a_scalariser_of_ones_own():
    x, _, sources = planted()
    cubic = lambda losses: ((total := losses.sum(axis=1)) ** 3, np.repeat(3 * total[:, None] ** 2, 3, axis=1))  # noqa: E731
    assert weak.harmonise(x, sources, 2, cubic) != pytest.approx(weak.harmonise(x, sources, 2, "linear"))


def test_scalarisers_grow_in_each_loss_and_know_their_slopes():
    losses = np.array([[0.2, 0.9, 0.4]])
    for name, join in weak.SCALARISERS.items():
        value, slope = join(losses)
        for i in range(3):
            step = losses.copy()
            step[0, i] += 1e-6
            assert (join(step)[0] - value)[0] / 1e-6 == pytest.approx(slope[0, i], abs=1e-4), name
        assert (slope >= 0).all()


def test_agreement_of_risk_and_error():
    rng = np.random.default_rng(0)
    risk = rng.random(4000)
    wrong = rng.random(4000) < risk
    honest = weak.risk_agreement(np.append(risk, np.nan), np.append(wrong, 0))
    assert honest["r2"] > 0.95 and honest["ece"] < 0.05 and honest["n_abstained"] == 1
    assert weak.risk_agreement(1 - risk, wrong)["r2"] < 0
    table = weak.risk_table(risk, wrong)
    assert {"risk", "error_rate", "error_low", "error_high", "n"} <= set(table.columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weak.polar_risk([[0.5, 0.4]], [0]), "add up to 1"),
        (lambda: weak.polar_risk([[0.5, 0.5]], [2]), "class from 0 to 1"),
        (lambda: weak.harmonise([[1.0]], [[-1]], 2), "abstains on every item"),
        (lambda: weak.harmonise([[np.nan]], [[0]], 2), "finite numbers"),
        (lambda: weak.harmonise([[1.0]], [[0]], 2, "cubic"), "Unknown scalariser"),
        (lambda: weak.risk_agreement([np.nan], [1]), "abstained everywhere"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
