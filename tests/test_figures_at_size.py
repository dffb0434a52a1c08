"""Figures stay legible with twelve benchmarks, six models and fifty countries; a fixture of `conftest` checks them."""

import matplotlib

matplotlib.use("Agg")

from itertools import product

import numpy as np
import pandas as pd
import pytest

from workbench import figures
from workbench.cultural_alignment import alignment, cultural_map, instruments, robustness
from workbench.hallucination import (
    benchmark_harmony,
    benchmark_variance,
    distributional_correctness,
    risk_scores,
    selective_answering,
)
from workbench.judges import agreement, biases, consistency, master_keys, ratings_and_rankings, readings
from workbench.value_drift import likelihood_displacement, post_training, released_checkpoints

RNG = np.random.default_rng(0)
BENCHMARKS = [
    *("general_knowledge", "truthful_qa_mc", "disambiguation_qa", "strategic_reasoning_in_games", "mmlu", "piqa"),
    *("openbookqa", "hindu_knowledge", "simple_ethical_questions", "bbq_lite", "known_unknowns", "a file of mine.csv"),
]
MODELS = [f"organisation/model-{size}B-instruct" for size in (1, 3, 8, 14, 32, 70)]
NAMES = list(instruments.country_scores()["name"])
PLACES = [*NAMES, *(f"South {name}" for name in NAMES), "Trinidad and Tobago", "New Zealand"]
REGIONS = ["East Asia", "Eastern Europe", "English-speaking", "Latin America", "Middle East and North Africa"]


def estimates(**names):
    """One estimate for each combination of names, some without an interval."""
    table = pd.DataFrame(list(product(*names.values())), columns=list(names))
    middle = RNG.uniform(0, 1, len(table))
    half = np.where(RNG.random(len(table)) < 0.1, np.nan, 0.1)
    ends = {"mean": middle, "low": middle - half, "high": middle + half, "n": RNG.integers(1, 900, len(table))}
    return table.assign(**ends, chance=0.25, baseline=RNG.uniform(0.1, 0.2, len(table)), note="")


def by_step(column, names, steps):
    """Lines that end close to each other."""
    return estimates(**{column: names, "step": steps}).assign(mean=lambda table: table["step"] / 10 + 0.01)


def of_people():
    table = pd.DataFrame(RNG.uniform(0.3, 0.8, (54, 50)), ["no persona", *PLACES, *"abc"], PLACES)
    return alignment.Aligned(table, table, 0.6)


def a_map():
    countries = pd.DataFrame(RNG.normal(0, 1, (50, 2)), PLACES, ["x", "y"]).assign(region=REGIONS * 10)
    personas = pd.DataFrame(RNG.normal(0, 1, (7, 2)), ["none", *PLACES[:6]], ["x", "y"]).assign(dx=0.1, dy=0.1)
    culture = cultural_map.culture_map(RNG.normal(50, 10, (20, 6)))
    return cultural_map.draw_map(cultural_map.Places(culture, countries, personas, personas))


def simplex():
    parts = pd.DataFrame(RNG.dirichlet([1, 2, 1], 240), columns=["p_correct", "p_wrong", "p_abstain"])
    return distributional_correctness.draw_simplex(parts.assign(benchmark=BENCHMARKS * 20))


def conventions():
    table = estimates(benchmark=BENCHMARKS, normalisation=["none", "tokens", "chars", "bytes"])
    return distributional_correctness.draw_conventions(table.assign(metric="skill"))


def plane():
    table = pd.DataFrame({"benchmark": BENCHMARKS, "mean": RNG.normal(0.9, 0.01, 12), "variance": 0.01, "n": 4})
    return benchmark_harmony.draw_plane(table.assign(mean_low=np.nan, mean_high=np.nan))


def heat_map():
    keys = [*master_keys.KEYS, "the reference", "empty", *master_keys.NEAR_KEYS]
    table = pd.DataFrame(list(product(keys, [f"case {k}" for k in range(60)])), columns=["key", "case"])
    return master_keys.draw_heat_map(table.assign(p_yes=0.5, judge=MODELS[0], question=master_keys.SHOWN))


