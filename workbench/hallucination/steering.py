"""Attribution of answers to tokens, steering vectors from it (arXiv 2507.18043), and reliability of ratings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench import figures, progress, statistics
from workbench.answers import probabilities
from workbench.errors import InputError, unknown
from workbench.extraction.tokens import Encoder, Request
from workbench.hallucination import distributional_correctness
from workbench.models import Model
from workbench.questions import Option, Question
from workbench.statistics import Finding, calibration
from workbench.statistics.comparisons import correlation
from workbench.statistics.distances import Floats, fractions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Baseline = Literal["half", "mean", "zero"]
HERE, PAPER = "this notebook", "arXiv 2507.18043"
JUDGED = ("dcs", "accuracy", "p_correct", "p_wrong", "p_abstain")
RANGES: dict[str, tuple[float, float]] = dict.fromkeys(JUDGED, (0.0, 1.0)) | {"dcs": (-1.0, 1.0)}
"""Range of each score that is judged."""
PLAIN = "none, α = 0"
"""The setting of the plain model."""
GRADES = range(1, 10)
"""What a statement's reliability is graded by."""
_SIDES: tuple[tuple[str, Literal[1, -1]], ...] = (("towards right", 1), ("towards wrong", -1))


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each prompt token does for the preference of one option over another."""

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
    special: NDArray[np.bool_] = field(repr=False)
    """Which of them are control tokens; these are never ablated, `[tokens]`."""

    @property
    def gap(self) -> float:
        """How far the scores are from adding up, as a share of what they should add up to."""
        due = self.preference - self.baseline
        return float(abs(self.scores.sum() - due) / abs(due)) if due else float("nan")

    def top(self, k: int, sign: Literal[1, -1]) -> list[int]:
        """Positions of up to k tokens that move the preference most up (1) or down (-1).

        Control tokens and the last token, at which hidden states are read, are left out.
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
    """Integrated gradients of log p(correct option) - log p(likeliest wrong option) on the prompt's embeddings.

    Each option's log-probability is that of all its tokens, each read one position before it.

    Args:
        model: An open-weights model; gradients need about three times the memory of a forward pass.
        questions: Each with a correct and a wrong option.
        steps: Points of the integral (Gauss-Legendre).
        baseline: Where the path starts: `half` of each embedding, the `mean` of all embeddings, or `zero` as in the
            paper. Networks that normalise change abruptly near zero, and less so near the mean, where attributions
            need hundreds of steps to add up; between half and whole they do so in a few.
        batch_size: Points in one forward.
        show_progress: Whether a bar is shown when someone watches.
    """
    if baseline not in get_args(Baseline):
        raise unknown("baseline", baseline, list(get_args(Baseline)))
    encoder = Encoder(model.tokenizer, model.context_length)
    found = []
    with progress.bar(len(questions), "attributing tokens", show_progress) as advance:
        for question in questions:
            found.append(_attribution(model, encoder, question, steps, baseline, batch_size))
            advance(1)
    return found


def _attribution(
    model: Model, encoder: Encoder, question: Question, steps: int, baseline: Baseline, batch_size: int
) -> Attribution:
    """Captum's integrated gradients of one question."""
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
        found = IntegratedGradients(difference).attribute(
            prompt, path_start, n_steps=steps, internal_batch_size=batch_size, method="gausslegendre"
        )
    with torch.inference_mode():
        at, from_ = float(difference(prompt)), float(difference(path_start))
    special = set(model.tokenizer.all_special_ids)
    return Attribution(
        question_id=question.id,
        tokens=tuple(model.tokenizer.decode([i]) for i in preferred.context),
        scores=found.sum(-1)[0].double().cpu().numpy(),
        preference=at,
        baseline=from_,
        ids=preferred.context,
        special=np.array([i in special for i in preferred.context]),
    )


def _pair(model: Model, encoder: Encoder, question: Question) -> tuple[Request, Request]:
    """The requests of the likeliest correct and the likeliest wrong option."""
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
    """Log-probability of a continuation behind prompt embeddings `[B, T, width]`, `[B]`, nats.

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
    """States moved along a vector and brought back to their norm: (h + alpha v) ||h|| / ||h + alpha v||.

    The norm is that of each state, over the last axis, for arrays and tensors alike.

    Args:
        states: `[..., width]`.
        vector: `[width]`.
        alpha: How far.
    """
    moved = states + alpha * vector
    before = (states**2).sum(-1, keepdims=True) ** 0.5
    after = (moved**2).sum(-1, keepdims=True) ** 0.5
    return moved * (before / (after + (after == 0)))


@contextmanager
def steered(model: Model, vectors: Mapping[int, ArrayLike], alpha: float) -> Iterator[Model]:
    """The model with its layers' outputs steered at every position, to be asked like any other inside the block.

    Its fingerprint is its own, so answers are kept apart from the plain model's.

    Args:
        model: The plain model; it must not be used inside the block.
        vectors: Layer -> vector, `[width]`.
        alpha: How far; 0 changes nothing, and is the plain model.
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
        hooks[layer] = _hook(torch.from_numpy(values), alpha)
    with layer_hooks(model.network, hooks):
        yield replace(model, name=f"{model.name} steered", fingerprint=digest.hexdigest(), loaded=parts)


