"""The commands about labels: which rows to label next, and what more labels would buy."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from components.errors import ConfigError
from flows.command_line import Json, Name, command, this_installation


class QueueFormat(StrEnum):
    csv = "csv"
    label_studio = "label-studio"


@command
def label_queue(
    name: Name,
    output: Annotated[Path, typer.Option(help="File to write: .csv, or .json for Label Studio.")],
    input: Annotated[Path | None, typer.Option(help="CSV, JSONL or Parquet with unlabelled texts: the pool.")] = None,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="Or what the endpoint was asked, where serving.log_texts wrote it down.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows to label, at most.")] = 100,
    format: Annotated[QueueFormat, typer.Option(help="csv; or label-studio: with predictions.")] = QueueFormat.csv,
    version: Annotated[int | None, typer.Option(help="Version that proposes; default: the champion.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Our name of a column and the file's: text=review.")] = None,
    json: Json = False,
) -> None:
    """Choose the rows of a pool whose labels would teach most: uncertain, novel, and unlike each other."""
    from flows.labelling import write_label_queue

    if (input is None) is not from_log:
        raise ConfigError("The pool is either a file or the log.", "name --input FILE, or --from-log.")
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


class CurveMethod(StrEnum):
    embeddings = "embeddings"
    fine_tuning = "fine-tuning"


@command
def label_value(
    target: Annotated[str, typer.Argument(metavar="RUN_FILE|NAME", help="A run file, or the name of a model.")],
    rows: Annotated[int | None, typer.Option(min=1, help="More rows to ask about; default: 1,000.")] = None,
    method: Annotated[
        CurveMethod, typer.Option(help="embeddings: a fast proxy; fine-tuning: trains for each point.")
    ] = CurveMethod.embeddings,
    seeds: Annotated[int, typer.Option(min=2, max=20, help="Orders in which the rows are added.")] = 3,
    output: Annotated[Path | None, typer.Option(help="Folder that gets the table and the picture too.")] = None,
    json: Json = False,
) -> None:
    """Say what more labels would buy: a learning curve with its forecast and how sure it is."""
    from flows.label_value import show_label_value

    show_label_value(
        target,
        this_installation(),
        method=method.value,
        more=rows,
        seeds=seeds,
        output=output,
        as_json_object=json,
    )
