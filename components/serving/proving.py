"""The proof before a version goes live: trainer, registered model and running bundle give the same answers."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components.errors import BundleError, ServingError
from components.models.engines import find_engine
from components.models.golden import EVERYTHING, check_answers, check_model
from components.models.inference import TOLERANCE
from components.models.model_directory import GoldenRow, Manifest, model_digest, read_golden, verify_model
from components.records import Bundle
from components.serving.endpoint_process import Address, EndpointProcess, ask, converse, open_socket
from components.serving.releases import MODEL, UNPROVEN, engine_of, read_bundle_release
from components.settings import Settings
from components.step_store import storage_errors
from components.task_types import find_task_type

LATENCY_REQUESTS = 60
COMPANIONS = 4  # requests at once while batches are mixed
BUSY = (429, 503)  # a full queue, a request that waited longer than serving.timeout_seconds
BUSY_SECONDS = 60.0  # how long one request is asked again
BUSY_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found: by how much scores differ between the registered model and the trainer's answers, and between
    the running bundle, over every way to ask, and its engine's own golden rows, where `tolerance` is allowed.

    `refused_rows` counts golden rows that the endpoint takes from nobody, such as blank texts; latencies are of
    one client that sends one text at a time, and `core_seconds` what 1,000 of these take of the processor's cores.
    """

    tag: str
    rows: int
    refused_rows: int
    answers: int
    registered_difference: float
    engine: str
    tolerance: float
    largest_difference: float
    start_seconds: float
    p50_ms: float
    p95_ms: float
    core_seconds: float


def check_registered(model: Path) -> float:
    """By how much the scores of a registered model differ from the trainer's.

    Raises:
        BundleError: an answer is not the trainer's.
    """
    from components.models.inference import Predictor

    return check_model(Predictor.load(model), model)


def prove_bundle(
    settings: Settings,
    bundle: Bundle,
    registered_model: Path,
    log: Path | None = None,
    check: Callable[[Path], float] = check_registered,
) -> Proof:
    """That the registered model and the running bundle both give the trainer's answers; from then on it may go live.

    Args:
        settings: where folders are.
        bundle: the bundle to start, on a free port of this machine only.
        registered_model: the model directory as the registry gives it back.
        log: file for the output of the bundle; None for one in the home folder.
        check: compares the registered model with the trainer's answers.

    Raises:
        BundleError: an answer differs, or the bundle holds another model than the registry.
        ServingError: the bundle does not start.
        StorageError: the store cannot be written.
    """
    with (
        open_socket("127.0.0.1", 0) as listener,
        EndpointProcess(settings, bundle, listener, log or _log(settings, bundle)) as endpoint,
    ):
        manifest = verify_model(registered_model)  # while the bundle starts
        found = model_digest(registered_model)
        if found != bundle.model_digest:
            raise BundleError(
                f"The bundle {bundle.tag} holds model {bundle.model_digest[:12]}, the registry {found[:12]}.",
                "build the bundle again.",
            )
        registered = check(registered_model)
        start_seconds = endpoint.wait_until_ready()
        try:
            proof = _prove(endpoint, bundle, manifest, registered, start_seconds)
        except (OSError, http.client.HTTPException) as error:
            raise ServingError(
                f"The bundle {bundle.tag} stopped answering ({type(error).__name__}).", f"read {endpoint.log}."
            ) from error
    with storage_errors(bundle.path):
        (bundle.path / UNPROVEN).unlink(missing_ok=True)
    return proof


def _log(settings: Settings, bundle: Bundle) -> Path:
    return settings.home / "logs" / f"proof-{bundle.tag.replace(':', '-')}.log"


