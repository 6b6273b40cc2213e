"""`rebert up`: what is sure before it starts, what each program may know, what it shows; and all of it for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import httpx
import psutil
import pytest
from rich.console import Console

from components import tracking
from components.errors import BusyError, ConfigError, ServingError
from components.registry.store import open_store
from components.settings import Settings
from components.signs_of_life import sign_of_life
from components.supervision import keeping, supervised
from components.supervision.programs import Condition
from flows import endpoints, servers, up, up_screen, up_start, zombies
from flows.endpoints import port_of
from flows.up_file import apply_file
from flows.up_start import Wishes
from tests.deliveries import rows, write_csv, write_run_file

DATABASE = "postgresql+asyncpg://rebert:open-sesame@db/prefect"


def test_a_busy_port_is_one_sentence(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"Port {port} on 127.0.0.1 is taken") as caught:
            up_start.free_ports(settings, Wishes(prefect_port=0, mlflow_port=port))
    assert "--mlflow-port" in caught.value.hint


def test_two_servers_on_one_port_are_refused(settings: Settings):
    port = up_start.free_port()
    with pytest.raises(ServingError, match=f"Port {port} cannot have two servers"):
        up_start.free_ports(settings, Wishes(prefect_port=port, mlflow_port=port))


def test_a_server_that_an_address_names_needs_no_port(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = Wishes(prefect_port=taken.getsockname()[1], mlflow_port=0)
        elsewhere = replace(settings, prefect_api_url="http://prefect:4200/api")
        assert list(up_start.free_ports(elsewhere, busy)) == ["mlflow_port"]


def test_a_second_one_of_the_same_folder_is_told_of_the_first(settings: Settings):
    with (
        up_start.only_one(settings),
        pytest.raises(BusyError, match=rf"at work already .*process {os.getpid()}"),
        up_start.only_one(settings),
    ):
        pass


def test_each_process_knows_its_own_secrets_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    secrets = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": DATABASE,
        "PREFECT_API_AUTH_STRING": "me:prefects-word",
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://rebert:mlflows-word@db/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://models/rebert",
        "AWS_SECRET_ACCESS_KEY": "stores-word",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://rebert:older-word@db/prefect",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL_FILE": "/run/secrets/prefects-file",
        "MLFLOW_BACKEND_STORE_URI_FILE": "/run/secrets/mlflows-file",
        "PGPASSWORD": "databases-word",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    prefect = servers.prefect_server(settings, "127.0.0.1", 4200)
    mlflow = servers.mlflow_server(settings, "127.0.0.1", 5000)
    worker = servers.prefect_worker(replace(settings, prefect_api_url="http://127.0.0.1:4200/api"), "rebert", 1, 8080)

    def words(program) -> set[str]:
        known = " ".join(program.environment.values())
        planted = ("open-sesame", "older-word", "prefects-word", "mlflows-word", "stores-word", "databases-word")
        return {word for word in (*planted, "prefects-file", "mlflows-file") if word in known}

    assert words(prefect) == {"open-sesame", "older-word", "prefects-word", "prefects-file", "databases-word"}
    assert words(mlflow) == {"mlflows-word", "stores-word", "mlflows-file", "databases-word"}
    assert words(worker) == {"prefects-word"}
    for program in (prefect, mlflow, worker):
        assert not [value for value in secrets.values() if "word" in value and value in program.command]
    assert "s3://models/rebert" in mlflow.command
    assert worker.environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert "PREFECT_API_URL" not in prefect.environment


def test_programs_listen_on_this_machine_unless_told_otherwise(settings: Settings):
    here = Wishes()
    for program in (servers.prefect_server(settings, here.host, 1), servers.mlflow_server(settings, here.host, 2)):
        assert program.command[program.command.index("--host") + 1] == "127.0.0.1"
    worker = servers.prefect_worker(settings, "rebert", 1, 8080)
    assert worker.environment["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1"
    everywhere = servers.prefect_server(settings, "0.0.0.0", 4200)  # noqa: S104 - not bound
    assert everywhere.address == "http://127.0.0.1:4200"
    assert everywhere.environment["PREFECT_SERVER_UI_API_URL"] == "/api"


def test_a_settings_file_gives_what_the_environment_does_not_have(tmp_path: Path):
    file = tmp_path / "up.env"
    file.write_text(f"# where things are\nPREFECT_SERVER_DATABASE_CONNECTION_URL={DATABASE}\nAWS_REGION=eu-1\n")
    file.chmod(0o600)
    environment = {"AWS_REGION": "us-1"}
    apply_file(file, environment)
    assert environment == {"AWS_REGION": "us-1", "PREFECT_SERVER_DATABASE_CONNECTION_URL": DATABASE}


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        ("AWS_SECRET_ACCESS_KEY=open-sesame\n", 0o640, "others may read it"),
        (f"PREFECT_SERVER_DATABASE_CONNECTION_URL={DATABASE}\n", 0o604, "others may read it"),
        ("AWS_REGION\n", 0o600, "AWS_REGION"),
    ],
)
def test_a_wrong_settings_file_is_refused(tmp_path: Path, content: str, mode: int, expected: str):
    file = tmp_path / "up.env"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=expected) as caught:
        apply_file(file, {})
    assert "open-sesame" not in str(caught.value)
    with pytest.raises(ConfigError, match="no settings file"):
        apply_file(tmp_path / "nowhere", {})


def test_endpoints_keep_their_ports_and_share_none(settings: Settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        first = port_of("first", wanted, settings, "127.0.0.1")
        second = port_of("second", wanted, settings, "127.0.0.1")
    assert len({wanted, first, second}) == 3
    assert port_of("first", wanted, settings, "127.0.0.1") == first
    assert port_of("second", wanted, settings, "127.0.0.1") == second
    assert port_of("third", 0, settings, "127.0.0.1") == 0
    (settings.home / "up" / "ports.json").write_text("[damaged")
    assert port_of("first", wanted, settings, "127.0.0.1") == wanted  # it is free now


def test_json_lines_are_whole_objects(capsys: pytest.CaptureFixture[str]):
    view = up_screen.JsonLines()
    view.changed(Condition("mlflow", "failing", "http://127.0.0.1:5000", None, 2, "It was ended by SIGKILL."))
    view.say("All is up.")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (lines[0]["part"], lines[0]["state"], lines[0]["restarts"]) == ("mlflow", "failing", 2)
    assert (lines[1]["part"], lines[1]["note"]) == ("all", "All is up.")


def test_the_table_shows_what_is_wrong_and_where_to_read_on():
    console = Console(width=160)
    bad = Condition("mlflow", "failing", "http://127.0.0.1:5000", None, 2, "It said [/] and died.", "/logs/mlflow.log")
    good = Condition("prefect", "healthy", "http://127.0.0.1:4200", 7, 0, "", "/logs/prefect.log")
    with console.capture() as captured:
        console.print(up_screen.table_of([(bad, 3), (good, 7300)]))
    shown = captured.get()
    assert "It said [/] and died. /logs/mlflow.log" in shown
    assert "2 h" in shown
    assert "prefect.log" not in shown


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0 s"), (59.4, "59 s"), (61, "1 min"), (7300, "2 h"), (9e4, "1 d")]
)
def test_durations_at_a_glance(seconds: float, expected: str):
    assert up_screen.in_words(seconds) == expected


class Refused:
    """A view that is not wanted any more."""

    def changed(self, *_: object) -> None:
        pass

    say = refresh = close = changed


def test_a_server_that_cannot_start_ends_it_with_its_last_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def broken(settings: Settings, host: str, port: int):
        command = (sys.executable, "-c", "import sys; sys.exit('no such database')")
        return replace(real(settings, host, port), command=command, healthy=lambda: False)

    real = servers.mlflow_server
    monkeypatch.setattr(servers, "mlflow_server", broken)
    monkeypatch.setattr(servers, "prefect_server", broken)
    monkeypatch.setattr(keeping, "PAUSES", (0.0,))
    monkeypatch.setattr(keeping, "ASK_SECONDS", 0.05)
    for name in ("REBERT_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "BENTOML_HOME"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # what it sets is taken back
    installation = up.Installation(settings, Wishes(prefect_port=1, mlflow_port=2), [], Refused())
    with pytest.raises(ServingError, match="does not start: It ended with code 1: no such database") as caught:
        installation.keep(Event())
    assert "logs" in caught.value.hint


def test_runs_of_dead_processes_are_closed_as_killed(settings: Settings):
    client = open_store(settings)
    experiment = client.create_experiment("shop")
    open_run, dead_run = (client.create_run(experiment).info.run_id for _ in range(2))
    client.set_tag(open_run, "rebert.alive", tracking_sign(os.getpid()))
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    client.set_tag(dead_run, "rebert.alive", tracking_sign(int(child.stdout)))
    assert zombies.close_dead_runs(settings) == [dead_run]
    assert client.get_run(dead_run).info.status == "KILLED"
    assert client.get_run(open_run).info.status == "RUNNING"
    assert tracking.open_runs(settings) == [tracking.OpenRun(open_run, dead=False, flow_run="", silent=False)]


@pytest.mark.parametrize("seconds", [20, 100])
def test_a_run_that_prefect_calls_crashed_is_closed_when_it_is_silent_too(settings: Settings, monkeypatch, seconds):
    client = open_store(settings)
    run = client.create_run(client.create_experiment("shop")).info.run_id
    last = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")
    client.set_tag(run, "rebert.alive", f"elsewhere 7 1 {last}")
    client.set_tag(run, "rebert.flow_run", "flow-run")
    monkeypatch.setattr(zombies, "_over", lambda *_: {"flow-run"})
    assert zombies.close_dead_runs(settings) == ([run] if seconds == 100 else [])


def tracking_sign(process: int) -> str:
    """A sign of life of a process, alive or dead, of this machine."""
    own = sign_of_life().split()
    start = own[2] if process == os.getpid() else "1"
    return f"{socket.gethostname()} {process} {start} 2026-01-01T00:00:00+00:00"


class Up:
    """A real `rebert up` with what it says."""

    def __init__(self, folder: Path, run_file: Path) -> None:
        ports = [up_start.free_port(), up_start.free_port()]
        self.api, self.folder = f"http://127.0.0.1:{ports[0]}/api", folder
        self.environment = {**os.environ, "REBERT_HOME": str(folder / "home")}
        words = ["up", str(run_file), "--json", "--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1])]
        self.out = folder / "up.json"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(self.command(*words), env=self.environment, stdout=out)
        self.clients = {
            **self.environment,
            "PREFECT_API_URL": self.api,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports[1]}",
        }

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "flows.cli", *words]

    def rebert(self, *words: str) -> str:
        """What a command in another shell prints."""
        done = subprocess.run(self.command(*words), env=self.clients, capture_output=True, text=True, check=True)
        return done.stdout

    def said(self) -> list[dict]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def states(self, part: str) -> list[str]:
        return [line["state"] for line in self.said() if line["part"] == part]

    def last(self, part: str) -> dict:
        return [line for line in self.said() if line["part"] == part][-1]

    def runs(self) -> list[dict]:
        """The runs that began, the latest first."""
        asked = {"sort": "START_TIME_DESC", "flow_runs": {"start_time": {"is_null_": False}}}
        return httpx.post(f"{self.api}/flow_runs/filter", json=asked, headers=self.token()).raise_for_status().json()

    def token(self) -> dict[str, str]:
        """What Prefect's server asks of whoever posts, so that no page of another origin can."""
        asked = httpx.get(f"{self.api}/csrf-token", params={"client": "tests"}).raise_for_status()
        return {"Prefect-Csrf-Client": "tests", "Prefect-Csrf-Token": asked.json()["token"]}

    def below(self, part: str, words: str) -> list[psutil.Process]:
        """What a part has started whose command has these words."""
        found = psutil.Process(self.last(part)["process"]).children(recursive=True)
        return [process for process in found if words in " ".join(process.cmdline())]


