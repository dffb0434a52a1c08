"""Attribution of answers to tokens, steering vectors (arXiv 2507.18043), and reliability ratings (arXiv 2506.12072)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures, progress, statistics
from workbench.answers import probabilities
from workbench.errors import InputError, unknown
from workbench.extraction.tokens import Encoder, Request
from workbench.hallucination import distributional_correctness
from workbench.models import Model
from workbench.questions import Option, Question
from workbench.statistics import Finding, calibration
from workbench.statistics.distances import Bools, Floats, fractions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Baseline = Literal["half", "mean", "zero"]
Join = Literal["mean", "pca"]
HERE, PAPER = "this notebook", "Nguyen et al. 2025, arXiv 2507.18043"
JUDGED = ("dcs", "accuracy", "p_correct", "p_wrong", "p_abstain")
SHOWN = ("question_id", "setting", *JUDGED, "mass")
"""Columns of the table of questions."""
RANGES = {name: distributional_correctness.RANGES[name] for name in JUDGED}
"""Range of each score that is compared."""
PLAIN = "none, α = 0"
"""The setting of the plain model."""
GRADES = range(1, 10)
"""Grades of a statement's reliability."""
_SIDES: tuple[tuple[str, Literal[1, -1]], ...] = (("towards right", 1), ("towards wrong", -1))


@dataclass(frozen=True, slots=True)
class Attribution:
    """Effect of each prompt token on the preference of one option over another."""

    question_id: str
    """The question."""
    tokens: tuple[str, ...]
    """Texts of the prompt's tokens."""
    scores: Floats = field(repr=False)
    """Attribution of each token, nats, `[tokens]`."""
    preference: float
    """F of the prompt, nats."""
    baseline: float
    """F of the baseline, nats; the scores should add up to preference - baseline."""
    ids: tuple[int, ...] = field(repr=False)
    """Ids of the prompt's tokens."""
    special: Bools = field(repr=False)
    """Which tokens are control tokens, which are never ablated, `[tokens]`."""

    @property
    def gap(self) -> float:
        """Relative difference between the sum of the scores and preference - baseline."""
        due = self.preference - self.baseline
        return float(abs(self.scores.sum() - due) / abs(due)) if due else float("nan")

    def top(self, k: int, sign: Literal[1, -1]) -> list[int]:
        """Return positions of up to k tokens that raise (1) or lower (-1) the preference most.

        Control tokens are left out, and the last token, at which hidden states are read.
        """
        signed = np.where(self.special, -np.inf, sign * self.scores)
        signed[-1] = -np.inf
        return [int(i) for i in np.argsort(-signed, kind="stable")[:k] if signed[i] > 0]


def attribute(
    model: Model,
    questions: Sequence[Question],
    *,
    steps: int = 20,
    baseline: Baseline = "half",
    batch_size: int = 5,
    show_progress: bool = True,
) -> list[Attribution]:
    """Return integrated gradients of log p(correct option) - log p(likeliest wrong option) on the prompt's embeddings.

    An option's log-probability is the sum over its tokens, each scored by the logits one position before it.

    Args:
        model: An open-weights model; gradients need about three times the memory of a forward pass.
        questions: Each with a correct and a wrong option.
        steps: Points of the integral (Gauss-Legendre).
        baseline: Start of the path: `half` of each embedding, the `mean` of all embeddings, or `zero` as in the paper.
            Networks that normalise change abruptly near zero, and less near the mean, where attributions need hundreds
            of steps to add up; between half and whole a few steps suffice.
        batch_size: Points in one forward pass.
        show_progress: Whether to show a progress bar in a terminal or notebook.
    """
    if baseline not in get_args(Baseline):
        raise unknown("baseline", baseline, list(get_args(Baseline)))
    encoder = Encoder(model.tokenizer, model.context_length)
    attributions = []
    with progress.bar(len(questions), "attributing tokens", show_progress) as advance:
        for question in questions:
            attributions.append(_attribution(model, encoder, question, steps, baseline, batch_size))
            advance(1)
    return attributions


