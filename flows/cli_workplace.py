"""The commands about this machine and its servers: keys, deployments, triggers, notices, room on the disk, pages."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import Json, Name, command, keys, this_installation


@partial(command, group=keys, name="add")
def add_key(
    name: Annotated[str, typer.Argument(help="Who gets it, such as shop or shop-2026.")],
    days: Annotated[int | None, typer.Option(min=1, help="Days for which it holds; default: until revoked.")] = None,
    json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    from flows.access import make_key

    make_key(name, this_installation(), days, json)


@partial(command, group=keys, name="list")
def list_keys(json: Json = False) -> None:
    """List the keys by name, never the keys themselves."""
    from flows import access

    access.list_keys(this_installation(), json)


@partial(command, group=keys, name="revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Let a key hold no longer, at once."""
    from flows.access import drop_key

    drop_key(name, this_installation())


@command
def deploy(
    run_files: Annotated[list[Path] | None, typer.Argument(help="Run files; each becomes one deployment.")] = None,
    remove: Annotated[str | None, typer.Option(metavar="NAME", help="Take this model's deployments away.")] = None,
    json: Json = False,
) -> None:
    """Have a Prefect server retrain on the run files' schedules; doing it twice changes nothing."""
    from flows.deployed import remove_model
    from flows.deployments import deploy_run_files

    settings = this_installation()
    if not (run_files or remove):
        raise typer.BadParameter("Name run files, or a model with --remove.")
    if remove:
        remove_model(remove, settings)
    if run_files:
        deploy_run_files(run_files, settings, json)


@command
def schedule(
    pause: Annotated[str | None, typer.Option(help="Stop the scheduled runs of this model.")] = None,
    resume: Annotated[str | None, typer.Option(help="Schedule this model again.")] = None,
    json: Json = False,
) -> None:
    """List what is due, or pause and resume a model."""
    from flows.deployed import pause_model
    from flows.due import show_schedule

    settings = this_installation()
    if pause:
        pause_model(pause, settings, paused=True)
    if resume:
        pause_model(resume, settings, paused=False)
    if not (pause or resume):
        show_schedule(settings, json)


@command
def trigger(
    name: Name,
    cause: Annotated[
        str | None, typer.Option(help="What asks for it; the run file's limits on triggers then hold.")
    ] = None,
) -> None:
    """Have a worker run a deployed model now, or with a cause as soon as its limits allow."""
    from flows.deployed import trigger_model
    from flows.triggers import trigger_by

    settings = this_installation()
    if cause is None:
        trigger_model(name, settings)
    else:
        trigger_by(name, settings, cause)


@command
def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from look to look.")] = 10,
    once: Annotated[bool, typer.Option("--once", help="Look until all is quiet, then end.")] = False,
) -> None:
    """Have deployed models run when new data has landed where their run files say; until Ctrl-C."""
    from flows.watching import watch_data

    watch_data(this_installation(), every, once)


@command
def notify(
    run_file: Annotated[Path | None, typer.Argument(help="Send a test to whom this run file names.")] = None,
) -> None:
    """Tell of runs whose process died and of what could not be told before; with a run file, send a test."""
    from flows.notifying import send_test, show_sweep

    settings = this_installation()
    if run_file is None:
        show_sweep(settings)
    else:
        send_test(run_file, settings)


@command
def prune(
    name: Annotated[str | None, typer.Argument(help="Name of the model; default: all of them.")] = None,
    keep: Annotated[int, typer.Option(min=1, help="Newest versions, and steps of each kind, that stay.")] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
) -> None:
    """Remove what nobody needs any more; champions and all that were ever live stay."""
    from flows.pruning import prune_models

    prune_models(name, this_installation(), keep, dry_run, json)


@command
def up(
    run_files: Annotated[list[Path] | None, typer.Argument(help="Run files to deploy as well.")] = None,
    host: Annotated[str, typer.Option(help="Address that the servers listen on; this machine only.")] = "127.0.0.1",
    prefect_port: Annotated[int, typer.Option(min=0, max=65535, help="Prefect's port; 0 takes a free one.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=0, max=65535, help="MLflow's port; 0 takes a free one.")] = 5000,
    runs: Annotated[int, typer.Option(min=1, help="Runs that are carried out at a time.")] = 1,
    settings: Annotated[
        Path | None, typer.Option(help="File of NAME=VALUE lines: addresses of databases and stores, secrets.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout for each change.")] = False,
) -> None:
    """Keep Prefect, MLflow, a worker and the endpoints of all champions at work, until Ctrl-C."""
    from flows.up import bring_up
    from flows.up_file import apply_file
    from flows.up_start import Wishes

    if settings is not None:
        apply_file(settings, os.environ)
    bring_up(run_files or [], this_installation(), Wishes(host, prefect_port, mlflow_port, runs), json)


@command
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 5000,
    prefect: Annotated[bool, typer.Option("--prefect", help="Prefect's page instead of MLflow's.")] = False,
) -> None:
    """Open the MLflow UI (or Prefect's) on this machine, until Ctrl-C."""
    from flows.commands import open_ui

    open_ui(this_installation(), port, prefect)


@command
def doctor(json: Json = False) -> None:
    """Check this machine: versions, device, precision, folders, servers."""
    from flows.doctor import examine

    raise typer.Exit(examine(this_installation(), json))
