"""Deployments: what a Prefect server is told about a run file, and what it plans."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from components.config import Schedule
from components.errors import ConfigError, OrchestrationError
from components.run_files import read_run_file
from components.settings import Settings, read_settings
from flows import deployed, deployments
from flows.due import COMING_RUNS
from tests.deliveries import rows, write_csv, write_run_file
from tests.prefect_server import prefect_server, until

SUNDAYS = {"cron": "30 2 * * sun", "timezone": "Europe/Berlin"}


@pytest.fixture
def run_file(tmp_path: Path, tiny_base: Path) -> Path:
    write_csv(tmp_path / "week-1.csv", rows(60, seed=1))
    write_csv(tmp_path / "test.csv", rows(60, seed=2))
    return write_run_file(tmp_path, tiny_base, schedule=SUNDAYS)


def test_without_a_server_nothing_is_deployed(run_file: Path, settings: Settings):
    with pytest.raises(OrchestrationError, match="no Prefect server") as caught:
        deployments.deploy_run_files([run_file], settings, as_json_object=False)
    assert "prefect server start" in caught.value.hint


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"cron": "30 2 * * sun", "every_hours": 3}, "exclude each other"),
        ({"cron": "30 2 * * sun", "timezone": "Mars/Base"}, "there is no time zone 'Mars/Base'"),
        ({"cron": "30 2 * *"}, "schedule.cron"),
    ],
)
def test_a_wrong_schedule_is_one_sentence(tmp_path: Path, tiny_base: Path, schedule: dict, expected: str):
    path = write_run_file(tmp_path, tiny_base, schedule=schedule)
    with pytest.raises(ConfigError, match="schedule") as caught:
        read_run_file(path)
    assert expected in caught.value.problem


def test_a_schedule_in_words(run_file: Path):
    config = read_run_file(run_file)
    assert deployments.in_words(config) == "30 2 * * sun Europe/Berlin"
    hourly = config.model_copy(update={"schedule": Schedule(every_hours=36)})
    assert deployments.in_words(hourly) == "every 36 h"
    assert deployments.in_words(config.model_copy(update={"schedule": Schedule()})) == "when it is triggered"


def test_over_a_year_each_sunday_has_one_run_whatever_the_clock_does(run_file: Path):
    from prefect.server.schemas.schedules import CronSchedule

    config = read_run_file(run_file)
    [schedule] = deployments._schedules(config, config.schedule)
    planned = CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    start = datetime(2026, 11, 21, tzinfo=UTC)
    times = [each.astimezone(ZoneInfo("Europe/Berlin")) for each in asyncio.run(planned.get_dates(n=52, start=start))]
    assert {(after.date() - before.date()).days for before, after in pairwise(times)} == {7}
    odd = {f"{each:%m-%d %H:%M}" for each in times if (each.hour, each.minute) != (2, 30)}
    assert odd == {"03-28 01:30"}  # there is no 02:30 on that day
    assert "10-31 CEST" in {f"{each:%m-%d %Z}" for each in times}  # and this one has two, of which the first counts


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A home and the address of a real Prefect server, with the services that plan runs."""
    home = tmp_path_factory.mktemp("server")
    with prefect_server(home) as url:
        yield home, url