@contextmanager
def layer_hooks(network: Any, hooks: Mapping[int, Callable[..., Any]]) -> Iterator[None]:
    """Forward hooks on decoder layers, numbered from 0, that are removed after the block.

    Raises:
        InputError: The model has no such layer.
    """
    layers = decoder_layers(network)
    if any(not 0 <= layer < len(layers) for layer in hooks):
        raise InputError(f"Layers {list(hooks)} are not all there; this model has 0 to {len(layers) - 1}.")
    with ExitStack() as stack:
        for layer, hook in hooks.items():
            stack.callback(layers[layer].register_forward_hook(hook).remove)
        yield


def decoder_layers(network: Any) -> Any:
    """The list of decoder layers, whatever a family calls it."""
    import torch

    depth = network.config.get_text_config().num_hidden_layers
    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"The layers of {type(network).__name__} cannot be found; steering needs a list of layers.")


def _hook(vector: Any, alpha: float) -> Any:
    """A forward hook that steers a decoder layer's output."""

    def hook(module: Any, given: Any, out: Any) -> Any:
        states = out[0] if isinstance(out, tuple) else out
        moved = apply_steering(states, vector.to(states.device, states.dtype), alpha)
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    return hook


Join = Literal["mean", "pca"]


def steering_vector(full: ArrayLike, ablated: ArrayLike, how: Join = "mean") -> Floats:
    """The direction from states without some tokens to states with them, `[width]`.

    Args:
        full: Hidden states of whole prompts, `[n, width]`.
        ablated: The same prompts with tokens taken out, `[n, width]`.
        how: `mean` difference, or the first principal direction of the differences (not centred) with the length of
            the mean difference; its sign is fixed so that the differences point along it on average.
    """
    difference = np.asarray(full, np.float64) - np.asarray(ablated, np.float64)
    if difference.ndim != 2 or not difference.size or not np.isfinite(difference).all():
        raise InputError("full and ablated must be tables [prompts, width] of finite numbers, of one shape.")
    mean: Floats = difference.mean(axis=0)
    if how not in get_args(Join):
        raise unknown("way to join differences", how, list(get_args(Join)))
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
    """Vectors of layers: what the tokens that help carry, less what the tokens that harm carry.

    Args:
        model: Whose states.
        attributions: Of the prompts to learn from.
        layers: Numbered from 0, the first decoder layer.
        k: Most tokens ablated on each side; they are replaced by the end token.
        how: See `steering_vector`.

    Returns:
        Layer -> vector `[width]`.
    """
    if not attributions or not layers:
        raise InputError("There are no attributions to learn from, or no layers; give at least one of each.")
    end = _end_id(model)
    states = []
    for each in attributions:
        rows = [list(each.ids) for _ in range(3)]
        for row, sign in ((1, 1), (2, -1)):
            for position in each.top(k, 1 if sign > 0 else -1):
                rows[row][position] = end
        states.append(_last_states(model, rows, layers))
    whole, without_help, without_harm = np.stack(states, axis=1)
    return {
        layer: steering_vector(whole[:, i], without_help[:, i], how)
        - steering_vector(whole[:, i], without_harm[:, i], how)
        for i, layer in enumerate(layers)
    }


def _last_states(model: Model, rows: list[list[int]], layers: Sequence[int]) -> Floats:
    """Hidden states behind the chosen layers at the last position, `[rows, layers, width]`; rows of one length."""
    import torch

    device = model.network.get_input_embeddings().weight.device
    kept: dict[int, Any] = {}

    def keep(layer: int) -> Any:
        def hook(module: Any, given: Any, out: Any) -> None:
            kept[layer] = (out[0] if isinstance(out, tuple) else out)[:, -1]

        return hook

    with layer_hooks(model.network, {layer: keep(layer) for layer in layers}), torch.inference_mode():
        model.network.base_model(input_ids=torch.tensor(rows, device=device), use_cache=False)
    stacked: Floats = torch.stack([kept[layer] for layer in layers], dim=1).double().cpu().numpy()
    return stacked


def _end_id(model: Model) -> int:
    """The id that stands in for an ablated token: end of text, else padding, else unknown."""
    tokenizer = model.tokenizer
    for token in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id):
        if token is not None:
            return int(token)
    raise InputError("This tokenizer has no end, padding or unknown token to put in the place of an ablated one.")


