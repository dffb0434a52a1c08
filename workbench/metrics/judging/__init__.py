"""How far a model's verdicts can be trusted, read from their distributions."""

from workbench.metrics.judging.agreement import (
    alpha,
    correlation,
    icc_report,
    kappa,
    replace_rater,
)
from workbench.metrics.judging.biases import (
    denoise,
    flip_rate_of,
    length_bias,
    order_table,
    position_shift,
    repeated_agreement,
    without_noise,
)
from workbench.metrics.judging.consistency import (
    chance_nontransitivity,
    conflict_ratio,
    conflicts,
    cyclic_share,
    nontransitivity,
    subsets,
    triple_classes,
)
from workbench.metrics.judging.contrasts import reading_contrasts
from workbench.metrics.judging.master_keys import checklist_scores, false_positive_rates, key_table
from workbench.metrics.judging.panels import jury, peer_matrix
from workbench.metrics.judging.preferences import (
    apc,
    level_distance,
    preference_regression,
    soft_levels,
)
from workbench.metrics.judging.rankings import bradley_terry, general_preference, rating_ranking_table
from workbench.metrics.judging.reads import LabelReads, by_candidate, cases, label_reads, pair_reads
from workbench.metrics.judging.relations import Relations, aggregate, logit_split, sgn, upper
from workbench.metrics.judging.rewards import (
    followup_matrix,
    internal_agreement,
    symmetric_kl,
)
from workbench.metrics.judging.scoring import pass_rate, rescale, score
from workbench.metrics.judging.tables import (
    Judgement,
    consistency_table,
    delta_sweep,
    judgement,
    order_tables,
    pair_heads,
    reading_table,
    right_pairs,
    sign_accuracy,
    standing,
    transitivity_table,
)

__all__ = [
    "Judgement",
    "LabelReads",
    "Relations",
    "aggregate",
    "alpha",
    "apc",
    "bradley_terry",
    "by_candidate",
    "cases",
    "chance_nontransitivity",
    "checklist_scores",
    "conflict_ratio",
    "conflicts",
    "consistency_table",
    "correlation",
    "cyclic_share",
    "delta_sweep",
    "denoise",
    "false_positive_rates",
    "flip_rate_of",
    "followup_matrix",
    "general_preference",
    "icc_report",
    "internal_agreement",
    "judgement",
    "jury",
    "kappa",
    "key_table",
    "label_reads",
    "length_bias",
    "level_distance",
    "logit_split",
    "nontransitivity",
    "order_table",
    "order_tables",
    "pair_heads",
    "pair_reads",
    "pass_rate",
    "peer_matrix",
    "position_shift",
    "preference_regression",
    "rating_ranking_table",
    "reading_contrasts",
    "reading_table",
    "repeated_agreement",
    "replace_rater",
    "rescale",
    "right_pairs",
    "score",
    "sgn",
    "sign_accuracy",
    "soft_levels",
    "standing",
    "subsets",
    "symmetric_kl",
    "transitivity_table",
    "triple_classes",
    "upper",
    "without_noise",
]
