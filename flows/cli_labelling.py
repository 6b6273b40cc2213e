"""The commands about labels: which rows to label next, and what more labels would buy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import Json, Name, command, this_installation


class QueueFormat(StrEnum):
    csv = "csv"
    label_studio = "label-studio"


@command
def label_queue(
    name: Name,
    input: Annotated[Path, typer.Option(help="CSV, JSONL or Parquet with unlabelled texts: the pool.")],
    output: Annotated[Path, typer.Option(help="File to write: .csv, or .json for Label Studio.")],
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows to label, at most.")] = 100,
    format: Annotated[QueueFormat, typer.Option(help="csv; or label-studio: with predictions.")] = QueueFormat.csv,
    version: Annotated[int | None, typer.Option(help="Version that proposes; default: the champion.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Our name of a column and the file's: text=review.")] = None,
    json: Json = False,
) -> None:
    """Choose the rows of a pool whose labels would teach most: uncertain, novel, and unlike each other."""
    from flows.labelling import write_label_queue

    write_label_queue(
        name,
        this_installation(),
        input,
        output,
        rows=rows,
        kind=format.value,
        columns=column or [],
        version=version,
        as_json_object=json,
    )
