"""What the commands do that look and report; `running.py` has `run`, `serving.py` has `serve` and `rollback`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.errors import ConfigError, RegistryError, ServingError
from components.records import as_json
from components.settings import Settings, without_passwords
from components.step_store import storage_errors, write_whole
from components.supervision.programs import Program
from flows import console, servers
from flows.explaining import chosen_version
from flows.progress import RunLog

if TYPE_CHECKING:
    from service.requests import AskedOfAll


def init_run_file(data: Path, output: Path | None, base: str | None, force: bool, as_json_object: bool) -> None:
    """Write a run file beside the data, unless one is there."""
    from components.data.run_file_draft import draft_run_file

    place = output or (data if data.is_dir() else data.parent) / f"{data.stem if data.is_file() else data.name}.yaml"
    if place.exists() and not force:
        raise ConfigError(
            f"{place} is there already.", "name another file with --output, or overwrite it with --force."
        )
    text = draft_run_file(data, base=base, folder=place.parent)
    with storage_errors(place):
        write_whole(place, text)
    if as_json_object:
        console.print_json({"run_file": str(place)})
    else:
        console.print_text(str(place))
    console.say(f"Look it over, then: rebert plan {place}")


def show_plan(run_file: Path, as_of: date | None, settings: Settings, as_json_object: bool) -> None:
    """The plan of a run as a table, or as JSON."""
    from components.monitoring.reach import why_no_retraining
    from components.run_files import read_run_file, with_data_of
    from flows.job import open_job

    job = open_job(with_data_of(read_run_file(run_file), as_of), settings, RunLog())
    found = job.plan()
    champion = job.champion.version if job.champion else None
    warning = why_no_retraining(job.config)
    if as_json_object:
        console.print_json({"model": job.config.name, "champion": champion, "warning": warning, **as_json(found)})
        return
    rows = [(step.name, step.action, step.reason) for step in found.steps]
    console.print_table(f"{job.config.name}, champion: {champion or 'none yet'}", ("step", "", "why"), rows)
    if found.feedback:
        console.print_text(found.feedback)
    if warning:
        console.print_text(f"Monitor: {warning}")
    if found.unchanged:
        console.print_text(f"Nothing to do: {found.unchanged}")


def list_models(settings: Settings, as_json_object: bool) -> None:
    """Every model with its champion and the last thing that happened to it."""
    from components import registry

    rows = []
    for name in registry.list_models(settings):
        events = registry.read_ledger(settings, name)
        found = registry.versions(settings, name)
        live = registry.champion(settings, name)
        last = events[-1] if events else None
        rows.append(
            {
                "model": name,
                "champion": live.version if live else None,
                "versions": len(found),
                "last": f"{last.action} to version {last.after}, {last.time[:16]}" if last else "never live",
                "why": last.why if last else "",
            }
        )
    if as_json_object:
        console.print_json({"models": rows})
    elif rows:
        console.print_table("", tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        console.print_text("No models yet: start with 'rebert init DATA', then 'rebert run FILE'.")


def predict_rows(
    name: str,
    settings: Settings,
    source: Path,
    target: Path,
    *,
    version: int | None,
    columns: Sequence[str],
    options: Sequence[str],
    as_json_object: bool,
) -> None:
    """Answer for every row of a file with a registered model, in batches."""
    from components import registry
    from components.models.prediction import predict_file

    if version is None:
        live = registry.champion(settings, name)
        if live is None:
            newest = chosen_version(name, settings, None).version
            raise RegistryError(f"No version of '{name}' is live.", f"name one with --version; the newest is {newest}.")
        version = live.version
    found = registry.get_version(settings, name, version)
    model = registry.fetch_model(settings, found)
    asked = _asked(model, options)
    rows = predict_file(model, source, target, named_columns(columns), options=asked.options, top_k=asked.top_k)
    if as_json_object:
        console.print_json({"model": name, "version": version, "rows": rows, "output": str(target)})
    console.say(f"{rows:,} rows answered by {name} version {version}: {target}")


def _asked(model: Path, options: Sequence[str]) -> AskedOfAll:
    """What words such as top_k=5 or labels=["card", "fee"] ask about every row, checked as the endpoint would."""
    from components.models.model_directory import read_manifest
    from service.problems import Problem
    from service.requests import read_options

    pairs = [option.partition("=") for option in options]
    wrong = [option for option, (name, _, value) in zip(options, pairs, strict=True) if not (name and value)]
    if wrong:
        raise ConfigError(f"--option {wrong[0]} names no option.", "write it as NAME=VALUE, such as top_k=5.")
    try:
        return read_options(read_manifest(model).task_type, {name: _value(value) for name, _, value in pairs})
    except Problem as problem:
        hint = "correct that; docs/endpoint.md lists the options of each type."
        raise ConfigError(f"--option: {problem.problem}", hint) from problem


def _value(word: str) -> Any:
    """What a word spells in JSON, or the word itself."""
    import json

    try:
        return json.loads(word)
    except ValueError:
        return word


def export_corrections(name: str, settings: Settings, target: Path, as_json_object: bool) -> None:
    """Write the corrections of a model's endpoint as training rows."""
    from components.serving.corrections import write_corrections
    from components.serving.places import feedback_file

    found = write_corrections(feedback_file(settings, name), target)
    if as_json_object:
        console.print_json({"model": name, "output": str(target), **as_json(found)})
        return
    console.print_text(f"{found.rows:,} corrected rows: {target}")
    if found.replaced or found.broken:
        console.say(f"{found.replaced:,} were corrected again later, {found.broken:,} lines could not be read.")


def named_columns(columns: Sequence[str]) -> dict[str, str]:
    """Our names of columns to the file's, from words such as text=review."""
    wrong = [column for column in columns if not all(column.partition("="))]
    if wrong:
        raise ConfigError(f"--column {wrong[0]} names no column.", "write it as OUR_NAME=COLUMN, such as text=review.")
    return {ours: theirs for ours, _, theirs in (column.partition("=") for column in columns)}


def open_ui(settings: Settings, port: int, prefect: bool) -> None:
    """Run MLflow's or Prefect's page on this machine until Ctrl-C; a server that is set up is only named."""
    server = settings.prefect_api_url if prefect else settings.tracking_uri
    if server and server.startswith("http"):
        console.print_text(without_passwords(server).removesuffix("/api"))
        return
    _require_free(port)
    page = servers.prefect_server(settings, servers.LOOPBACK, port) if prefect else _mlflow_page(settings, port)
    console.say(f"http://127.0.0.1:{port} (Ctrl-C ends it)")
    try:
        code = subprocess.run(page.command, env=dict(page.environment), check=False).returncode
    except KeyboardInterrupt:
        return
    if code:
        raise ServingError(f"The page ended with code {code}.", "read the lines above, or try another --port.")


def _mlflow_page(settings: Settings, port: int) -> Program:
    from components.registry import open_store

    open_store(settings)
    return servers.mlflow_server(settings, servers.LOOPBACK, port)


def _require_free(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServingError(f"Port {port} of this machine is taken.", "name another one with --port.") from error