def stances():
    names = ["sft support", "sft neutral", "sft oppose"]
    table = pd.DataFrame(list(product(names, range(5), range(4))), columns=["run", "step", "prompt_id"]).assign(
        phase="sft", sample=0
    )
    parts = RNG.dirichlet([1, 1, 1], len(table))
    table = table.assign(**dict(zip(("p_support", "p_neutral", "p_oppose"), parts.T)), topic="t", seed=0, mass=1.0)
    return post_training.draw_stances(table)


def tokens():
    table = estimates(token=[f"{k:02d} “ word{k}_”" for k in range(40)])
    return likelihood_displacement._draw_changes(table, "token", "no change", "change (nats)", "Change of each token.")


JUDGES = [MODELS[0], *readings.IN_WORDS["judge"]]
DRAWN = {
    "DCS": lambda: distributional_correctness.draw_by_benchmark(
        estimates(benchmark=BENCHMARKS).assign(metric="dcs"),
        pd.DataFrame({"uniform": RNG.uniform(-0.5, 0, 12)}, pd.Index(BENCHMARKS, name="benchmark")),
    ),
    "normalisations": conventions,
    "simplex": simplex,
    "plane": plane,
    "variants": lambda: benchmark_variance.draw_variants(
        estimates(benchmark=BENCHMARKS, style=["cloze", "letters", "examples"], wording=range(3))
    ),
    "AUROC": lambda: risk_scores.draw_auroc(
        estimates(
            task=["anes96", "ACSIncome_2018", "fair"], score=["letters, both orders", "number", "base rate"]
        ).assign(metric="auroc")
    ),
    "attempts": lambda: selective_answering.draw_attempts(
        by_step("V", [f"V = {-k}" for k in range(9)], range(21)).rename(columns={"step": "k"})
    ),
    "non-transitivity": lambda: consistency.draw_rates(
        estimates(judge=JUDGES, aggregation=list(readings.IN_WORDS["aggregation"])).assign(k=5)
    ),
    "position": lambda: biases.draw_position(estimates(judge=JUDGES, data=BENCHMARKS[:6]).assign(metric="position")),
    "selection": lambda: agreement.draw_better(
        estimates(data=BENCHMARKS, judge=["comparison", "P(Yes)", "pmi", "longer"])
    ),
    "rewards": lambda: ratings_and_rankings.draw_agreement(
        estimates(head=[*ratings_and_rankings.REWARDS, "rating"], other=["comparison", "length"]).assign(agree=0.5)
    ),
    "keys": heat_map,
    "personas": lambda: alignment.draw_personas(of_people(), 24, False),
    "map": a_map,
    "choices": lambda: robustness.draw_choices(
        pd.DataFrame({"forced": 0.5, "neutral": RNG.normal(0.5, 0.001, 8)}, PLACES[-8:])
    ),
    "stances": stances,
    "training": lambda: figures.described(
        figures.curves(by_step("run", MODELS, [0, 1, 5]), "step", by="run", ylabel="p", xlabel="steps"),
        "Six lines of one p.",
    ),
    "tokens": tokens,
    "stages": lambda: released_checkpoints.draw_profiles(
        estimates(phase=MODELS, metric=["p_support", "p_neutral", "p_oppose"])
    ),
    "differences": lambda: figures.described(
        figures.intervals(
            estimates(metric=["accuracy", "answer_confidence"], run=MODELS),
            "metric",
            by="run",
            baseline=0.0,
            xlabel="difference",
        ),
        "Differences of six models from a first one.",
    ),
}


QUICK = ("DCS", "simplex", "attempts", "map", "choices", "position")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in DRAWN if n not in QUICK)])
def test_figures_of_realistic_size_are_legible(name):
    assert DRAWN[name]().axes
