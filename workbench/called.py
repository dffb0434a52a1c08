"""Names of data sets as papers print them, for figures, tables and sentences; files and parameters keep the code."""

from __future__ import annotations

import re

CALLED = {
    "acorn": "ACORN",
    "anes96": "ANES 1996",
    "arc_challenge": "ARC-Challenge",
    "arc_easy": "ARC-Easy",
    "bbq_lite": "BBQ Lite",
    "commonsense_qa": "CommonsenseQA",
    "copa": "COPA",
    "disambiguation_qa": "Disambiguation QA",
    "general_knowledge": "General Knowledge",
    "gpqa": "GPQA",
    "graded_answers": "graded answers",
    "hellaswag": "HellaSwag",
    "helpsteer2": "HelpSteer2",
    "hh_rlhf": "HH-RLHF",
    "hhh_alignment": "HHH Alignment",
    "hindu_knowledge": "Hindu Knowledge",
    "judge_bench": "JudgeBench",
    "known_unknowns": "Known Unknowns",
    "mmlu": "MMLU",
    "mmlu_pro": "MMLU-Pro",
    "mt_bench_human": "MT-Bench (human votes)",
    "nq_human": "NQ-open (rated answers)",
    "openbookqa": "OpenBookQA",
    "piqa": "PIQA",
    "reward_bench": "RewardBench",
    "reward_bench_2": "RewardBench 2",
    "sciq": "SciQ",
    "sparse_feedback": "Sparse Feedback",
    "summary_pairs": "Factual Summary Pairs",
    "truthful_qa": "TruthfulQA",
    "truthful_qa_mc": "TruthfulQA (one best answer)",
    "winogender": "Winogender",
    "winogrande": "WinoGrande",
}

CODE = re.compile(r"(?:hub:)?(\w+)((?: \(|[:@]).*)?", re.DOTALL)


def called(text: str) -> str:
    """Return the name of a data set for its code, alone or before its part; other text as it is.

    `bbq_lite (Age)` becomes "BBQ Lite (Age)".
    """
    known = CODE.fullmatch(text)
    return CALLED[known[1]] + (known[2] or "") if known and known[1] in CALLED else text


def called_in(sentence: str) -> str:
    """Return a sentence with the names of data sets in place of their codes; other values as they are."""
    return " ".join(map(called, sentence.split(" "))) if isinstance(sentence, str) else sentence
