"""The commands that begin with a file: what is in it, what a run would do, the run itself, a base model from text."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flows import console
from flows.command_line import AsOf, Json, Name, RunFile, command, day_of, failed_run, this_installation


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


@partial(command, failed=failed_run)
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


@partial(command, failed=failed_run)
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
