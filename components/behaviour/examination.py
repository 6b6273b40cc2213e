"""What a model does in each case: a predictor and rows in, a table of cases and a count for each capability out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.behaviour.perturbations import PERTURBATIONS
from components.behaviour.templates import Case
from components.models.inference import Predictor
from components.task_types.base import Answer, Row, TaskType

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 5  # failed cases of a capability in the report
COLUMNS = ("capability", "kind", "text", "changed", "before", "after", "passed", "template")


def examine_behaviour(
    predictor: Predictor, rows: Sequence[Row], changes: Sequence[str], cases: Sequence[Case], most_rows: int
) -> pd.DataFrame:
    """Every case with what was said before and after, and whether that is as it must be: one line each.

    Args:
        rows: the frozen rows, of which the first so many that a change applies to are tried.
        changes: names of `PERTURBATIONS`.
        cases: of the run file's own checks.
        most_rows: rows tried for each change.
    """
    import pandas as pd

    task_type = predictor.task_type
    tried = [pair for name in changes for pair in _perturbed(rows, name, task_type.texts[0], most_rows)]
    own = [(case, {task_type.texts[0]: case.text}, _after(case, task_type)) for case in cases]
    asked = [*tried, *own]
    before = predictor.predict([row for _, row, _ in asked])
    after = iter(predictor.predict([changed for _, _, changed in asked if changed is not None]))
    lines = [
        _line(case, answer, next(after) if changed is not None else None, task_type)
        for (case, _, changed), answer in zip(asked, before, strict=True)
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _perturbed(rows: Sequence[Row], name: str, text: str, most: int) -> list[tuple[Case, Row, Row | None]]:
    found: list[tuple[Case, Row, Row | None]] = []
    for row in rows:
        changed = PERTURBATIONS[name](row[text])
        if changed is not None:
            case = Case(name, "invariance", row[text], changed, template=row[text])
            found.append((case, row, {**row, text: changed}))
        if len(found) == most:
            break
    return found


def _after(case: Case, task_type: TaskType) -> Row | None:
    return None if case.changed is None else {task_type.texts[0]: case.changed}


def _line(case: Case, before: Answer, after: Answer | None, task_type: TaskType) -> tuple[Any, ...]:
    said = [task_type.said(answer) if answer is not None else None for answer in (before, after)]
    shown: list[Any] = list(said)
    if case.kind == "functionality":
        passed = case.label in task_type.words(str(said[0]))
    elif case.kind == "invariance" or after is None:
        passed = said[0] == said[1]
    elif case.label is None or case.label not in (scored := task_type.explained(before)):
        # The champion may not know a label yet that the candidate has learned; neither may the other.
        passed, shown = False, [f"{word} (no label {case.label})" for word in said]
    else:
        scores = [scored[case.label], task_type.explained(after)[case.label]]
        passed = scores[1] < scores[0] if case.direction == "down" else scores[1] > scores[0]
        shown = [f"{word} ({case.label} {score:.3f})" for word, score in zip(said, scores, strict=True)]
    return (case.capability, case.kind, case.text, case.changed, *shown, bool(passed), case.template)


def count_failures(cases: pd.DataFrame, changes: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Cases and failures of each capability, with the first failures, for report.json.

    Args:
        changes: the changes that were asked for; those that no row could be changed by have no case.
    """
    counted = [
        {
            "capability": str(capability),
            "kind": str(group["kind"].iloc[0]),
            "cases": len(group),
            "failures": int((~group["passed"]).sum()),
            "examples": group[~group["passed"]].head(SHOWN)[["text", "changed", "before", "after"]].to_dict("records"),
        }
        for capability, group in cases.groupby("capability", sort=True)
    ]
    none: dict[str, Any] = {"kind": "invariance", "cases": 0, "failures": 0, "examples": []}
    missing = sorted({*changes} - {item["capability"] for item in counted})
    return [*counted, *({"capability": name} | none for name in missing)]
