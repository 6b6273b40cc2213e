"""What became of the corrections that people sent: the names of what sets them aside, and the whole in a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from components.validation.checks import either

SUPERSEDED, HELD_OUT, CORRECTED = "superseded_feedback", "held_out_feedback", "corrected_rows"
NAMES = (SUPERSEDED, HELD_OUT, CORRECTED)
_NOT_LEFT = ("used", CORRECTED)


def feedback_in_words(counts: Mapping[str, int]) -> str:
    """What became of the corrections, in a sentence; empty where none were asked for."""
    if not counts:
        return ""
    words = {
        SUPERSEDED: "corrected again later",
        HELD_OUT: "of held-out texts",
        "duplicate_rows": "that say what a training row says",
        "near_duplicates": "nearly of held-out texts",
        "straddling_rows": "nearly of held-out texts",
        "unlabelled": "without an answer yet",
        "unreadable": "that cannot be read",
    }
    left = [f"{count:,} {words.get(name, f'by {name}')}" for name, count in counts.items() if name not in _NOT_LEFT]
    gone = f"; left out: {', '.join(left)}" if left else ""
    replaced = counts.get(CORRECTED, 0)
    instead = f", {replaced:,} instead of a delivered label" if replaced else ""
    return f"Feedback: {counts['used']:,} {either(counts['used'], 'row', 'rows')} to train on{instead}{gone}."
