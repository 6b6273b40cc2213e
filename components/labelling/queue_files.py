"""The queue in files: CSV for a table program, or tasks with predictions for Label Studio and its interface.

Both come back as training rows by `data.feedback`: the columns have our names, and an empty cell is not labelled yet.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from components.errors import ConfigError
from components.labelling.queue import QueuedRow
from components.step_store import storage_errors, write_whole

Format = Literal["csv", "label-studio"]
ENDINGS: Mapping[str, str] = {"csv": ".csv", "label-studio": ".json"}
NUMBERS = ("confidence", "margin", "entropy", "novelty", "distance")
ANSWER = "answer"  # the label of a marked answer


@dataclass(frozen=True, slots=True)
class Origin:
    """Which version proposes: the model's name, its version, its labels, and the column for the true answer."""

    name: str
    version: int
    labels: tuple[str, ...]
    column: str


def require_ending(target: Path, kind: Format) -> None:
    """That a file's name fits what is written into it.

    Raises:
        ConfigError: it does not.
    """
    if target.suffix != ENDINGS[kind]:
        raise ConfigError(
            f"{target} does not end in {ENDINGS[kind]}, which the format {kind} needs.",
            "name the output file so, or choose another --format.",
        )


def write_queue(target: Path, kind: Format, queue: Sequence[QueuedRow], origin: Origin) -> list[Path]:
    """Write the queue; returns the files: for Label Studio the tasks and the interface that shows them.

    Raises:
        StorageError: they cannot be written.
    """
    with storage_errors(target):
        if kind == "csv":
            _write_csv(target, queue, origin)
            return [target]
        tasks = [_task(row, origin) for row in queue]
        write_whole(target, json.dumps(tasks, ensure_ascii=False, indent=1))
        interface = target.with_suffix(".xml")
        write_whole(interface, label_studio_interface(list(queue[0].texts), origin))
    return [target, interface]


def _write_csv(target: Path, queue: Sequence[QueuedRow], origin: Origin) -> None:
    draft = target.with_name(f".{target.name}.part")
    texts = list(queue[0].texts)
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow([*texts, origin.column, "proposal", *NUMBERS, "reasons", "row", "model", "version"])
            for row in queue:
                numbers = [getattr(row, name) for name in NUMBERS]
                origins = [row.reasons, row.name, origin.name, origin.version]
                table.writerow([*row.texts.values(), "", row.proposal, *numbers, *origins])
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _task(row: QueuedRow, origin: Origin) -> dict[str, Any]:
    """A task of Label Studio.

    Source: https://labelstud.io/guide/tasks and https://labelstud.io/guide/predictions
    """
    numbers = {name: getattr(row, name) for name in NUMBERS}
    data = {**row.texts, "reasons": row.reasons, "row": row.name, "version": origin.version, **numbers}
    prediction: dict[str, Any] = {
        "model_version": f"{origin.name} version {origin.version}",
        "result": list(_results(row, origin)),
    }
    if row.confidence is not None:
        prediction["score"] = row.confidence
    return {"data": data, "predictions": [prediction]}


def _results(row: QueuedRow, origin: Origin) -> list[dict[str, Any]]:
    """What the model proposes, as regions of Label Studio."""
    answer, texts = row.answer, list(row.texts)
    match origin.column:
        case "label":
            return [_result(origin, texts[0], "choices", {"choices": [answer["label"]]})]
        case "labels":
            return [_result(origin, texts[0], "choices", {"choices": list(answer["labels"])})]
        case "value":
            return [_result(origin, texts[0], "number", {"number": answer["value"]})]
        case "entities":
            return [_result(origin, texts[0], "labels", _span(each, each["label"])) for each in answer["entities"]]
    if not answer["answer"]:
        return []
    found = {"start": answer["start"], "end": answer["end"], "text": answer["answer"]}
    return [_result(origin, texts[-1], "labels", _span(found, ANSWER))]


def _span(found: Mapping[str, Any], label: str) -> dict[str, Any]:
    return {"start": found["start"], "end": found["end"], "text": found["text"], "labels": [label]}


def _result(origin: Origin, text: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"from_name": origin.column, "to_name": text, "type": kind, "value": dict(value)}


def label_studio_interface(texts: Sequence[str], origin: Origin) -> str:
    """The labelling interface: the texts, the reasons, and what can be said; its names are those of our columns."""
    shown = "\n".join(f"  <Text name={quoteattr(text)} value={quoteattr(f'${text}')}/>" for text in texts)
    return f'<View>\n  <Header value="$reasons"/>\n{shown}\n{_control(texts, origin)}\n</View>\n'


def _control(texts: Sequence[str], origin: Origin) -> str:
    column = quoteattr(origin.column)
    match origin.column:
        case "label" | "labels":
            choice = "single" if origin.column == "label" else "multiple"
            options = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in origin.labels)
            return f'  <Choices name={column} toName={quoteattr(texts[0])} choice="{choice}">\n{options}  </Choices>'
        case "value":
            return f"  <Number name={column} toName={quoteattr(texts[0])}/>"
    labels = origin.labels if origin.column == "entities" else (ANSWER,)
    options = "".join(f"    <Label value={quoteattr(label)}/>\n" for label in labels)
    return f"  <Labels name={column} toName={quoteattr(texts[-1])}>\n{options}  </Labels>"
