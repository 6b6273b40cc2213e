"""The console script `rebert`: the only place that prints. Results go to stdout, everything else to stderr.

Nothing heavy is imported before a command needs it: `--help` and a bad run file answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from components.errors import ConfigError, ProjectError
from components.garbage import collect_rarely
from components.settings import Settings, apply_settings, read_settings
from flows import console

P = ParamSpec("P")
app = typer.Typer(
    help="Keeps BERT models fresh: validate, fine-tune, decide, serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunFile = Annotated[Path, typer.Argument(help="The run file, YAML.")]
Name = Annotated[str, typer.Argument(help="Name of the model, as in its run file.")]
AsOf = Annotated[str | None, typer.Option(help="Only data of this day or before, such as 2026-11-30.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


keys = typer.Typer(help="API keys of the endpoints on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys, name="keys")


trial = typer.Typer(help="A version tried beside the live one.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(trial, name="trial")


def command(function: Callable[P, None], group: typer.Typer = app, name: str | None = None) -> Callable[P, None]:
    """Register a command; a user's mistake ends it with two lines and exit code 2, a bug with a traceback and 1."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except ProjectError as error:
            console.show_error(error)
            if kwargs.get("json"):
                console.print_json({"outcome": "failed", "error": console.error_content(error)})
            raise typer.Exit(2) from None

    return group.command(name)(guarded)


def day_of(text: str | None) -> date | None:
    """The day that somebody wrote, or None.

    Raises:
        ConfigError: it is none.
    """
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError as error:
        raise ConfigError(f"'{text}' is no day of the calendar.", "write one such as 2026-11-30.") from error


def this_installation() -> Settings:
    """The settings of this process, applied to its environment before any library reads it."""
    settings = read_settings(os.environ, Path.cwd())
    apply_settings(settings)
    console.show_warnings()
    return settings


@command
def init(
    data: Annotated[Path, typer.Argument(help="A CSV, JSONL or Parquet file, or a folder of them.")],
    output: Annotated[Path | None, typer.Option(help="The run file to write; default: beside the data.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model: hub id, folder or package:MODULE/FOLDER.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite an existing run file.")] = False,
    json: Json = False,
) -> None:
    """Write a run file for a data file, after looking at it."""
    from flows.commands import init_run_file

    init_run_file(data, output, base, force, json)


@command
def schema(
    pretraining: Annotated[bool, typer.Option("--pretraining", help="Of a pretraining's run files.")] = False,
) -> None:
    """Print the JSON Schema of run files, for editors."""
    from components.run_file_schema import pretraining_file_schema, run_file_schema

    console.print_json(pretraining_file_schema() if pretraining else run_file_schema())


@command
def plan(run_file: RunFile, as_of: AsOf = None, json: Json = False) -> None:
    """Say what a run would do or reuse, and why; nothing is done."""
    from flows.commands import show_plan

    show_plan(run_file, day_of(as_of), this_installation(), json)


@command
def run(run_file: RunFile, as_of: AsOf = None, json: Json = False) -> None:
    """Validate, fine-tune, evaluate and decide; promote only what is really better."""
    from components.run_files import read_run_file, with_data_of

    day = day_of(as_of)
    with_data_of(read_run_file(run_file), day)  # before anything heavy is imported
    from flows.running import run_model

    raise typer.Exit(run_model(run_file, this_installation(), json, as_of=day))


@command
def replay(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version to make again.")],
    anyway: Annotated[bool, typer.Option("--anyway", help="Also with other code, libraries or hardware.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Of the primary metric, where the bits cannot be the same.")
    ] = 0.01,
    json: Json = False,
) -> None:
    """Make a version again from its recipe, and say whether it is the same; nothing is registered."""
    from flows.replay import replay_version

    raise typer.Exit(replay_version(name, version, this_installation(), tolerance, anyway, json))


@command
def pretrain(run_file: RunFile, json: Json = False) -> None:
    """Make a base model from raw text; promote it when it is better on held-out text."""
    from components.run_files import read_pretraining_file

    read_pretraining_file(run_file)  # before anything heavy is imported
    from flows.running import run_model

    raise typer.Exit(run_model(run_file, this_installation(), json, pretraining=True))


@command
def adapt(
    pretraining_file: Annotated[Path, typer.Argument(help="Run file of a pretraining on domain text.")],
    run_file: Annotated[Path, typer.Argument(help="Run file of a fine-tuning; its base is the untouched one.")],
    seeds: Annotated[int, typer.Option(min=2, max=100, help="Fine-tunings from each base.")] = 5,
    json: Json = False,
) -> None:
    """Pretrain on domain text, fine-tune from it, and say whether that beats the untouched base."""
    from components.run_files import read_pretraining_file, read_run_file

    read_pretraining_file(pretraining_file)
    read_run_file(run_file)
    from flows.running import adapt_model

    raise typer.Exit(adapt_model(pretraining_file, run_file, seeds, this_installation(), json))


@command
def serve(
    name: Name,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: this machine only.")] = None,
) -> None:
    """Serve the champion over HTTP; later promotions and rollbacks reach it by themselves."""
    from flows.serving import serve_model

    serve_model(name, this_installation(), host, port)


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
    from flows.commands import explain_decision

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
    output: Annotated[Path, typer.Option(help="JSONL file to write, for data.train of the run file.")],
    json: Json = False,
) -> None:
    """Write the corrections that the endpoint was sent as training rows, the newest for each text."""
    from flows.commands import export_corrections

    export_corrections(name, this_installation(), output, json)


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
def models(json: Json = False) -> None:
    """List the models, their champions and what happened last."""
    from flows.commands import list_models

    list_models(this_installation(), json)


@command
def deploy(
    run_files: Annotated[list[Path], typer.Argument(help="Run files; each becomes one deployment.")],
    json: Json = False,
) -> None:
    """Have a Prefect server retrain on the run files' schedules; doing it twice changes nothing."""
    from flows.deployments import deploy_run_files

    deploy_run_files(run_files, this_installation(), json)


@command
def schedule(
    pause: Annotated[str | None, typer.Option(help="Stop the scheduled runs of this model.")] = None,
    resume: Annotated[str | None, typer.Option(help="Schedule this model again.")] = None,
    json: Json = False,
) -> None:
    """List what is due, or pause and resume a model."""
    from flows.deployments import pause_model, show_schedule

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
    from flows.deployments import trigger_model
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


def main() -> None:
    """Run the command line; on SIGTERM everything that was begun is closed, as on Ctrl-C."""
    collect_rarely()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        app()
    except KeyboardInterrupt:
        console.say("Interrupted.")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
