"""Metrics in words and numbers for a person: `f1` is F1, `scored_tokens` has no fraction."""

from __future__ import annotations

WORDS = {
    "mcc": "MCC",
    "f1": "F1",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "has_answer_f1": "F1 of rows with an answer",
    "no_answer_accuracy": "accuracy of rows without an answer",
    "top1_accuracy": "top-1 accuracy",
    "top5_accuracy": "top-5 accuracy",
    "pseudo_perplexity": "pseudo-perplexity",
    "mean_log_likelihood": "mean log-likelihood",
    "windowed_share": "share of rows in several windows",
    "cut_share": "share of rows that lose words",
}
# What the Hugging Face hub calls them; it knows the family, our name says which of it.
HUB_METRICS = {
    **dict.fromkeys(("accuracy", "subset_accuracy", "top1_accuracy", "top5_accuracy"), "accuracy"),
    **dict.fromkeys(("f1", "macro_f1", "micro_f1", "weighted_f1"), "f1"),
    **{name: name for name in ("precision", "recall", "exact_match", "rmse", "mae")},
    "mcc": "matthews_correlation",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "pseudo_perplexity": "perplexity",
}
COUNTS = ("scored_tokens",)


def metric_words(name: str) -> str:
    """What a metric is called."""
    return WORDS.get(name) or name.replace("_", " ").replace("f1", "F1")


def metric_number(name: str, value: float) -> str:
    """Its value as it is shown."""
    return f"{value:,.0f}" if name in COUNTS else f"{value:.4f}"


def begin_with_capital(text: str) -> str:
    """The text as the begin of a sentence; `str.capitalize` would make f1 of F1."""
    return text[:1].upper() + text[1:]
