import numpy as np
import pytest

from workbench.errors import InputError
from workbench.hallucination import weak_supervision as ws
from workbench.statistics.calibration import auroc


def test_O_80_polar_risk():
    h = np.tile([0.7, 0.2, 0.1], (3, 1))
    assert ws.polar_risk(h, [1, 0, -1]) == pytest.approx([0.8, 0.3, np.nan], nan_ok=True)


def planted(n=500, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    truth = (x[:, 0] + 0.3 * rng.normal(size=n) > 0).astype(int)
    says = lambda rate: np.where(rng.random(n) < rate, truth, 1 - truth)  # noqa: E731
    sources = np.stack([says(0.7), says(0.8), says(0.75)], axis=1)
    sources[rng.random(sources.shape) < 0.2] = ws.ABSTAINS
    return x, truth, sources


@pytest.mark.parametrize("scalariser", list(ws.SCALARISERS))
def test_the_risk_knows_wrong_answers_without_gold(scalariser):
    x, truth, sources = planted()
    h = ws.harmonise(x, sources, 2, scalariser)
    assert h.sum(axis=1) == pytest.approx(np.ones(len(x)))
    given = sources[:, 0]
    risk = ws.polar_risk(h, given)
    answered = given != ws.ABSTAINS
    assert np.isnan(risk[~answered]).all()
    assert auroc(risk[answered], given[answered] != truth[answered]) > 0.8


def half_seen(n=240, seed=2):
    """Features, a truth that hangs on two of them, and rules that see only the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    truth = (x[:, 0] + 2 * x[:, 1] > 0).astype(int)
    rules = np.stack([np.where(np.abs(x[:, 0] - at) < 0.2, ws.ABSTAINS, x[:, 0] > at) for at in (0, 0.3)], axis=1)
    return x, truth, rules, rng


def of_trivial(answers, x, rules, truth):
    """AUROC of the risk, and the two differences, by name."""
    return ws.risk_against_trivial(x, answers, rules, truth, coins=12, draws=150).set_index("risk")


def test_a_respondent_without_wrong_answers_has_no_area_and_no_interval():
    x, truth, rules, _ = half_seen(60)
    found = of_trivial(truth, x, rules, truth)
    assert found[["low", "high"]].isna().all(axis=None) and found["mean"].notna().tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("respondent", ["coin", "constant"])
def test_a_respondent_without_knowledge_is_not_credited_with_what_the_rules_know(respondent):
    x, truth, rules, rng = half_seen()
    x, rules = x[:, [0, 2]], rules  # what the rules see, and noise: a model's answers can add nothing
    truth = (x[:, 0] + 0.3 * rng.normal(size=len(x)) > 0).astype(int)
    found = of_trivial(rng.integers(2, size=len(x)) if respondent == "coin" else np.ones(len(x), int), x, rules, truth)
    assert found.loc["model", "low"] > 0.8  # the risk finds the wrong answers of a coin
    assert not (found.loc[["model - rules alone", "model - trivial answers"], "low"] > 0).all()


def test_a_model_that_knows_what_no_rule_sees_is_distinguished_from_both():
    x, truth, rules, rng = half_seen()
    found = of_trivial(np.where(rng.random(len(x)) < 0.1, 1 - truth, truth), x, rules, truth)
    assert (found.loc[["model - rules alone", "model - trivial answers"], "low"] > 0).all()
    assert found.loc["model - rules alone", "mean"] == pytest.approx(
        found["mean"]["model"] - found["mean"]["rules alone"]
    )


def test_rules_that_say_nothing_contradict_nothing():
    rules = [[0, 1, ws.ABSTAINS], [ws.ABSTAINS] * 3, [1, 1, 1]]
    assert ws.contradiction([0, 1, ws.ABSTAINS], rules) == pytest.approx([1 / 3, 0, np.nan], nan_ok=True)


def test_a_scalariser_of_ones_own():
    x, _, sources = planted()
    cubic = lambda losses: ((total := losses.sum(axis=1)) ** 3, np.repeat(3 * total[:, None] ** 2, 3, axis=1))  # noqa: E731
    assert ws.harmonise(x, sources, 2, cubic) != pytest.approx(ws.harmonise(x, sources, 2, "linear"))


def test_scalarisers_grow_in_each_loss_and_know_their_slopes():
    losses = np.array([[0.2, 0.9, 0.4]])
    for name, join in ws.SCALARISERS.items():
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
    honest = ws.risk_agreement(np.append(risk, np.nan), np.append(wrong, 0))
    assert honest["r2"] > 0.95 and honest["ece"] < 0.05 and honest["n_abstained"] == 1
    assert ws.risk_agreement(1 - risk, wrong)["r2"] < 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ws.polar_risk([[0.5, 0.4]], [0]), "add up to 1"),
        (lambda: ws.polar_risk([[0.5, 0.5]], [2]), "class from 0 to 1"),
        (lambda: ws.harmonise([[1.0]], [[-1]], 2), "abstains on every item"),
        (lambda: ws.harmonise([[np.nan]], [[0]], 2), "finite numbers"),
        (lambda: ws.harmonise([[1.0]], [[0]], 2, "cubic"), "Unknown scalariser"),
        (lambda: ws.risk_agreement([np.nan], [1]), "abstained everywhere"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
