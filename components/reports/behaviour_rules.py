"""What the gate asks of behaviour: no capability fails too often, and none has become worse than the champion's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.config import Gate
from components.records import EvaluationReport, GateRule
from components.reports.evaluation import BEHAVIOUR
from components.reports.statistics import holm, mcnemar_exact

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BehaviourFinding:
    """One capability: failed cases of both models, and the p-value of "the candidate is worse" after Holm.

    What is of the champion is None where there is none, or where it was tried on other cases; `templates` is how many
    voices there are then: of few, not even a loss of all of them would be significant.
    """

    capability: str
    cases: int
    failures: int
    champion_failures: int | None = None
    adjusted: float | None = None
    templates: int | None = None

    def has_too_few(self, alpha: float) -> bool:
        """Whether no outcome whatever could be shown to be worse."""
        return self.templates is not None and 0.5**self.templates > alpha


def compare_behaviour(
    candidate: EvaluationReport, own: Mapping[str, Any], champion: EvaluationReport | None
) -> list[BehaviourFinding]:
    """Every capability, with the exact McNemar test on the cases of both models where both were tried on them."""
    pairs = _pairs(candidate.folder, champion.folder) if champion and own.get("behaviour") else {}
    adjusted = iter(holm([mcnemar_exact(lost, won) for won, lost, _, _ in pairs.values()]))
    corrected = {capability: next(adjusted) for capability in pairs}
    return [
        BehaviourFinding(
            capability=item["capability"],
            cases=item["cases"],
            failures=item["failures"],
            champion_failures=pairs[item["capability"]][2] if item["capability"] in pairs else None,
            adjusted=corrected.get(item["capability"]),
            templates=pairs[item["capability"]][3] if item["capability"] in pairs else None,
        )
        for item in own.get("behaviour", ())
    ]


def _pairs(ours: Path, theirs: Path) -> dict[str, tuple[int, int, int, int]]:
    """By capability: templates of which the candidate passes more cases, or the champion; cases that this one fails;
    and all templates."""
    import pandas as pd

    if not (theirs / BEHAVIOUR).exists():
        return {}
    one, other = (pd.read_parquet(folder / BEHAVIOUR) for folder in (ours, theirs))
    found = {}
    for capability, mine in one.groupby("capability"):
        known = other[other["capability"] == capability]
        if list(mine["text"]) == list(known["text"]) and list(mine["changed"]) == list(known["changed"]):
            a, b = mine["passed"].to_numpy(), known["passed"].to_numpy()
            # Fillings of one template flip together: each template is one voice, for whom it has more passed cases.
            voices = (a.astype(int) - b.astype(int)) @ _of_template(mine["template"])
            found[str(capability)] = int((voices > 0).sum()), int((voices < 0).sum()), int((~b).sum()), len(voices)
    return found


def _of_template(templates: Sequence[str]) -> NDArray[np.int64]:
    """Which template each case is of: (cases, templates)."""
    _, place = np.unique(np.asarray(templates, str), return_inverse=True)
    table = np.zeros((len(place), int(place.max()) + 1), np.int64)
    table[np.arange(len(place)), place] = 1
    return table


def behaviour_rules(found: Sequence[BehaviourFinding], gate: Gate) -> Iterator[GateRule]:
    """A rule for each capability that refuses, and one for all that do not."""
    failed = [rule for each in found if (rule := _failure(each, gate))]
    yield from failed
    tried = [each for each in found if each.cases]
    if tried and not failed:
        worst = max(tried, key=lambda each: each.failures / each.cases)
        yield GateRule(
            "behaviour",
            True,
            f"{len(tried)} capabilities, none shown to be worse than the champion's{_untested(tried, gate)}; most "
            f"failures: {_share(worst)}",
        )


def _untested(tried: Sequence[BehaviourFinding], gate: Gate) -> str:
    few = [each.capability for each in tried if each.has_too_few(gate.guard_alpha)]
    return f" (too few templates to test: {', '.join(few)})" if few else ""


def _failure(found: BehaviourFinding, gate: Gate) -> GateRule | None:
    name, limit = f"behaviour {found.capability}", gate.max_behaviour_failures
    if limit is not None and found.cases == 0:
        return GateRule(
            name, False, "no frozen row can be changed so, and a limit is set (gate.max_behaviour_failures)"
        )
    if limit is not None and found.failures / found.cases > limit:
        return GateRule(name, False, f"{_share(found)}, at most {limit:.1%} are allowed")
    if found.adjusted is not None and found.adjusted <= gate.guard_alpha:
        words = f"{_share(found)}, against {found.champion_failures} of the champion's"
        return GateRule(name, False, f"{words}: shown to be worse, p = {found.adjusted:.2g} after Holm", found.adjusted)
    return None


def _share(found: BehaviourFinding) -> str:
    share = found.failures / max(found.cases, 1)
    return f"{found.failures} of {found.cases} cases of {found.capability} failed ({share:.1%})"