def reliability_regression(level: ArrayLike, predicted: ArrayLike, clip: bool = False) -> dict[str, float | str]:
    """Errors of predicted reliability scores.

    Args:
        level: The level each statement deserves, `[N]`, 0 to 1.
        predicted: The score given, `[N]`, 0 to 1; NaN where none could be read, left out and counted.
        clip: Cut predictions outside [0, 1] instead of refusing them.

    Returns:
        `mae`, `rmse`, `r2`, `spearman` (NaN for constants), `mae_of_mean` (of always predicting the mean, whose R^2 is
        0), `bias`, `parse_failures` (share), `n`, and a `note` where a number is NaN.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    given = np.asarray(predicted, np.float64)
    known = ~np.isnan(given)
    if not known.any():
        raise InputError("predicted holds no score; nothing could be read from the answers.")
    used = np.clip(given[known], 0, 1) if clip else given[known]
    target = np.asarray(level, np.float64)
    if target.shape != given.shape:
        raise InputError(f"level has shape {target.shape}, predicted {given.shape}; give one number per item each.")
    y, found = fractions(level=target[known], predicted=used)
    varied = len(y) > 1 and np.ptp(y) > 0
    ranked = varied and np.ptp(found) > 0
    return {
        "mae": float(mean_absolute_error(y, found)),
        "rmse": float(root_mean_squared_error(y, found)),
        "r2": float(r2_score(y, found)) if varied else float("nan"),
        "spearman": correlation(y, found),
        "mae_of_mean": float(np.abs(y - y.mean()).mean()),
        "bias": float((found - y).mean()),
        "parse_failures": float((~known).mean()),
        "n": float(len(y)),
        "note": "" if ranked else "levels or scores are all equal: no correlation",
    }


def expected_score(p: ArrayLike, values: ArrayLike) -> Floats:
    """The score a model expects, from its probabilities of the score tokens: sum of p value / sum of p, `[N]`.

    Args:
        p: Probabilities of the score tokens, `[N, K]`, not all 0 in a row.
        values: What each token stands for, `[K]`.
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
    """Return the four tokens that move each preference most, one row per question and side."""
    rows = [
        {
            "question": a.question_id,
            "side": side,
            "tokens": " · ".join(a.tokens[i].strip() or "␣" for i in a.top(4, sign)) or f"none: no token pulls {side}",
        }
        for a in attributions
        for side, sign in _SIDES
    ]
    return pd.DataFrame(rows)


def setting(direction: str, alpha: float) -> str:
    """Return the name of a setting, such as "steered, α = 2"."""
    return f"{direction}, α = {alpha:g}"


def settings(
    vectors: Mapping[int, Floats], alphas: Sequence[float], seed: int
) -> dict[str, tuple[Mapping[int, Floats], float]]:
    """Return what is compared, setting -> (vectors, alpha): the plain model, each alpha, and a random push.

    The random push has the length of the vector of each layer and the largest alpha.
    """
    draw = statistics.generator(seed)
    random = {layer: _random(vector, draw) for layer, vector in vectors.items()}
    steered = {setting("steered", alpha): (vectors, alpha) for alpha in alphas}
    return {PLAIN: (vectors, 0.0), **steered, setting("random", max(alphas)): (random, max(alphas))}


def _random(vector: Floats, draw: np.random.Generator) -> Floats:
    noise = draw.normal(size=len(vector))
    pushed: Floats = noise * np.linalg.norm(vector) / np.linalg.norm(noise)
    return pushed