def _attribution(
    model: Model, encoder: Encoder, question: Question, steps: int, baseline: Baseline, batch_size: int
) -> Attribution:
    """Return Captum's integrated gradients of one question."""
    import torch
    from captum.attr import IntegratedGradients

    preferred, other = _pair(model, encoder, question)
    embed = model.network.get_input_embeddings()
    ids = torch.tensor([preferred.context], device=embed.weight.device)
    prompt = embed(ids).detach()
    mean = embed.weight.detach().mean(dim=0).expand_as(prompt).contiguous()
    path_start = {"half": prompt / 2, "mean": mean, "zero": torch.zeros_like(prompt)}[baseline]

    def difference(states: Any) -> Any:
        return _logprob(model, states, preferred.continuation) - _logprob(model, states, other.continuation)

    with torch.enable_grad():
        gradients = IntegratedGradients(difference).attribute(
            prompt, path_start, n_steps=steps, internal_batch_size=batch_size, method="gausslegendre"
        )
    with torch.inference_mode():
        at_prompt, at_start = float(difference(prompt)), float(difference(path_start))
    special = set(model.tokenizer.all_special_ids)
    return Attribution(
        question_id=question.id,
        tokens=tuple(model.tokenizer.decode([i]) for i in preferred.context),
        scores=gradients.sum(-1)[0].cpu().double().numpy(),
        preference=at_prompt,
        baseline=at_start,
        ids=preferred.context,
        special=np.array([i in special for i in preferred.context]),
    )


def _pair(model: Model, encoder: Encoder, question: Question) -> tuple[Request, Request]:
    """Return the requests of the likeliest correct and the likeliest wrong option."""
    import torch

    requests = encoder.encode(question)
    embed = model.network.get_input_embeddings()
    with torch.inference_mode():
        prompt = embed(torch.tensor([requests[0].context], device=embed.weight.device))
        scores = [float(_logprob(model, prompt, request.continuation)) for request in requests]
    best = []
    for role in ("correct", "wrong"):
        rows = [i for i, option in enumerate(question.options) if option.role == role]
        if not rows:
            raise InputError(f"Question {question.id!r} has no {role} option; steering needs both sides.")
        best.append(requests[max(rows, key=lambda i: scores[i])])
    return best[0], best[1]


def _logprob(model: Model, prompt: Any, continuation: Sequence[int]) -> Any:
    """Return the log-probability in nats of a continuation of prompt embeddings `[B, T, width]`, `[B]`.

    The logits at the prompt's last position score the continuation's first token.
    """
    import torch

    network = model.network
    ids = torch.tensor([list(continuation)], device=prompt.device).expand(len(prompt), -1)
    states = torch.cat([prompt, network.get_input_embeddings()(ids[:, :-1])], dim=1)
    out = network(inputs_embeds=states, use_cache=False, logits_to_keep=ids.shape[1])
    logs = torch.log_softmax(out.logits[:, -ids.shape[1] :].float(), dim=-1)
    return logs.gather(-1, ids[..., None])[..., 0].sum(-1)


def apply_steering(states: Any, vector: Any, alpha: float) -> Any:
    """Return (h + alpha v) ||h|| / ||h + alpha v|| for states h `[..., width]` and a vector v `[width]`.

    The norm is over the last axis, for arrays and tensors.
    """
    moved = states + alpha * vector
    before = (states**2).sum(-1, keepdims=True) ** 0.5
    after = (moved**2).sum(-1, keepdims=True) ** 0.5
    return moved * (before / (after + (after == 0)))


@contextmanager
def steered(model: Model, vectors: Mapping[int, ArrayLike], alpha: float) -> Iterator[Model]:
    """Steer the outputs of the model's layers at every position inside the block; strength 0 yields the plain model.

    The plain model must not be used inside the block. The steered model has a different fingerprint, so its answers are
    stored apart from the plain model's. `vectors` maps layers to vectors `[width]`.
    """
    import torch

    if not alpha:
        yield model
        return
    parts = {"network": model.network, "tokenizer": model.tokenizer}
    model.check_unchanged()
    digest = hashlib.sha256(f"{model.fingerprint} {alpha!r}".encode())
    hooks = {}
    for layer, vector in sorted(vectors.items()):
        values = np.ascontiguousarray(vector, np.float64)
        digest.update(f" {layer} ".encode() + values.tobytes())
        hooks[layer] = _steering_hook(torch.from_numpy(values), alpha)
    with layer_hooks(model.network, hooks):
        yield replace(model, name=f"{model.name} steered", fingerprint=digest.hexdigest(), loaded=parts)


