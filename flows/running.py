"""`rebert run`: the flow, its progress on the screen, its result as text or JSON, its exit code."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import date
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any, cast

from components.config import RunConfig
from components.errors import OrchestrationError, ProjectError
from components.processes.compute_process import ComputeProcess
from components.records import as_json
from components.run_files import read_pretraining_file, read_run_file, with_data_of
from components.settings import Settings, without_passwords
from components.step_store import failures_of_a_full_disk, storage_errors
from flows import console
from flows.computing import process_of_command, start_ahead
from flows.own_server import OwnServer, address_for_prefect
from flows.progress import RunLog, current_log
from flows.results import RunResult, failed, unchanged

MENDABLE = 2
HEALTH_SECONDS = 5
IMPORTED_AHEAD = ("great_expectations", "mlflow.pyfunc", "matplotlib.figure")


def run_model(
    run_file: Path, settings: Settings, as_json_object: bool, *, pretraining: bool = False, as_of: date | None = None
) -> int:
    """Run a model's flow, or its pretraining, and print what came of it.

    Returns:
        The exit code: 0 for a decision either way, 2 for what the user can mend.
    """
    content, code = execute_run(run_file, settings, pretraining=pretraining, as_of=as_of)
    if as_json_object:
        console.print_json(content)
    elif code == 0:
        _print_result(content)
    return code


def execute_run(
    run_file: Path, settings: Settings, *, pretraining: bool = False, as_of: date | None = None
) -> tuple[dict[str, Any], int]:
    """Run a model's flow, or its pretraining, with its progress on the screen; a user's mistake becomes a result.

    Returns:
        The content of a `RunResult`, and the exit code.
    """
    listener = console.ConsoleListener()
    log = RunLog(listener)
    current_log.set(log)
    try:
        with failures_of_a_full_disk(settings.home):
            return (_pretrain(run_file, settings) if pretraining else _execute(run_file, settings, log, as_of)), 0
    except ProjectError as error:
        listener.close()
        console.show_error(error)
        return failed(_name_of(run_file, pretraining), error, log.steps), MENDABLE
    finally:
        listener.close()


def _execute(run_file: Path, settings: Settings, log: RunLog, as_of: date | None) -> dict[str, Any]:
    """With no server, a run that has nothing to do ends before Prefect is imported: that alone takes seconds."""
    server = own_server(settings)
    if not server:
        return _retrain(run_file, as_of, None)
    config = with_data_of(read_run_file(run_file), as_of)
    with process_of_command(config, settings) as process:
        unchanged = _nothing_to_do(run_file, config, settings, log, process)
        return as_json(unchanged) if unchanged else _retrain(run_file, as_of, server)


def _retrain(run_file: Path, as_of: date | None, server: OwnServer | None) -> dict[str, Any]:
    with address_for_prefect(server):
        from flows.retrain import retrain

    Thread(target=_import_ahead, daemon=True).start()
    if server:
        server.wait()
    return cast(dict[str, Any], retrain(str(run_file), as_of))


def _pretrain(run_file: Path, settings: Settings) -> dict[str, Any]:
    server = own_server(settings)
    with address_for_prefect(server):
        from flows.pretrain import pretrain

    if server:
        server.wait()
    return cast(dict[str, Any], pretrain(str(run_file)))


def own_server(settings: Settings) -> OwnServer | None:
    """The server of this command, on its way; None where an address names another, which has been asked then.

    Raises:
        OrchestrationError: the server that PREFECT_API_URL names does not answer, or does not let us in.
    """
    prepare_prefect(settings)
    return OwnServer(settings) if settings.prefect_api_url is None else None


def _name_of(run_file: Path, pretraining: bool) -> str:
    return read_pretraining_file(run_file).name if pretraining else read_run_file(run_file).name


def adapt_model(pretraining_file: Path, run_file: Path, seeds: int, settings: Settings, as_json_object: bool) -> int:
    """Run the flow from domain text to the comparison with the untouched base, and print what came of it.

    Returns:
        The exit code: 0 for any verdict, 2 for what the user can mend.
    """
    listener = console.ConsoleListener()
    log = RunLog(listener)
    current_log.set(log)
    content: dict[str, Any]
    try:
        with failures_of_a_full_disk(settings.home):
            content, code = _adapt(pretraining_file, run_file, seeds, settings), 0
    except ProjectError as error:
        listener.close()
        console.show_error(error)
        content, code = failed(read_run_file(run_file).name, error, log.steps), MENDABLE
    finally:
        listener.close()
    if as_json_object:
        console.print_json(content)
    elif code == 0:
        console.print_text(f"{content['outcome']}: {content['reason']}")
    return code


def _adapt(pretraining_file: Path, run_file: Path, seeds: int, settings: Settings) -> dict[str, Any]:
    server = own_server(settings)
    with address_for_prefect(server):
        from flows.adapt import adapt

    if server:
        server.wait()
    return cast(dict[str, Any], adapt(str(pretraining_file), str(run_file), seeds))


def _import_ahead() -> None:
    """Import what the steps need while Prefect's server starts, which takes as long in a process of its own."""
    with suppress(ImportError):  # whoever needs it says so
        for library in IMPORTED_AHEAD:
            import_module(library)