@pytest.fixture
def running_up(tmp_path: Path, tiny_base: Path) -> Iterator[Up]:
    write_csv(tmp_path / "week-1.csv", rows(600, seed=1))
    write_csv(tmp_path / "test.csv", rows(60, seed=2))
    started = Up(tmp_path, write_run_file(tmp_path, tiny_base, schedule={"every_hours": 1000}))
    try:
        yield started
    finally:
        started.process.send_signal(signal.SIGKILL)
        started.process.wait()


def wait_for(happened: Callable[[], object], seconds: float = 180):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := happened():
                return found
        except (httpx.HTTPError, IndexError, psutil.NoSuchProcess):
            pass
        time.sleep(0.3)
    raise AssertionError("it did not happen in time")


@pytest.mark.slow
def test_all_is_kept_at_work_and_nothing_is_left_behind(running_up: Up):
    """Everything from nothing; a first champion gets its endpoint; every program is killed, and comes back."""
    wait_for(lambda: any("All is up" in line["note"] for line in running_up.said()))
    running_up.rebert("trigger", "reviews")
    wait_for(lambda: "healthy" in running_up.states("endpoint reviews"))
    url = running_up.last("endpoint reviews")["address"]
    ask = {"json": {"texts": ["very good room"]}}
    assert httpx.post(f"{url}/predict", **ask).is_success

    below = psutil.Process(running_up.process.pid).children(recursive=True)
    serving = next(process for process in below if "service.start" in process.cmdline())
    serving.kill()
    for part in ("prefect", "mlflow", "worker rebert"):
        psutil.Process(running_up.last(part)["process"]).kill()
    parts = ("prefect", "mlflow", "worker rebert", "endpoint reviews")
    wait_for(
        lambda: (
            all(running_up.states(part)[-1:] == ["healthy"] for part in parts) and running_up.last("mlflow")["restarts"]
        )
    )
    assert [running_up.last(part)["restarts"] for part in parts] == [1, 1, 1, 1]
    assert httpx.post(f"{url}/predict", **ask).is_success

    running_up.rebert("trigger", "reviews")
    wait_for(lambda: running_up.runs()[0]["state_name"] == "Unchanged")
    left = psutil.Process(running_up.process.pid).children(recursive=True)
    running_up.process.send_signal(signal.SIGTERM)
    assert running_up.process.wait(60) == 0
    assert [process for process in left if process.is_running()] == []
    assert [running_up.states(part)[-1] for part in parts] == ["stopped"] * 4


