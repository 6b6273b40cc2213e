"""What all commands of `rebert` share: the groups they join, common options, and how a user's mistake ends them.

Nothing heavy is imported before a command needs it: `--help` and a bad run file answer at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from components.errors import ConfigError, ProjectError
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


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.print_text(f"rebert {version('rebert')}")
        raise typer.Exit


@app.callback()
def begin(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """What comes before every command."""


keys = typer.Typer(help="API keys of the endpoints on this machine.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(keys, name="keys")


trial = typer.Typer(help="A version tried beside the live one.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(trial, name="trial")


def failed(error: ProjectError) -> dict[str, Any]:
    """What `--json` prints of a user's mistake."""
    return {"outcome": "failed", "error": console.error_content(error)}


def failed_run(error: ProjectError) -> dict[str, Any]:
    """What `--json` prints where a run file cannot be read: the keys of every run's result."""
    from flows import results

    return results.failed(None, error)


def command(
    function: Callable[P, None],
    group: typer.Typer = app,
    name: str | None = None,
    failed: Callable[[ProjectError], dict[str, Any]] = failed,
) -> Callable[P, None]:
    """Register a command; a user's mistake ends it with two lines and exit code 2, a bug with a traceback and 1."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except ProjectError as error:
            console.show_error(error)
            if kwargs.get("json"):
                console.print_json(failed(error))
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