@contextmanager
def layer_hooks(network: Any, hooks: Mapping[int, Callable[..., Any]]) -> Iterator[None]:
    """Register forward hooks on decoder layers, numbered from 0, inside the block.

    Raises:
        InputError: The model has no such layer.
    """
    layers = decoder_layers(network)
    if missing := [layer for layer in hooks if not 0 <= layer < len(layers)]:
        raise InputError(f"Layer {missing[0]} does not exist; this model has layers 0 to {len(layers) - 1}.")
    with ExitStack() as stack:
        for layer, hook in hooks.items():
            stack.callback(layers[layer].register_forward_hook(hook).remove)
        yield


def decoder_layers(network: Any) -> Any:
    """Return the list of decoder layers of a network of any family."""
    import torch

    depth = network.config.get_text_config().num_hidden_layers
    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"The layers of {type(network).__name__} cannot be found; steering needs a list of layers.")


def _steering_hook(vector: Any, alpha: float) -> Any:
    """Return a forward hook that steers a decoder layer's output."""

    def hook(module: Any, given: Any, out: Any) -> Any:
        states = out[0] if isinstance(out, tuple) else out
        moved = apply_steering(states, vector.to(states.dtype).to(states.device), alpha)
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    return hook


def steering_vector(full: ArrayLike, ablated: ArrayLike, how: Join = "mean") -> Floats:
    """Return the direction from states `[n, width]` of ablated prompts to those of whole prompts, `[width]`.

    `how` is the `mean` difference, or the first principal direction of the (uncentred) differences with the length of
    the mean difference and the sign of the average projection.
    """
    difference = np.asarray(full, np.float64) - np.asarray(ablated, np.float64)
    if difference.ndim != 2 or not difference.size or not np.isfinite(difference).all():
        raise InputError("full and ablated must be tables [prompts, width] of finite numbers, of one shape.")
    if how not in get_args(Join):
        raise unknown("way to join differences", how, list(get_args(Join)))
    mean: Floats = difference.mean(axis=0)
    if how == "mean":
        return mean
    direction: Floats = np.linalg.svd(difference, full_matrices=False)[2][0]
    sign = 1.0 if (difference @ direction).mean() >= 0 else -1.0
    return sign * direction * float(np.linalg.norm(mean))


def steering_vectors(
    model: Model,
    attributions: Sequence[Attribution],
    layers: Sequence[int],
    k: int = 10,
    how: Join = "mean",
) -> dict[int, Floats]:
    """Return layer -> vector `[width]`: the direction of tokens that raise the preference minus that of the others.

    At most `k` tokens that raise it and `k` that lower it are ablated, that is, replaced by the end token. Layers are
    numbered from 0. For `how` see `steering_vector`.
    """
    if not attributions or not layers:
        raise InputError("There are no attributions to learn from, or no layers; give at least one of each.")
    end = _end_id(model)
    states = []
    for each in attributions:
        rows = [list(each.ids) for _ in range(3)]
        for row, (_, sign) in zip(rows[1:], _SIDES):
            for position in each.top(k, sign):
                row[position] = end
        states.append(_last_states(model, rows, layers))
    whole, without_help, without_harm = np.stack(states, axis=1)
    return {
        layer: steering_vector(whole[:, i], without_help[:, i], how)
        - steering_vector(whole[:, i], without_harm[:, i], how)
        for i, layer in enumerate(layers)
    }