@pytest.mark.slow
def test_a_run_whose_process_died_is_crashed_and_the_next_goes_on(running_up: Up, tiny_base: Path):
    """The worker and the run are killed; within 90 s all know; what was missed meanwhile is one run."""
    wait_for(lambda: any("All is up" in line["note"] for line in running_up.said()))
    running_up.rebert("trigger", "reviews")
    worker = running_up.last("worker rebert")["process"]
    run = wait_for(lambda: running_up.below("worker rebert", "prefect.engine"))[0]
    wait_for(lambda: (running_up.folder / "home" / "steps" / "reviews" / "tokenize").exists())
    os.kill(worker, signal.SIGKILL)
    run.kill()
    died = time.monotonic()
    for _ in range(3):  # what comes in the downtime
        running_up.rebert("trigger", "reviews")
    crashed = running_up.runs()[-1]["id"]

    def state_of(flow_run: str) -> str:
        return httpx.get(f"{running_up.api}/flow_runs/{flow_run}").json()["state"]["name"]

    wait_for(lambda: state_of(crashed) == "Crashed", seconds=120)
    assert time.monotonic() - died < 90
    wait_for(lambda: [each["state_name"] for each in running_up.runs()].count("Superseded") == 2, seconds=300)
    names = sorted(each["state_name"] for each in running_up.runs())
    assert names == ["Crashed", "Promoted", "Superseded", "Superseded"]
    running_up.process.send_signal(signal.SIGINT)
    assert running_up.process.wait(60) == 0


