"""The commands about a model and its versions: answers, reasons, what is live, trials, corrections."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import Json, Name, command, this_installation, trial


@command
def serve(
    name: Name,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: this machine only.")] = None,
    json: Json = False,
) -> None:
    """Serve the champion over HTTP; later promotions and rollbacks reach it by themselves."""
    from flows.serving import serve_model

    serve_model(name, this_installation(), host, port, json)


@command
def predict(
    name: Name,
    input: Annotated[Path, typer.Option(help="CSV, JSONL or Parquet with the texts.")],
    output: Annotated[Path, typer.Option(help="JSONL or CSV file to write, one line a row.")],
    version: Annotated[int | None, typer.Option(help="Version; default: the champion.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Our name of a column and the file's: text=review.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help='What a request may ask beside its texts: top_k=5, labels=["card","fee"].')
    ] = None,
    json: Json = False,
) -> None:
    """Answer for every row of a file, in its order."""
    from flows.commands import predict_rows

    predict_rows(
        name,
        this_installation(),
        input,
        output,
        version=version,
        columns=column or [],
        options=option or [],
        as_json_object=json,
    )


@command
def explain(
    name: Name,
    version: Annotated[int | None, typer.Argument(help="Version; default: the latest decision.")] = None,
    json: Json = False,
) -> None:
    """Say why a version was promoted or refused."""
    from flows.explaining import explain_decision

    explain_decision(name, this_installation(), version, json)


@command
def approve(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version that waits.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")],
    json: Json = False,
) -> None:
    """Make a version live that has passed the gate and waits for a person (gate.approval)."""
    from flows.approving import approve_version

    approve_version(name, this_installation(), version, reason, json)


@command
def history(
    name: Name,
    at: Annotated[str | None, typer.Option(help="What was live then: a date (its end), or a time; UTC.")] = None,
    json: Json = False,
) -> None:
    """Say what was live when, who moved it and why, and whether anybody has changed the ledger since."""
    from flows.history import show_history

    show_history(name, this_installation(), at, json)


@command
def rollback(
    name: Name,
    to: Annotated[int | None, typer.Option(help="Version to go back to; default: the previous champion.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "no reason given",
    json: Json = False,
) -> None:
    """Make an earlier champion the champion again; a running endpoint follows."""
    from flows.serving import roll_back

    roll_back(name, this_installation(), to, reason, json)


class Mode(StrEnum):
    shadow = "shadow"
    canary = "canary"


@partial(command, group=trial, name="begin")
def begin_trial(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version to try.")],
    mode: Annotated[Mode, typer.Option(help="shadow: it answers copies; canary: it answers requests.")] = Mode.shadow,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Share of the requests that it gets.")] = 0.1,
    json: Json = False,
) -> None:
    """Try a version on the requests of a running endpoint."""
    from flows.trials import begin

    begin(name, version, this_installation(), mode.value, share, json)


@partial(command, group=trial, name="show")
def show_trial(name: Name, json: Json = False) -> None:
    """Say what is tried, and whether the endpoint has ended it."""
    from flows.trials import show

    show(name, this_installation(), json)


@partial(command, group=trial, name="end")
def end_trial(name: Name) -> None:
    """End a trial: the live version answers everything."""
    from flows.trials import end

    end(name, this_installation())


@command
def feedback(
    name: Name,
    output: Annotated[Path, typer.Option(help="JSONL file to write, for data.feedback of a run file elsewhere.")],
    json: Json = False,
) -> None:
    """Write the corrections that the endpoint was sent as training rows, the newest for each text."""
    from flows.commands import export_corrections

    export_corrections(name, this_installation(), output, json)


@command
def monitor(
    model: Annotated[str, typer.Argument(help="Name of the model, or its run file.")],
    window: Annotated[
        str | None,
        typer.Option(help="Only look: at so many answered texts (500), or hours or days (24h, 7d); nothing follows."),
    ] = None,
    json: Json = False,
) -> None:
    """Judge what the endpoint was asked since the last look; an alarm is told or has the model run."""
    from flows.monitoring import monitor_model

    monitor_model(model, this_installation(), window, json)


@command
def models(json: Json = False) -> None:
    """List the models, their champions and what happened last."""
    from flows.commands import list_models

    list_models(this_installation(), json)