def _nothing_to_do(
    run_file: Path, config: RunConfig, settings: Settings, log: RunLog, process: ComputeProcess
) -> RunResult | None:
    from components.registry.single_flight import single_flight
    from flows.job import open_job
    from flows.notifying import reported
    from flows.serving import keep_live

    with single_flight(settings, config.name), reported(config, settings, run_file) as report:
        job = open_job(config, settings, log, process)
        plan = job.plan()
        if plan.unchanged is None:
            start_ahead(job, plan)
            return None
        keep_live(job)
        result = unchanged(job, plan.unchanged)
        report.ended(result)
        return result


def prepare_prefect(settings: Settings) -> None:
    """Make Prefect's folder, and ask its server for its health, before the library is imported.

    Raises:
        OrchestrationError: the server that PREFECT_API_URL names does not answer, or does not let us in.
        StorageError: the folder cannot be made.
    """
    with storage_errors(settings.prefect_home):
        settings.prefect_home.mkdir(parents=True, exist_ok=True)  # Prefect makes the last folder of the path only
    if settings.prefect_api_url is None:
        return
    import httpx

    address, where = settings.prefect_api_url.rstrip("/"), without_passwords(settings.prefect_api_url)
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    try:
        httpx.get(f"{address}/health", timeout=HEALTH_SECONDS).raise_for_status()
        answer = httpx.get(f"{address}/admin/version", timeout=HEALTH_SECONDS, auth=(user, password) if user else None)
    except httpx.HTTPError as error:
        raise OrchestrationError(
            without_passwords(f"Prefect at {where} does not answer: {error}."),
            "start that server, or unset PREFECT_API_URL to run without one.",
        ) from error
    if answer.status_code in (401, 403):
        raise OrchestrationError(
            f"Prefect at {where} does not let you in.",
            "set PREFECT_API_AUTH_STRING=USER:PASSWORD, or PREFECT_API_AUTH_STRING_FILE to a file that holds it.",
        )


def _print_result(content: dict[str, Any]) -> None:
    console.print_text(f"{content['outcome']}: {content['reason']}")
    name, version = content["model"], content["version"]
    if content["outcome"] == "promoted":
        console.say(f"Serve it with 'rebert serve {name}'; see why with 'rebert explain {name} {version}'.")
    elif content["outcome"] == "waiting":
        console.say(f"Make it live with 'rebert approve {name} {version} --reason …'.")
    elif content["outcome"] == "refused":
        stays = "The champion stays" if (content["decision"] or {}).get("champion_version") else "No model is live yet"
        console.say(f"{stays}. See why with 'rebert explain {name} {version}'.")