class Version:
    """A champion, as the registry has it."""

    def __init__(self, name: str) -> None:
        self.name, self.run_id = name, f"run of {name}"


def test_a_champion_without_a_bundle_has_no_endpoint(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    from components import registry

    live = {"shop": Version("shop"), "books-bert": Version("books-bert")}
    monkeypatch.setattr(registry, "champion", lambda _, name: live.get(name))
    monkeypatch.setattr(tracking, "was_bundled", lambda _, run_id: run_id == "run of shop")
    names = ["books-bert", "new", "shop"]
    assert [name for name in names if endpoints.has_bundled_champion(settings, name)] == ["shop"]


class Heard(Refused):
    """A view that keeps what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)


def test_a_bad_model_denies_no_endpoint_to_the_others_and_is_told_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    from components import registry

    def given(installation: up.Installation, name: str) -> None:
        if name == "bad":
            raise ServingError("The bundle bad:1 is damaged.", "promote the version again.")
        installation.endpoints[name] = name

    monkeypatch.setattr(registry, "list_models", lambda _: ["bad", "shop"])
    monkeypatch.setattr(up.Installation, "_give_endpoint", given)
    installation = up.Installation(settings, Wishes(prefect_port=1, mlflow_port=2), [], view := Heard())
    for _ in range(2):
        installation._follow_champions()
    assert list(installation.endpoints) == ["shop"]
    assert view.heard == ["The bundle bad:1 is damaged."]


def test_an_endpoint_that_cannot_get_a_process_is_told_and_tried_again(settings, monkeypatch: pytest.MonkeyPatch):
    from components.serving import keeper

    def serve(*_: object, ended: Event, **__: object) -> None:
        if len(told) < 3:
            raise OSError(12, "Cannot allocate memory")
        ended.wait()

    told: list[Condition] = []
    monkeypatch.setattr(keeper, "serve", serve)
    monkeypatch.setattr(supervised, "RETRIES", (0.01,))
    endpoint = endpoints.ChampionEndpoint("shop", settings, "127.0.0.1", 0, told.append)
    endpoint.start()
    ends = time.monotonic() + 10
    while len(told) < 3 and time.monotonic() < ends:
        time.sleep(0.01)
    endpoint.stop()
    assert [each.state for each in told[:3]] == ["starting", "failing", "starting"]
    assert "Cannot allocate memory" in told[1].note
    assert told[-1].state == "stopped"
