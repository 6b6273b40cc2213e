"""`decision.json`: the whole of a decision, shown in MLflow and named by its digest in the ledger."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from components.digests import canonical
from components.records import PromotionDecision

DECISION = "decision.json"


def read_content(decision: PromotionDecision) -> dict[str, Any] | None:
    """What stands in a decision's file; None where it has none.

    The champion's number is that of now: the step may be found again from a time when it had another.
    """
    path = decision.folder / DECISION
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content | {"champion_version": decision.champion_version} if "champion_version" in content else content


def decision_digest(decision: PromotionDecision) -> str:
    """SHA-256 of `decision.json` as MLflow has it; empty where there is none."""
    content = read_content(decision)
    return digest_of_content(content) if content is not None else ""


def digest_of_content(content: dict[str, Any]) -> str:
    """SHA-256 of the file that these values are written as."""
    return hashlib.sha256(canonical(content).encode("utf-8")).hexdigest()
