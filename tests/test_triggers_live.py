"""Triggers on a real Prefect server: an event, new data and a crash, each ending as the documents say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from components.settings import Settings, read_settings
from flows import deployments
from flows.watching import Watcher
from tests.deliveries import rows, write_csv, write_run_file
from tests.prefect_server import prefect_server, until
from tests.receivers import Receiver, listening

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, told: Receiver) -> Iterator[tuple[Path, Settings]]:
    """A folder with a deployed run file, and the settings that name a server of its own."""
    folder = tmp_path_factory.mktemp("shop")
    write_csv(folder / "test.csv", rows(60, seed=1))
    write_csv(folder / "week-1.csv", rows(60, seed=2))
    limits = {"events": ["data.arrived"], "watch": "week-*.csv", "settle_seconds": 1, "cooldown_minutes": 30}
    path = write_run_file(folder, tiny_base, triggers=limits)
    with prefect_server(folder) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "PREFECT_API_URL": url,
            "REBERT_WEBHOOK": told.address,
            "PYTHONPATH": str(Path.cwd()),
        }.items():
            patch.setenv(name, value)
        settings = read_settings({"REBERT_HOME": str(folder / "home"), "PREFECT_API_URL": url}, folder)
        deployments.deploy_run_files([path], settings, as_json_object=False)
        yield folder, settings


def ask(settings: Settings, path: str, **content: object) -> list[dict]:
    return httpx.post(f"{settings.prefect_api_url}{path}", json=content).raise_for_status().json()


def runs(settings: Settings) -> list[dict]:
    return ask(settings, "/flow_runs/filter", sort="EXPECTED_START_TIME_ASC")


def emit(settings: Settings) -> None:
    event = {"event": "data.arrived", "occurred": datetime.now(UTC).isoformat(), "id": str(uuid4())}
    event["resource"] = {"prefect.resource.id": "shop.export"}
    httpx.post(f"{settings.prefect_api_url}/events", json=[event]).raise_for_status()


def after_event(settings: Settings) -> dict:
    known = {run["id"] for run in runs(settings)}
    emit(settings)
    return until(lambda: next((run for run in runs(settings) if run["id"] not in known), None))


def carry_out(settings: Settings, run_id: str) -> subprocess.Popen:
    """What a worker does with a run that is due."""
    environment = {**os.environ, "REBERT_HOME": str(settings.home)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", run_id]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def state_of(settings: Settings, run_id: str) -> tuple[str, str]:
    found = httpx.get(f"{settings.prefect_api_url}/flow_runs/{UUID(run_id)}").json()
    return found["state"]["type"], found["state"]["name"]


def test_an_event_has_the_model_run(place):
    _, settings = place
    run = after_event(settings)
    assert run["parameters"]["cause"] == "the event data.arrived"
    assert carry_out(settings, run["id"]).wait(timeout=240) == 0
    assert state_of(settings, run["id"]) == ("COMPLETED", "Promoted")
    said = [line["message"] for line in ask(settings, "/logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})]
    assert [line for line in said if line.startswith("fine_tune ran in")]  # our own lines, beside Prefect's


def test_events_that_come_too_early_are_one_run_that_waits(place):
    _, settings = place
    for _ in range(2):
        run = after_event(settings)
        assert carry_out(settings, run["id"]).wait(timeout=120) == 0
        assert state_of(settings, run["id"])[1] == "Deferred"
    waiting = [run for run in runs(settings) if run["state"]["type"] == "SCHEDULED"]
    assert len(waiting) == 1
    due = datetime.fromisoformat(waiting[0]["expected_start_time"])
    assert 25 * 60 < (due - datetime.now(UTC)).total_seconds() < 31 * 60


def test_new_data_is_asked_for_once_and_joins_what_waits(place, capsys):
    folder, settings = place
    write_csv(folder / "week-2.csv", rows(60, seed=3))
    watcher, before = Watcher(settings), len(runs(settings))
    assert watcher.look()
    time.sleep(1.1)
    assert not watcher.look()
    assert "reviews: new data: week-1.csv and 1 more; it runs not before" in capsys.readouterr().err
    assert not Watcher(settings).look()  # another process knows it as well
    assert len(runs(settings)) == before


def test_a_run_whose_process_is_killed_is_told_once(place, told: Receiver):
    folder, settings = place
    write_csv(folder / "week-3.csv", rows(400, seed=4))
    [found] = ask(settings, "/deployments/filter")
    run = ask(settings, f"/deployments/{found['id']}/create_flow_run", state={"type": "SCHEDULED"})
    worker = carry_out(settings, run["id"])
    begun = settings.home / "notices" / "reviews" / "begun.json"
    until(begun.exists)
    os.kill(int(json.loads(begun.read_text())["sign"].rsplit(" ", 3)[1]), signal.SIGKILL)
    worker.wait(timeout=60)
    until(lambda: state_of(settings, run["id"])[0] == "CRASHED")
    until(lambda: told.texts)
    assert [text.split("*")[1] for text in told.texts] == ["reviews: the run crashed"]
    assert f"prefect flow-run logs {run['id']}" in told.texts[0]
    until(lambda: "crash-told" in httpx.get(f"{settings.prefect_api_url}/flow_runs/{run['id']}").json()["tags"])
