"""What the ledger keeps of a decision: its numbers, what each rule said, and the digest of the whole text.

An entry is one tag of MLflow's, which its database cuts at 5,000 characters or refuses: what does not fit is said
shorter, and stands in full in the `decision.json` whose digest is here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.digests import digest_of
from components.records import GateRule, PromotionDecision, as_json
from components.reports.decision_file import decision_digest

NUMBERS = (
    *("metric", "candidate_score", "champion_score", "difference", "interval", "test", "p_value", "rows"),
    *("alpha", "lowest", "detectable", "margin", "best_version", "earlier_decisions", "test_rows", "confidence"),
    "gate",
)
LONGEST_ENTRY = 5000  # characters; registered_model_tags.value is a String(5000)
MOST_RULES = 12  # that are named where not all of them fit
LONGEST_NAME = 60  # characters of a rule's name there: the value of a slice may be a whole text
Numbers = dict[str, Any]


def numbers_of(decision: PromotionDecision) -> Numbers:
    """What was seen and by which rules; `decision` is the SHA-256 of the file in which all of it stands."""
    plain = as_json(decision)
    rules = {rule.name: f"{'' if rule.passed else 'refused: '}{rule.sentence}" for rule in decision.rules}
    short = {rule.name[:LONGEST_NAME]: _in_short(rule) for rule in decision.rules}
    return {key: plain[key] for key in NUMBERS} | {
        "rules": rules,
        "rules_in_short": short,
        "decision": decision.digest or decision_digest(decision),
    }


def _in_short(rule: GateRule) -> str:
    said = "passed" if rule.passed else "refused"
    return said if rule.p_value is None else f"{said}, p = {rule.p_value:.2g}"


def fitting(numbers: Mapping[str, Any], room: int) -> Numbers:
    """The numbers in so many characters of JSON: rules in full, in short, some of them, no rule set at last."""
    found = dict(numbers)
    short: dict[str, str] = found.pop("rules_in_short", {})
    for cut in ({}, {"rules": short}, {"rules": _some(short)}, {"gate": {"digest": digest_of(found.get("gate"))}}):
        found |= cut if found else {}
        if len(json.dumps(found, ensure_ascii=False)) <= room:
            break
    return found


def _some(short: Mapping[str, str]) -> dict[str, str]:
    """The first of the rules, those that refused before the others, and how many there are more."""
    order = sorted(short, key=lambda name: not short[name].startswith("refused"))
    kept = {name: short[name] for name in order[:MOST_RULES]}
    more = order[MOST_RULES:]
    refused = sum(short[name].startswith("refused") for name in more)
    return kept | ({"…": f"{len(more)} more, {refused} of them refused"} if more else {})
