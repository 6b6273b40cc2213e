"""MLflow as a server, and MLflow in trouble: races, processes that are killed, a server that goes and comes back."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from components import registry, tracking
from components.errors import RegistryError
from components.models.model_directory import model_digest
from components.registry import store
from components.registry.versions import DIGEST
from components.settings import Settings, environment_of, read_settings
from components.tracking import curves
from tests.mlflow_server import MlflowServer
from tests.model_folders import another_model
from tests.test_registry import decision
from tests.test_tracking import CONFIG, curve, write_lines

pytestmark = pytest.mark.slow

REGISTER = """
import sys
from pathlib import Path
from components.registry import register_model
from components.settings import apply_settings, read_settings
home, address, run_id, model, calls = sys.argv[1:]
settings = read_settings({"REBERT_HOME": home, "MLFLOW_TRACKING_URI": address}, Path.cwd())
apply_settings(settings)
for _ in range(int(calls)):
    print(register_model(settings, run_id, Path(model)).version, flush=True)
"""


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path / "server", empty_database)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def served(server: MlflowServer, tmp_path: Path) -> Settings:
    return read_settings({"REBERT_HOME": "home", "MLFLOW_TRACKING_URI": server.address}, tmp_path)


def begin_registering(
    settings: Settings, run_id: str, model: Path, calls: int, home: Path | None = None
) -> subprocess.Popen[str]:
    arguments = [str(home or settings.home), settings.tracking_uri, run_id, str(model), str(calls)]
    project = str(Path(__file__).parent.parent)
    environment = os.environ | environment_of(settings) | {"PYTHONPATH": project}
    command = [sys.executable, "-c", REGISTER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def pending_models(settings: Settings) -> list[str]:
    client = registry.open_store(settings)
    experiment = client.get_experiment_by_name("shop").experiment_id
    return [str(model.status) for model in client.search_logged_models([experiment]) if str(model.status) != "READY"]


def test_eight_processes_make_one_version(settings: Settings, tiny_model: Path) -> None:
    run_id = tracking.start_run(settings, CONFIG, "t" * 64)
    racing = [begin_registering(settings, run_id, tiny_model, 5) for _ in range(8)]
    answers = [process.communicate(timeout=120)[0].split() for process in racing]
    assert answers == [["1"] * 5] * 8
    assert [version.version for version in registry.versions(settings, "shop")] == [1]


def test_machines_that_share_only_the_server_keep_one_version(
    served: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    run_id = tracking.start_run(served, CONFIG, "t" * 64)
    racing = [begin_registering(served, run_id, tiny_model, 2, tmp_path / f"machine-{n}") for n in range(4)]
    answers = [process.communicate(timeout=180)[0].split() for process in racing]
    kept = [str(version.version) for version in registry.versions(served, "shop")]
    assert len(kept) == 1
    assert answers == [kept * 2] * 4


def test_a_registration_that_was_killed_is_completed_by_the_next(
    settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    run_id = tracking.start_run(settings, CONFIG, "t" * 64)
    began = time.monotonic()
    begin_registering(settings, run_id, tiny_model, 1).communicate(timeout=60)
    whole = time.monotonic() - began
    models = [another_model(tmp_path / f"model-{n}", tiny_model, train_rows=n) for n in range(10)]
    left = 0
    for number, model in enumerate(models):
        process = begin_registering(settings, run_id, model, 1)
        time.sleep(whole * (0.55 + number / 20))
        process.kill()
        process.communicate()
        left += len(pending_models(settings))
    assert left  # some were killed in the middle of it
    for model in models:
        registry.register_model(settings, run_id, model)
        assert registry.register_model(settings, run_id, model).created is False
    assert sorted(version.version for version in registry.versions(settings, "shop")) == list(range(1, 12))
    assert pending_models(settings) == []
    assert list((settings.home / "scratch" / "shop").iterdir()) == []


def test_the_server_does_what_the_embedded_mlflow_does(
    server: MlflowServer, served: Settings, tiny_model: Path
) -> None:
    run_id = tracking.start_run(served, CONFIG, "t" * 64)
    with tracking.running(served, run_id):
        tracking.log_card(served, run_id, "# 很好")
        version = registry.register_model(served, run_id, tiny_model)
    registry.promote(served, "shop", version.version, decision())
    live = registry.champion(served, "shop")
    assert live is not None
    assert live.aliases == ("champion",)
    fetched = registry.fetch_model(served, version)
    assert model_digest(fetched) == model_digest(tiny_model)
    assert not (served.home / "mlflow").exists()
    assert registry.open_store(served).get_run(run_id).info.status == "FINISHED"


def test_curves_are_whole_after_the_server_was_killed_and_came_back(
    server: MlflowServer, served: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(curves, "LONGEST_PAUSE_SECONDS", 1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    run_id = tracking.start_run(served, CONFIG, "t" * 64)
    history = tmp_path / "history.jsonl"
    slowest = 0.0
    again = threading.Thread(target=server.start)
    with tracking.LiveCurves(served, run_id, history):
        for start in range(0, 400, 10):
            if start == 100:
                server.kill()
            if start == 250:
                again.start()
            began = time.monotonic()
            write_lines(history, range(start, start + 10))
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.2)
        again.join()
    tracking.send_history(served, run_id, history)
    assert curve(served, run_id, "train/loss") == list(range(400))
    assert slowest < 1


@pytest.mark.parametrize("trouble", ["killed", "hanging"])
def test_a_server_in_trouble_is_an_error_within_ten_seconds(
    server: MlflowServer, served: Settings, trouble: str
) -> None:
    registry.list_models(served)
    store._last_answer.clear()
    server.signal(signal.SIGKILL if trouble == "killed" else signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(RegistryError, match="does not answer"):
        registry.list_models(served)
    assert time.monotonic() - began < 10


def test_mlflow_serves_the_registered_model(settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    run_id = tracking.start_run(settings, CONFIG, "t" * 64)
    registry.register_model(settings, run_id, tiny_model)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/shop/1"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", "0"]
    port = _free_port()
    command[-1] = str(port)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | environment_of(settings) | {"PATH": path}
    with (tmp_path / "log").open("wb") as log:
        serving = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        body = json.dumps({"inputs": [{"text": "很好"}, {"text": "bad"}], "params": {"top_k": 2}}).encode()
        answer = _ask(f"http://127.0.0.1:{port}/invocations", body)
        assert [len(row["top"]) for row in answer["predictions"]] == [2, 2]
    finally:
        os.killpg(serving.pid, signal.SIGKILL)
        serving.wait()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _ask(address: str, body: bytes) -> dict[str, list[dict[str, list[str]]]]:
    for _ in range(300):
        try:
            answer = httpx.post(address, content=body, headers={"Content-Type": "application/json"}, timeout=10)
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            assert answer.is_success, answer.text
            return dict(answer.json())
    raise AssertionError("it does not answer")


def test_a_version_that_is_removed_takes_its_files_from_the_server(
    served: Settings, server: MlflowServer, tiny_model: Path, tmp_path: Path
) -> None:
    run_id = tracking.start_run(served, CONFIG, "t" * 64)
    kept = registry.register_model(served, run_id, tiny_model)
    gone = registry.register_model(served, run_id, another_model(tmp_path / "other", tiny_model, train_rows=7))
    client = registry.open_store(served)
    [model] = [
        each
        for each in client.search_logged_models([client.get_run(run_id).info.experiment_id])
        if each.tags[DIGEST] == gone.digest
    ]
    client.delete_logged_model(model.model_id)  # as far as a process came that was killed on the way
    assert len(list(server.folder.rglob("model.safetensors"))) == 2
    registry.delete_version(served, gone)
    assert len(list(server.folder.rglob("model.safetensors"))) == 1
    assert [version.version for version in registry.versions(served, "shop")] == [kept.version]
    assert registry.fetch_model(served, kept).is_dir()