def read(answers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of `distributional_correctness.scores`, one row per setting and question.

    Args:
        answers: Setting -> answers to the tested questions, the plain model first.
    """
    tables = {name: distributional_correctness.scores(probabilities(table)) for name, table in answers.items()}
    return pd.concat([table.assign(setting=name) for name, table in tables.items()], ignore_index=True)


def items(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to compare runs by: the DCS of a question under each setting."""
    return scores.pivot(index="question_id", columns="setting", values="dcs").add_prefix("DCS, ")


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every judged score by setting; accuracy with a Wilson interval."""
    rates = statistics.summarise(scores, ["accuracy"], by="setting", method="wilson")
    others = [metric for metric in JUDGED if metric != "accuracy"]
    means = statistics.summarise(scores, others, by="setting", bounds=RANGES)
    return pd.concat([rates, means], ignore_index=True)[["setting", "metric", "mean", "low", "high", "n"]]


def effects(scores: pd.DataFrame) -> pd.DataFrame:
    """Return every setting minus the plain model, paired by question; `p_adjusted` by Holm over all rows."""
    plain = scores[scores["setting"] == PLAIN]
    found = pd.concat(
        [
            statistics.paired(part, plain, list(JUDGED), bounds=RANGES).assign(setting=name)
            for name, part in scores.groupby("setting", sort=False)
            if name != PLAIN
        ]
    )
    found["p_adjusted"] = statistics.adjusted(found["p_permutation"])
    return found[["setting", "metric", "mean", "low", "high", "n", "p_permutation", "p_adjusted"]]


def perplexity(texts: Mapping[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """Return the perplexity per token under each setting, with a bootstrap interval over texts.

    Args:
        texts: Setting -> what `score_texts` says of the tested questions' own texts.
        seed: Of the bootstrap.
    """
    rows = []
    for name, table in texts.items():
        found = statistics.bootstrap(_per_token, table["logprob"], table["n_tokens"], draws=200, seed=seed)
        rows.append({"setting": name, **found})
    return pd.DataFrame(rows)[["setting", "mean", "low", "high", "n", "note"]]


def _per_token(logprob: Floats, tokens: Floats) -> float:
    return float(np.exp(-logprob.sum() / tokens.sum()))


def statements(questions: Sequence[Question]) -> list[Question]:
    """Return each question with its first right and with its first wrong answer, to be graded from 1 to 9.

    Tags: `level`, 1 for the right answer and 0 for the wrong one, and `pair`, the id of the question.
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
    each, n = answers.iloc[:: len(GRADES)], len(GRADES)
    predicted = expected_score(np.exp(answers["logprob"].to_numpy().reshape(-1, n)), answers["value"].to_numpy()[:n])
    return each[["pair", "level"]].assign(predicted=predicted).reset_index(drop=True)


def grading_errors(graded: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of the expected score, see `reliability_regression`."""
    return pd.DataFrame([reliability_regression(graded["level"], graded["predicted"])])


def grading_bins(graded: pd.DataFrame) -> pd.DataFrame:
    """Return the proportion of right statements by expected score."""
    return calibration.calibration_report(graded["predicted"], graded["level"]).bins.dropna()


def told_apart(graded: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the AUROC of the expected score, and in words whether it tells right from wrong statements.

    The interval is a bootstrap over pairs of statements.
    """
    clusters = graded["pair"].to_numpy()
    found = statistics.bootstrap(
        calibration.auroc, graded["predicted"], graded["level"], clusters=clusters, draws=200, seed=seed
    )
    return pd.DataFrame([{"score": "expected", **found, "verdict": statistics.versus(found, 0.5)}])


def findings(scores: pd.DataFrame, effects: pd.DataFrame, told: pd.DataFrame, alpha: float) -> list[Finding]:
    """Return the claims of the notebook, tested on this run.

    Args:
        scores: See `read`.
        effects: See the function of that name.
        told: See `told_apart`.
        alpha: The strength that is judged, that of the random push.
    """
    steered, random = (scores[scores["setting"] == setting(name, alpha)] for name in ("steered", "random"))
    change = statistics.rows_by(effects[effects["setting"] == setting("steered", alpha)], "metric")
    against = statistics.rows_by(statistics.paired(steered, random, ["accuracy", "dcs"], bounds=RANGES), "metric")
    reason = "a random push cannot be told from it"
    blind = {metric: statistics.unless(row, "above", 0.0, reason) for metric, row in against.items()}
    paper = (
        "Steering raises accuracy on questions with common misconceptions (+13.22 % on TruthfulQA with Llama-3.1-8B)"
    )
    more = "Steering does more for the {} than a random push of the same length"
    claims: list[tuple[str, str, Any, float, str]] = [
        (paper, PAPER, change["accuracy"], 0.0, blind["accuracy"]),
        ("Steering raises the DCS", f"{HERE}, after {PAPER}", change["dcs"], 0.0, blind["dcs"]),
        (more.format("accuracy"), HERE, against["accuracy"], 0.0, ""),
        (more.format("DCS"), HERE, against["dcs"], 0.0, ""),
        ("A reliability score tells right from wrong statements (AUROC)", "arXiv 2506.12072", told.iloc[0], 0.5, ""),
    ]
    return [
        statistics.finding(claim, source, row, "above", baseline, undecided)
        for claim, source, row, baseline, undecided in claims
    ]


def draw_effects(effects: pd.DataFrame) -> Figure:
    """Draw the change of DCS, accuracy and probability of abstaining under each setting."""
    figure = figures.intervals(
        effects[effects["metric"].isin(["dcs", "accuracy", "p_abstain"])],
        "setting",
        by="metric",
        baseline=0.0,
        baseline_name="no change",
        xlabel="change against the plain model, paired by question",
    )
    return figures.described(
        figure,
        "Change of DCS, accuracy and probability of abstaining for each steering strength and for a random direction, "
        "with 95% intervals.",
    )
