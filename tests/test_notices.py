"""Somebody is told what becomes of runs: what, why, where to look, each event once, whatever the receiver does."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import pytest

from components.config import Notify, RunConfig
from components.errors import BusyError, ConfigError, DataError, OrchestrationError, RejectedData, StorageError
from components.notices import Begun, Notice, Outbox
from components.run_files import read_run_file
from components.settings import Settings, without_secrets
from flows import deployments, doctor, due, notifying, servers
from flows.crashes import tell_of_crashes
from flows.notifying import failures_told, read_or_tell, reported, sweep
from flows.results import RunResult
from tests.deliveries import write_run_file
from tests.receivers import Receiver, listening


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with listening() as server:
        monkeypatch.setenv("REBERT_WEBHOOK_OPS", server.address)
        yield server


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return read_run_file(write_run_file(tmp_path, tmp_path, notify={"to": "ops"}))


@pytest.fixture
def run(config: RunConfig, settings: Settings, tmp_path: Path):
    """A run that ends with a result, or with an exception."""

    def made(end: RunResult | BaseException, config: RunConfig = config) -> None:
        with reported(config, settings, tmp_path / "reviews.yaml") as report:
            if isinstance(end, BaseException):
                raise end
            report.ended(end)

    def caught(end: RunResult | BaseException, config: RunConfig = config) -> None:
        try:
            made(end, config)
        except BaseException as error:
            assert error is end  # noqa: PT017

    return caught


FAILED = DataError("week-7.csv has no column 'text' & no <row>.", "correct data.columns.")
PROMOTED = RunResult("promoted", "reviews", "Better.", version=2)
REFUSED = RunResult("refused", "reviews", "Refused by superiority: 0.70 against 0.71.", version=3)


def test_a_failure_says_what_why_and_where_to_look(run, receiver: Receiver):
    run(FAILED)
    [text] = receiver.texts
    assert text.startswith("*reviews: the run failed*\n")
    assert "week-7.csv has no column 'text' &amp; no &lt;row&gt;. To fix: correct data.columns." in text
    assert "Look further: rebert plan " in text


def test_the_same_failure_is_told_once_until_a_run_works(run, receiver: Receiver):
    for end in (FAILED, FAILED, PROMOTED, PROMOTED, FAILED, FAILED):
        run(end)
    assert [text.split("*")[1] for text in receiver.texts] == [
        "reviews: the run failed",
        "reviews: the run works again",
        "reviews: the run failed",
    ]


def test_another_failure_is_another_event(run, receiver: Receiver):
    run(FAILED)
    run(DataError("The disk is full.", "free some space."))
    assert len(receiver.texts) == 2


def test_rejected_data_names_its_report_and_each_delivery_is_told_once(run, receiver: Receiver):
    for report in ("/steps/a", "/steps/a", "/steps/b"):
        run(RejectedData("3 rows have an unknown label.", "correct them.", report))
    assert len(receiver.texts) == 2
    assert "Look further: cat /steps/b/validation.md" in receiver.texts[1]
    assert "The version that is live stays." in receiver.texts[0]


def test_a_refused_version_is_told_with_the_command_that_explains_it(run, receiver: Receiver):
    run(REFUSED)
    run(REFUSED)
    [text] = receiver.texts
    assert "Look further: rebert explain reviews 3" in text


def test_a_version_that_waits_is_told_once_with_the_command_that_approves_it(run, receiver: Receiver):
    for _ in range(2):
        run(RunResult("waiting", "reviews", "Better. Waits for approval until 2026-12-01 12:00 UTC.", version=4))
    [text] = receiver.texts
    assert "the new version waits for approval" in text
    assert "Look further: rebert approve reviews 4 --reason" in text


def test_what_nobody_asked_for_is_not_told(run, config: RunConfig, receiver: Receiver):
    quiet = config.model_copy(update={"notify": Notify(to="ops", of=("crashed",))})
    run(FAILED, quiet)
    run(REFUSED, quiet)
    assert receiver.texts == []


def test_a_person_who_stops_a_run_is_not_told_of_it(run, receiver: Receiver, settings: Settings):
    run(KeyboardInterrupt())
    run(SystemExit(143))
    assert sweep(settings) == 0
    assert receiver.texts == []


def test_a_receiver_that_is_down_is_logged_and_told_later_once(run, receiver: Receiver, settings: Settings, caplog):
    receiver.status = 500
    with caplog.at_level(logging.WARNING):
        run(FAILED)
    assert "Nobody was told that reviews: the run failed: the webhook answered 500." in caplog.text
    assert "planted-secret" not in caplog.text
    receiver.status = 200
    assert (sweep(settings), sweep(settings)) == (1, 0)
    assert len(receiver.texts) == 1


def test_nobody_listening_fails_no_run(run, monkeypatch, caplog):
    monkeypatch.setenv("REBERT_WEBHOOK_OPS", "http://127.0.0.1:9/planted-secret")
    run(REFUSED)
    assert "the webhook does not answer (ConnectError)" in caplog.text
    assert "planted-secret" not in caplog.text


@pytest.mark.parametrize("value", ["", "ftp://planted-secret", "http://[planted-secret"])
def test_a_wrong_address_fails_no_run_and_is_not_shown(run, monkeypatch, caplog, value):
    monkeypatch.setenv("REBERT_WEBHOOK_OPS", value)
    run(REFUSED)
    assert "Nobody was told" in caplog.text
    assert "planted-secret" not in caplog.text


def test_the_address_may_lie_in_a_file(run, receiver: Receiver, monkeypatch, tmp_path: Path):
    secret = tmp_path / "webhook"
    secret.write_text(receiver.address + "\n")
    secret.chmod(0o600)
    monkeypatch.delenv("REBERT_WEBHOOK_OPS")
    monkeypatch.setenv("REBERT_WEBHOOK_OPS_FILE", str(secret))
    run(REFUSED)
    assert len(receiver.texts) == 1


def test_children_that_ask_nobody_do_not_get_the_address():
    assert without_secrets({"REBERT_WEBHOOK": "https://a", "REBERT_WEBHOOK_OPS": "https://b", "HOME": "/"}) == {
        "HOME": "/"
    }


def test_a_worker_that_is_started_here_gets_the_address_and_no_server_does(settings, receiver: Receiver):
    worker = servers.prefect_worker(settings, "rebert", 1, 8080)
    assert worker.environment["REBERT_WEBHOOK_OPS"] == receiver.address
    for server in (servers.prefect_server, servers.mlflow_server):
        assert "REBERT_WEBHOOK_OPS" not in server(settings, "127.0.0.1", 4200).environment


DIES = """
import os, sys
from pathlib import Path
from components.run_files import read_run_file
from components.settings import read_settings
from flows.notifying import reported
settings = read_settings({"REBERT_HOME": sys.argv[2]}, Path("/"))
with reported(read_run_file(Path(sys.argv[1])), settings, Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""


def test_a_run_that_was_killed_is_told_by_whoever_looks_next_and_once(
    run, config: RunConfig, settings: Settings, receiver: Receiver, tmp_path: Path
):
    command = [sys.executable, "-c", DIES, str(tmp_path / "reviews.yaml"), str(settings.home)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == -9
    assert (sweep(settings), sweep(settings)) == (1, 0)
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == -9
    run(PROMOTED)  # the next run tells of the one before it, and that it works again
    assert [text.split("*")[1] for text in receiver.texts] == [
        "reviews: the run crashed",
        "reviews: the run crashed",
        "reviews: the run works again",
    ]


def test_a_run_that_is_at_work_has_not_crashed(config: RunConfig, settings: Settings, receiver: Receiver, tmp_path):
    with reported(config, settings, tmp_path / "reviews.yaml"):
        assert sweep(settings) == 0
    assert receiver.texts == []


def test_a_long_run_goes_on_giving_signs_of_life(settings: Settings, config, monkeypatch, tmp_path):
    """A machine that shares the folder sees no process of ours; after ten silent minutes it would call it dead."""
    monkeypatch.setattr(notifying, "SIGN_SECONDS", 0.01)
    place = settings.home / "notices" / config.name / "begun.json"
    with reported(config, settings, tmp_path / "reviews.yaml"):
        first = json.loads(place.read_text())["sign"]
        monkeypatch.setattr("components.notices.sign_of_life", lambda: "renewed 1 2 2026-11-21T00:00:00+00:00")
        ends = time.monotonic() + 10
        while json.loads(place.read_text())["sign"] == first and time.monotonic() < ends:
            time.sleep(0.01)
        assert json.loads(place.read_text())["sign"].startswith("renewed")
    assert not place.exists()


def test_a_failure_outside_the_lock_is_told_and_a_busy_model_is_not(
    settings: Settings, receiver: Receiver, config, tmp_path
):
    for error in (BusyError("at work", "wait."), *[StorageError("The disk is full.", "free some.")] * 2):
        with pytest.raises(type(error)), failures_told(config, settings, tmp_path / "reviews.yaml", "run-1"):
            raise error
    [text] = receiver.texts
    assert "The disk is full." in text


def test_the_workers_hook_and_the_sweep_tell_one_crash(settings: Settings, receiver: Receiver, config, tmp_path):
    died = Begun("run-1", "reviews.yaml", "host 1 2 2026-11-21T00:00:00+00:00", "ops", ("crashed",))
    assert notifying.tell_crash(settings, "reviews", died)
    assert not notifying.tell_crash(settings, "reviews", died)
    assert len(receiver.texts) == 1


def test_what_is_no_error_of_ours_outside_the_lock_is_told_and_a_pause_is_none(
    settings: Settings, receiver: Receiver, config, tmp_path
):
    from prefect.exceptions import Pause

    for error in (Pause("later"), httpx.ConnectError("refused")):
        with pytest.raises(type(error)), failures_told(config, settings, tmp_path / "reviews.yaml", "run-1"):
            raise error
    [text] = receiver.texts
    assert "ConnectError: refused" in text


class Prefect:
    """The part of Prefect's client that knows of crashed runs."""

    def __init__(self, *runs: SimpleNamespace) -> None:
        self.runs = {run.id: run for run in runs}

    def __enter__(self) -> Prefect:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_runs(self, **_: object) -> list[SimpleNamespace]:
        return list(self.runs.values())

    def read_flow_run(self, number: UUID) -> SimpleNamespace:
        return self.runs[number]

    def update_flow_run(self, number: UUID, tags: list[str]) -> None:
        self.runs[number].tags = tags


def crashed_run(run_file: Path, minutes: float, *tags: str) -> SimpleNamespace:
    state = SimpleNamespace(timestamp=datetime.now(UTC) - timedelta(minutes=minutes), is_running=lambda: False)
    return SimpleNamespace(id=uuid4(), parameters={"run_file": str(run_file)}, tags=list(tags), state=state)


def test_a_crash_that_prefect_alone_knows_of_is_told_once_on_all_machines(
    settings: Settings, config, receiver: Receiver, monkeypatch, tmp_path
):
    run_file = tmp_path / "reviews.yaml"
    never_started, told = crashed_run(run_file, 5), crashed_run(run_file, 5, "crash-told")
    just_now, long_ago = crashed_run(run_file, 1), crashed_run(run_file, 3000)
    server = Prefect(never_started, told, just_now, long_ago)
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda **_: server)
    here = replace(settings, prefect_api_url="http://prefect:4200/api")
    elsewhere = replace(here, home=tmp_path / "other")
    assert [tell_of_crashes(each) for each in (here, here, elsewhere)] == [1, 0, 0]
    assert "reviews: the run crashed" in receiver.texts[0]
    assert [run.tags for run in (never_started, just_now)] == [["crash-told"], []]
    assert notifying.outbox_of(here, "reviews").failing_since() is None
    assert tell_of_crashes(settings) == 0  # no server, nothing to ask


def test_a_monitor_that_died_or_broke_is_told(settings: Settings, config, receiver: Receiver, monkeypatch, tmp_path):
    from flows import monitor

    path = str(tmp_path / "reviews.yaml")
    environment = {"env": {"REBERT_HOME": str(settings.home)}}
    run = SimpleNamespace(id=uuid4(), parameters={"run_file": path}, job_variables=environment)
    for _ in range(2):
        monitor._crashed(monitor.monitor, run, None)
    monitor._tell(config, settings, path, ZeroDivisionError("no rows"))
    assert ["The monitor's process died" in text for text in receiver.texts] == [True, False]
    assert "The monitor cannot look. ZeroDivisionError: no rows" in receiver.texts[1]


def test_a_run_file_that_cannot_be_read_is_told_to_the_default_address(settings, receiver, monkeypatch, tmp_path):
    (tmp_path / "shop.yaml").write_text("nam: shop")
    monkeypatch.setenv("REBERT_WEBHOOK", receiver.address)
    for _ in range(2):
        with pytest.raises(ConfigError):
            read_or_tell(settings, tmp_path / "shop.yaml")
    [text] = receiver.texts
    assert "unknown key 'nam'" in text


def _claim(folder: Path, claimed) -> None:
    if Outbox(folder, "reviews").claim(Notice("reviews", "failed", None, "why", "look", "event")):
        claimed.put(1)


def test_of_many_processes_one_tells(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    claimed = context.Queue()
    processes = [context.Process(target=_claim, args=(tmp_path / "box", claimed)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert claimed.qsize() == 1


def test_a_process_that_died_while_it_told_does_not_tell_again(settings: Settings, receiver: Receiver):
    outbox = notifying.outbox_of(settings, "reviews")
    notice = Notice("reviews", "failed", "ops", "why", "look", "event")
    assert outbox.claim(notice)  # and now it dies
    assert not notifying.send_once(settings, notice)
    assert sweep(settings) == 0
    assert receiver.texts == []


def test_what_waited_for_a_week_is_no_news(settings: Settings, receiver: Receiver):
    outbox = notifying.outbox_of(settings, "reviews")
    old = outbox.claim(Notice("reviews", "failed", "ops", "why", "look", "event"))
    outbox.settle(replace(old, time="2026-01-01T00:00:00+00:00"), sent=False)
    assert outbox.waiting() == []


@pytest.mark.parametrize("content", ["", "[]", '{"state": "waiting"}', '{"state": "waiting", "notice": {"time": 1}}'])
def test_a_damaged_file_holds_up_no_other_notice_and_no_run(run, receiver, settings: Settings, caplog, content: str):
    outbox = notifying.outbox_of(settings, "reviews")
    outbox.settle(outbox.claim(Notice("reviews", "failed", "ops", "why", "look", "event")), sent=False)
    (outbox.folder / "failed-0000000000000000.json").write_text(content)
    for name in ("begun.json", "state.json"):
        (outbox.folder / name).write_text(content)
    run(PROMOTED)
    assert [text.split("*")[1] for text in receiver.texts] == ["reviews: the run failed"]
    assert "failed-0000000000000000.json is damaged" in caplog.text


def test_a_webhook_that_is_named_and_not_set_is_seen_before_a_run_fails(
    config, settings, monkeypatch, tmp_path, caplog
):
    here = replace(settings, prefect_api_url="http://prefect:4200/api")
    files = {"reviews": tmp_path / "reviews.yaml", "gone": tmp_path / "gone.yaml"}
    monkeypatch.setattr(due, "deployed_run_files", lambda _: files)
    deployments.warn_of_addresses([config])
    assert "reviews: notify.to needs REBERT_WEBHOOK_OPS" in caplog.text
    found = {finding.subject: finding for finding in doctor._deployed(here)}
    assert (found["reviews"].state, found["gone"].state) == ("bad", "bad")
    assert "REBERT_WEBHOOK_OPS is not set" in found["reviews"].text
    assert "rebert deploy --remove gone" in found["gone"].remedy
    monkeypatch.setenv("REBERT_WEBHOOK_OPS_FILE", "/run/secrets/webhook")
    assert [finding.state for finding in doctor._deployed(here)] == ["bad", "good"]


def test_a_test_message_reaches_whom_the_run_file_names(config, settings, receiver: Receiver, tmp_path, capsys):
    notifying.send_test(tmp_path / "reviews.yaml", settings)
    assert "You will be told of: failed, crashed" in receiver.texts[0]
    receiver.status = 404
    with pytest.raises(OrchestrationError, match="the webhook answered 404"):
        notifying.send_test(tmp_path / "reviews.yaml", settings)


@pytest.mark.parametrize("to", ["https://hooks.example/x", "OPS", "a b"])
def test_an_address_does_not_belong_into_a_run_file(tmp_path: Path, to: str):
    with pytest.raises(ConfigError, match=r"notify\.to"):
        read_run_file(write_run_file(tmp_path, tmp_path, notify={"to": to}))