def _last_states(model: Model, rows: list[list[int]], layers: Sequence[int]) -> Floats:
    """Return layer outputs at the last position, `[rows, layers, width]`, for rows of token ids of equal length."""
    import torch

    device = model.network.get_input_embeddings().weight.device
    outputs: dict[int, Any] = {}

    def record(layer: int) -> Any:
        def hook(module: Any, given: Any, out: Any) -> None:
            outputs[layer] = (out[0] if isinstance(out, tuple) else out)[:, -1]

        return hook

    with layer_hooks(model.network, {layer: record(layer) for layer in layers}), torch.inference_mode():
        model.network.base_model(input_ids=torch.tensor(rows, device=device), use_cache=False)
    stacked: Floats = torch.stack([outputs[layer] for layer in layers], dim=1).cpu().double().numpy()
    return stacked


def _end_id(model: Model) -> int:
    """Return the id that replaces an ablated token: end of text, else padding, else unknown."""
    tokenizer = model.tokenizer
    for token in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id):
        if token is not None:
            return int(token)
    raise InputError("This tokenizer has no end, padding or unknown token to replace an ablated token.")


def reliability_regression(level: ArrayLike, predicted: ArrayLike, clip: bool = False) -> dict[str, float | str]:
    """Return errors of predicted reliability scores `[N]`, 0 to 1; NaN (not parsed) is left out and counted.

    Predictions outside [0, 1] are refused, or clipped with `clip`.

    Returns:
        `mae`, `rmse`, `r2`, `spearman` (NaN for constants), `mae_of_mean` (of always predicting the mean, whose R^2 is
        0), `bias`, `parse_failures` (proportion), `n`, and a `note` where a number is NaN.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    given, target = np.asarray(predicted, np.float64), np.asarray(level, np.float64)
    known = ~np.isnan(given)
    if not known.any():
        raise InputError("predicted contains no score; no answer could be parsed.")
    if target.shape != given.shape:
        raise InputError(f"level has shape {target.shape}, predicted {given.shape}; give one number per item each.")
    used = np.clip(given[known], 0, 1) if clip else given[known]
    y, score = fractions(level=target[known], predicted=used)
    rank_correlation = statistics.correlation(y, score)
    return {
        "mae": float(mean_absolute_error(y, score)),
        "rmse": float(root_mean_squared_error(y, score)),
        "r2": float(r2_score(y, score)) if np.ptp(y) > 0 else float("nan"),
        "spearman": rank_correlation,
        "mae_of_mean": float(np.abs(y - y.mean()).mean()),
        "bias": float((score - y).mean()),
        "parse_failures": float((~known).mean()),
        "n": float(len(y)),
        "note": "levels or scores are all equal: no correlation" if np.isnan(rank_correlation) else "",
    }


def expected_score(p: ArrayLike, values: ArrayLike) -> Floats:
    """Return the expected score, sum of p value / sum of p, `[N]`, for token probabilities `[N, K]` and values `[K]`.

    A row of zeros gives NaN.
    """
    weights, scale = np.asarray(p, np.float64), np.asarray(values, np.float64)
    if weights.ndim != 2 or scale.shape != weights.shape[1:] or not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError("Give p [items, scores] of numbers at least 0, and one value per score.")
    total = weights.sum(axis=1)
    return np.divide(weights @ scale, total, out=np.full(len(total), np.nan), where=total > 0)


def split(questions: Sequence[Question], n_learn: int, seed: int) -> tuple[list[Question], list[Question]]:
    """Return the questions to learn from and the others, to test on, both in a random order."""
    mixed = [questions[int(i)] for i in statistics.generator(seed).permutation(len(questions))]
    return mixed[:n_learn], mixed[n_learn:]


def completeness(attributions: Sequence[Attribution]) -> pd.DataFrame:
    """Return the preference of each question, that of the baseline, and the gap of its attribution."""
    rows = [(a.question_id, len(a.ids), a.preference, a.baseline, a.gap) for a in attributions]
    return pd.DataFrame(rows, columns=["question_id", "tokens", "preference", "baseline", "gap"])


def strongest_tokens(attributions: Sequence[Attribution]) -> pd.DataFrame:
    """Return the four tokens that change each preference most, one row per question and direction."""
    rows = [
        (
            a.question_id,
            side,
            " · ".join(a.tokens[i].strip() or "␣" for i in a.top(4, sign)) or f"none: no token {side}",
        )
        for a in attributions
        for side, sign in _SIDES
    ]
    return pd.DataFrame(rows, columns=["question", "side", "tokens"])


def setting(direction: str, alpha: float) -> str:
    """Return the name of a setting, such as "steered, α = 2"."""
    return f"{direction}, α = {alpha:g}"


def settings(
    vectors: Mapping[int, Floats], alphas: Sequence[float], seed: int
) -> dict[str, tuple[Mapping[int, Floats], float]]:
    """Return the settings to compare, name -> (vectors, alpha): the plain model, each alpha, and a random direction.

    The random vectors have the length of the steering vector of each layer; their alpha is the largest.
    """
    draw = statistics.generator(seed)
    random: dict[int, Floats] = {}
    for layer, vector in vectors.items():
        noise = draw.normal(size=len(vector))
        random[layer] = noise * np.linalg.norm(vector) / np.linalg.norm(noise)
    steered = {setting("steered", alpha): (vectors, alpha) for alpha in alphas}
    return {PLAIN: (vectors, 0.0), **steered, setting("random", max(alphas)): (random, max(alphas))}


def read(answers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return `distributional_correctness.scores`, one row per setting and question, the plain model first."""
    tables = {name: distributional_correctness.scores(probabilities(table)) for name, table in answers.items()}
    return pd.concat([table.assign(setting=name) for name, table in tables.items()], ignore_index=True)