def _prove(
    endpoint: EndpointProcess,
    bundle: Bundle,
    manifest: Manifest,
    registered: float,
    start_seconds: float,
) -> Proof:
    source, address = bundle.path / "src", endpoint.address
    release, kind = read_bundle_release(source), find_engine(read_bundle_release(source).engine)
    tolerance = kind.tolerance_here()
    rows, alone = _ask_alone(address, golden := read_golden(engine_of(source) or source / MODEL))
    if not rows:
        raise BundleError(f"The endpoint of {bundle.tag} refuses every golden row.", "raise the limits under serving.")
    many = find_task_type(manifest.task_type).many
    most = release.serving.max_texts

    def mixed(order: Sequence[int]) -> float:
        return _check_mixed(address, rows, many, order, most, tolerance)

    differences = [check_answers(rows, alone, tolerance), *map(mixed, _orders(len(rows)))]
    before = _core_seconds(endpoint.process.pid)
    times = _latencies(address, rows)
    used = _core_seconds(endpoint.process.pid) - before
    quantiles = statistics.quantiles(times, n=20)
    return Proof(
        tag=bundle.tag,
        rows=len(rows),
        refused_rows=len(golden) - len(rows),
        answers=len(rows) * 3,
        registered_difference=registered,
        engine=kind.name,
        tolerance=tolerance,
        largest_difference=max(differences),
        start_seconds=round(start_seconds, 2),
        p50_ms=round(quantiles[9], 2),
        p95_ms=round(quantiles[18], 2),
        core_seconds=round(used / len(times) * 1000, 2),
    )


def _ask_alone(address: Address, golden: Sequence[GoldenRow]) -> tuple[list[GoldenRow], list[Mapping[str, Any]]]:
    """The golden rows that the endpoint takes, and its answer to each in a request of its own."""
    rows: list[GoldenRow] = []
    answers: list[Mapping[str, Any]] = []
    for row in golden:
        status, content = _ask_patiently(address, {**row.row, "top_k": EVERYTHING})
        if status == 422:
            continue
        rows.append(row)
        answers.extend(_answers(status, content))
    return rows, answers


def _ask_patiently(address: Address, content: Mapping[str, Any]) -> tuple[int, Any]:
    """An answer to one request, asked again while the endpoint is busy: on a slow machine its limits are soon met."""
    ends = time.monotonic() + BUSY_SECONDS
    while True:
        status, answer = ask(address, "POST", "/predict", content)
        if status not in BUSY or time.monotonic() > ends:
            return status, answer
        time.sleep(BUSY_PAUSE_SECONDS)


def _orders(rows: int) -> list[list[int]]:
    """Two orders in which each row meets other neighbours."""
    return [list(range(rows)), sorted(range(rows), key=lambda index: (index % 3, -index))]


def _check_mixed(
    address: Address,
    golden: Sequence[GoldenRow],
    many: str,
    order: Sequence[int],
    most: int,
    tolerance: float = TOLERANCE,
) -> float:
    """Largest difference when rows share requests, and the requests the model's batches."""
    size = max(1, min(most, -(-len(order) // COMPANIONS)))
    groups = [[golden[index] for index in order[start : start + size]] for start in range(0, len(order), size)]

    def answers(group: Sequence[GoldenRow]) -> list[Mapping[str, Any]]:
        items = [next(iter(row.row.values())) if len(row.row) == 1 else dict(row.row) for row in group]
        return _answers(*_ask_patiently(address, {many: items, "top_k": EVERYTHING}))

    with ThreadPoolExecutor(COMPANIONS) as pool:
        together = list(pool.map(answers, groups))
    return max(check_answers(group, found, tolerance) for group, found in zip(groups, together, strict=True))


def _answers(status: int, content: Any) -> list[Mapping[str, Any]]:
    if status in BUSY:
        raise BundleError(
            f"The endpoint was too busy for a golden row for {BUSY_SECONDS:g} seconds: {content}.",
            "raise serving.timeout_seconds, or prove it on a faster machine.",
        )
    if status != 200:
        raise BundleError(f"The endpoint answers a golden row with {status}: {content}.", "read its log.")
    predictions: list[Mapping[str, Any]] = content["predictions"]
    return predictions


def _latencies(address: Address, rows: Sequence[GoldenRow]) -> list[float]:
    """Milliseconds of single requests, one after the other on one connection."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=60)
    try:
        return [_timed(connection, rows[index % len(rows)].row) for index in range(LATENCY_REQUESTS)]
    finally:
        connection.close()


def _core_seconds(process: int) -> float:
    """What a process and all that it has started have taken of the processor until now."""
    first = psutil.Process(process)
    times = [each.cpu_times() for each in (first, *first.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _timed(connection: http.client.HTTPConnection, row: Mapping[str, Any]) -> float:
    started = time.perf_counter()
    converse(connection, "POST", "/predict", row)
    return (time.perf_counter() - started) * 1000
