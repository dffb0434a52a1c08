import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.hallucination import conformal


def items(n=400, seed=0):
    rng = np.random.default_rng(seed)
    strength = rng.random(n)
    right = rng.random(n) < strength
    table = pd.DataFrame({"question_id": [f"q{i}" for i in range(n)], "correct": right.astype(float)})
    return table.assign(good=strength + rng.normal(0, 0.1, n), noise=rng.random(n))


@pytest.mark.parametrize("how", ["split", "optimised", "trained"])
def test_false_discoveries_stay_below_q_over_200_splits(how):
    found = conformal.release_repeatedly(items(), 0.2, ["noise", "good"], how, splits=200)
    error = found["false_share"].std() / np.sqrt(200)
    assert found["false_share"].mean() <= 0.2 + 3 * error
    assert how == "trained" or (found["chosen"] == "good").mean() > 0.9
    assert found["power"].mean() > 0.1


def test_with_few_checked_answers_more_are_released_without_a_tuning_part():
    found = {
        how: conformal.release_repeatedly(items(60), 0.1, ["noise", "good"], how, splits=100)["power"].mean()
        for how in ("split", "optimised")
    }
    assert found["optimised"] > 2 * found["split"]


def test_a_score_of_pure_noise_releases_hardly_anything():
    found = conformal.release_repeatedly(items(), 0.2, "noise", splits=200)
    assert found["power"].mean() < 0.02
    assert found["false_share"].mean() <= 0.2


def test_calibration_items_used_for_tuning_are_refused():
    table = items(12).assign(part=["tune", "calibrate", "test"] * 4)
    doubled = pd.concat([table, table.iloc[[0]].assign(part="calibrate")])
    with pytest.raises(InputError, match=r"q0.*more than one part"):
        conformal.release(doubled, 0.1, ["good", "noise"])
    assert len(conformal.release(table, 0.1, ["good", "noise"])) == 4


def test_a_missing_tuning_score_is_refused_and_never_chosen():
    table = items(60)
    table.loc[:, "noise"] = np.nan
    with pytest.raises(InputError, match="tuning answer is missing"):
        conformal.release_repeatedly(table, 0.1, ["good", "noise"], splits=1)


def test_parts_are_disjoint_and_seeded():
    part = conformal.split_parts(100, seed=3)
    assert pd.Series(part).value_counts().to_dict() == {"tune": 20, "calibrate": 40, "test": 40}
    assert (part == conformal.split_parts(100, seed=3)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal.split_parts(10, (0.5, 0.6, 0.1)), "add up to 1"),
        (lambda: conformal.release(items(3).assign(part=["train"] * 3), 0.1, "good"), "'train'"),
        (lambda: conformal.release(items(3).assign(part=["test"] * 3), 0.1, "good"), "calibration and test"),
        (lambda: conformal.release(items(3).assign(part=["test"] * 3), 0.1, "good", "best"), "Unknown way to choose"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