def items(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the DCS under each setting, one row per question, for comparing runs."""
    return scores.pivot(index="question_id", columns="setting", values="dcs").add_prefix("DCS, ")


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every compared score by setting; accuracy with a Wilson interval."""
    rates = statistics.summarise(scores, ["accuracy"], by="setting", method="wilson")
    others = [metric for metric in JUDGED if metric != "accuracy"]
    means = statistics.summarise(scores, others, by="setting", bounds=RANGES)
    return pd.concat([rates, means], ignore_index=True)[["setting", "metric", "mean", "low", "high", "n"]]


def effects(scores: pd.DataFrame) -> pd.DataFrame:
    """Return every setting minus the plain model, paired by question; `p_adjusted` by Holm over all rows."""
    plain = scores[scores["setting"] == PLAIN]
    table = pd.concat(
        [
            statistics.paired(part, plain, list(JUDGED), bounds=RANGES).assign(setting=name)
            for name, part in scores.groupby("setting", sort=False)
            if name != PLAIN
        ]
    )
    table["p_adjusted"] = statistics.adjusted(table["p_permutation"])
    return table[["setting", "metric", "mean", "low", "high", "n", "p_permutation", "p_adjusted"]]


def steered_effects(effects: pd.DataFrame, alpha: float) -> dict[str, pd.Series[Any]]:
    """Return the rows of `effects` at strength `alpha`, by metric."""
    return statistics.rows_by(effects[effects["setting"] == setting("steered", alpha)], "metric")


def perplexity(texts: Mapping[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """Return the perplexity per token of scored texts under each setting, with a bootstrap interval over texts."""
    rows = []
    for name, table in texts.items():
        interval = statistics.bootstrap(_per_token, table["logprob"], table["n_tokens"], draws=200, seed=seed)
        rows.append({"setting": name, **interval})
    return pd.DataFrame(rows)[["setting", "mean", "low", "high", "n", "note"]]


def _per_token(logprob: Floats, tokens: Floats) -> float:
    return float(np.exp(-logprob.sum() / tokens.sum()))


def statements(questions: Sequence[Question]) -> list[Question]:
    """Return each question as two statements to be graded from 1 to 9: its first correct and its first wrong answer.

    Tags: `level`, 1 for the correct answer and 0 for the wrong one, and `pair`, the id of the question.
    """
    grades = tuple(Option(f" {grade}", "none", (grade - 1) / 8) for grade in GRADES)
    made = []
    for question in questions:
        stem = question.prompt_text.removeprefix("Question: ").removesuffix("\nAnswer:")
        for role, level in (("correct", 1.0), ("wrong", 0.0)):
            text = next(option.text.strip() for option in question.options if option.role == role)
            prompt = f"Statement: {stem} {text}\nHow reliable is this statement, from 1 (false) to 9 (true)? Score:"
            made.append(Question(prompt, grades, {"level": level, "pair": question.id}))
    return made


def graded(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the level and the expected score (`predicted`, 0 to 1) of each statement, see `statements`."""
    n = len(GRADES)
    predicted = expected_score(np.exp(answers["logprob"].to_numpy().reshape(-1, n)), answers["value"].to_numpy()[:n])
    return answers.iloc[::n][["pair", "level"]].assign(predicted=predicted).reset_index(drop=True)


def grading_errors(graded: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of the expected score, see `reliability_regression`."""
    return pd.DataFrame([reliability_regression(graded["level"], graded["predicted"])])


def grading_bins(graded: pd.DataFrame) -> pd.DataFrame:
    """Return the proportion of correct statements by expected score."""
    return calibration.calibration_report(graded["predicted"], graded["level"]).bins.dropna()


def grading_auroc(graded: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the AUROC of the expected score for correct statements, with a bootstrap interval over pairs."""
    clusters, columns = graded["pair"].to_numpy(), (graded["predicted"], graded["level"])
    area = statistics.bootstrap(calibration.auroc, *columns, clusters=clusters, draws=200, seed=seed)
    return pd.DataFrame([{"score": "expected", **area, "verdict": statistics.versus(area, 0.5)}])


def findings(scores: pd.DataFrame, effects: pd.DataFrame, auroc: pd.DataFrame, alpha: float) -> list[Finding]:
    """Return the claims of the notebook, tested on this run at strength `alpha`, that of the random direction."""
    steered, random = (scores[scores["setting"] == setting(name, alpha)] for name in ("steered", "random"))
    change = steered_effects(effects, alpha)
    against = statistics.rows_by(statistics.paired(steered, random, ["accuracy", "dcs"], bounds=RANGES), "metric")
    reason = "the effect cannot be distinguished from that of a random direction"
    blind = {metric: statistics.unless(row, "above", 0.0, reason) for metric, row in against.items()}
    gain = "Steering raises accuracy on questions with common misconceptions (+13.22 % on TruthfulQA, Llama-3.1-8B)"
    more = "Steering raises the {} more than a random direction of the same length"
    ratings = "A reliability score ranks correct statements above wrong ones"
    beyond, none, same = "change of {} minus that under a random direction", "no change", "no difference"
    claims: list[tuple[str, str, Any, float, str, str, str]] = [
        (gain, PAPER, change["accuracy"], 0.0, blind["accuracy"], "change of accuracy", none),
        (
            "Steering raises the DCS",
            f"{HERE}, after {PAPER}",
            change["dcs"],
            0.0,
            blind["dcs"],
            "change of the DCS",
            none,
        ),
        (more.format("accuracy"), HERE, against["accuracy"], 0.0, "", beyond.format("accuracy"), same),
        (more.format("DCS"), HERE, against["dcs"], 0.0, "", beyond.format("the DCS"), same),
        (ratings, "TrueGL, arXiv 2506.12072", auroc.iloc[0], 0.5, "", "AUROC", "chance"),
    ]
    return [
        statistics.finding(claim, source, row, "above", baseline, undecided, *words)
        for claim, source, row, baseline, undecided, *words in claims
    ]


def draw_effects(effects: pd.DataFrame) -> Figure:
    """Draw the change of DCS, accuracy and probability of abstaining under each setting."""
    names = {"dcs": "DCS", "accuracy": "accuracy", "p_abstain": "probability of abstaining"}
    rows = effects[effects["metric"].isin(names)].replace({"metric": names})
    rows["setting"] = rows["setting"].str.replace(", α = ", ", strength ").str.replace("-", "−")
    labels = {"baseline_name": "no change", "xlabel": "change against the plain model", "of": "paired questions"}
    figure = figures.intervals(rows, "setting", by="metric", baseline=0.0, **labels)
    alt = "Change of DCS, accuracy and probability of abstaining by steering strength, and for a random direction."
    return figures.described(figure, alt)