@pytest.mark.slow
def test_a_server_plans_what_the_run_file_says(server, run_file: Path, tiny_base: Path, capsys, monkeypatch):
    home, url = server
    monkeypatch.setenv("PREFECT_API_URL", url)
    settings = read_settings({"REBERT_HOME": str(home / "rebert"), "PREFECT_API_URL": url}, home)

    def rebert(*words: str) -> str:
        environment = {**os.environ, "REBERT_HOME": str(settings.home), "PREFECT_API_URL": url}
        command = [sys.executable, "-m", "flows.cli", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "created" in rebert("deploy", str(run_file))
    assert "unchanged" in rebert("deploy", str(run_file))
    planned = until(lambda: "T02:30" in (shown := rebert("schedule")) and shown)
    assert planned.count("T02:30") == COMING_RUNS
    assert "waits for a worker" in rebert("trigger", "reviews")

    rebert("schedule", "--pause", "reviews")
    assert "paused" in rebert("schedule")
    rebert("schedule", "--resume", "reviews")

    write_run_file(run_file.parent, tiny_base)  # the schedule is gone from the run file
    assert "updated" in rebert("deploy", str(run_file))
    assert "T02:30" not in rebert("schedule")

    watched = {"schedule": {"timezone": "Europe/Berlin"}, "monitor": {"cron": "15 6 * * *"}}
    write_run_file(run_file.parent, tiny_base, **watched)
    assert "monitor" in rebert("deploy", str(run_file))
    planned = until(lambda: "T06:15" in (shown := rebert("schedule")) and shown)
    assert planned.count("T06:15") == COMING_RUNS
    assert rebert("deploy", str(run_file)).count("unchanged") == 2

    write_run_file(run_file.parent, tiny_base)
    assert "removed" in rebert("deploy", str(run_file))
    assert "monitor" not in rebert("schedule")


@pytest.mark.slow
def test_an_alarm_asks_for_a_run_within_the_limits_of_triggers(server, tmp_path: Path, tiny_base: Path, monkeypatch):
    from components.errors import OrchestrationError
    from flows.alarms import ask_for_run
    from flows.monitoring import Subject
    from flows.triggers import state_since
    from tests.bundles import registered

    home, url = server
    monkeypatch.setenv("PREFECT_API_URL", url)
    settings = read_settings({"REBERT_HOME": str(home / "rebert"), "PREFECT_API_URL": url}, home)
    path = write_run_file(tmp_path, tiny_base, name="watched", monitor={"every_hours": 24})
    config = read_run_file(path)
    subject = Subject(config, settings, registered(config, 1))
    with pytest.raises(OrchestrationError, match="'watched' is not deployed"):
        ask_for_run(subject, "accuracy")
    deployments.deploy_run_files([path], settings, as_json_object=False)
    assert ask_for_run(subject, "accuracy") == "A run was asked for; it begins now."
    ask_for_run(subject, "accuracy")  # what waits for the same is the same run
    body = {"flows": {"name": {"any_": ["retrain"]}}, "deployments": {"name": {"any_": ["watched"]}}}
    found = httpx.post(f"{url}/flow_runs/filter", json=body).json()
    assert [run["parameters"]["cause"] for run in found] == ["the monitor: accuracy"]
    assert state_since("watched", settings, "2026-01-01T00:00:00+00:00") == ""  # it has not begun
    deployed.pause_model("watched", settings, paused=True)
    with pytest.raises(OrchestrationError, match="The runs of 'watched' are paused"):
        ask_for_run(subject, "accuracy")


@pytest.mark.slow
def test_what_somebody_took_away_is_put_back_and_a_removed_model_leaves_nothing(
    server, tmp_path: Path, tiny_base: Path, monkeypatch, capsys
):
    from prefect.client.orchestration import get_client

    from flows.triggers import trigger_run

    home, url = server
    monkeypatch.setenv("PREFECT_API_URL", url)
    settings = read_settings({"REBERT_HOME": str(home / "rebert"), "PREFECT_API_URL": url}, home)
    watched = {"monitor": {"every_hours": 24}, "triggers": {"events": ["data.arrived"]}}
    path = write_run_file(tmp_path, tiny_base, name="mended", schedule=SUNDAYS, **watched)

    def deploy() -> list[str]:
        return [each.outcome for each in deployments.deploy(path.resolve(), read_run_file(path), settings)]

    assert deploy() == ["created", "created"]
    assert deploy() == ["unchanged", "unchanged"]
    with get_client(sync_client=True) as client:
        there = deployed.find_deployment(client, "mended")
        owner = f"prefect.deployment.{there.id}"
        client.delete_deployment_schedule(there.id, there.schedules[0].id)
        assert deploy() == ["updated", "unchanged"]
        client.delete_resource_owned_automations(owner)
        assert deploy() == ["updated", "unchanged"]
        assert [each.name for each in client.read_resource_related_automations(owner)] == ["mended on data.arrived"]
        deployed.pause_model("mended", settings, paused=True)
        assert deploy() == ["unchanged", "unchanged"]
        with pytest.raises(OrchestrationError, match="The runs of 'mended' are paused"):
            trigger_run("mended", settings, "the export")
        deployed.remove_model("mended", settings)
        assert [deployed.find_deployment(client, "mended", flow) for flow in ("retrain", "monitor")] == [None, None]
        assert client.read_resource_related_automations(owner) == []
    with pytest.raises(OrchestrationError, match="'mended' is not deployed"):
        deployed.remove_model("mended", settings)


@pytest.mark.slow
def test_the_automations_about_dead_runs_are_made_once(server, monkeypatch):
    from prefect.client.orchestration import get_client

    from flows.zombies import require_automations

    monkeypatch.setenv("PREFECT_API_URL", server[1])
    with get_client(sync_client=True) as client:
        require_automations(client)
        assert require_automations(client) == []
