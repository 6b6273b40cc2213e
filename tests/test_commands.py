"""What `rebert doctor` and `rebert ui` show: addresses without passwords, pages of the right store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from components import tracking
from components.errors import OrchestrationError, RegistryError, RejectedData
from components.records import Bundle
from components.settings import Settings
from flows import commands, doctor, explaining
from flows.running import prepare_prefect
from flows.serving import serve_model
from tests.bundles import tiny_config

SECRET = "hunter2"


def test_doctor_shows_no_password(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(settings, tracking_uri=f"http://me:{SECRET}@mlflow", prefect_api_url=f"http://me:{SECRET}@prefect")
    monkeypatch.setattr("components.registry.list_models", lambda _: [])
    monkeypatch.setattr(doctor, "prepare_prefect", lambda _: None)
    texts = [finding.text for look in (doctor._mlflow, doctor._prefect) for finding in look(known)]
    assert texts == ["server, http://mlflow, 0 models", "server, http://prefect"]


def test_a_prefect_server_that_is_away_is_named_without_its_password(settings: Settings) -> None:
    away = replace(settings, prefect_api_url=f"http://me:{SECRET}@127.0.0.1:9/api")
    with pytest.raises(OrchestrationError, match=r"Prefect at http://127\.0\.0\.1:9/api does not answer") as caught:
        prepare_prefect(away)
    assert SECRET not in str(caught.value)


def test_a_first_delivery_that_was_rejected_is_explained(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = tracking.start_run(settings, tiny_config("shop"), "t" * 64)
    tracking.log_rejection(settings, run_id, RejectedData("2 rows have no text.", "fill them in."))
    explaining.explain_decision("shop", settings, None, False)
    told = capsys.readouterr().out
    assert "was rejected: 2 rows have no text." in told
    assert "No version of 'shop' has been made yet." in told
    explaining.explain_decision("shop", settings, None, True)
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], found["last_delivery_rejected"]["run_id"]) == (None, run_id)
    with pytest.raises(RegistryError, match="There is no model 'other'"):
        explaining.explain_decision("other", settings, None, False)


def test_a_served_model_is_one_object_however_often_its_endpoint_starts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(*_: object, on_ready: Callable[[str, Bundle], None], **__: object) -> None:
        for _start in range(2):
            on_ready("http://127.0.0.1:3000", Bundle("shop:3", tmp_path, 3, "m" * 64))

    monkeypatch.setattr("components.serving.keeper.serve", serve)
    serve_model("shop", settings, "127.0.0.1", None, True)
    told = capsys.readouterr()
    assert json.loads(told.out) == {"model": "shop", "version": 3, "address": "http://127.0.0.1:3000"}
    assert told.err.count("shop version 3 at http://127.0.0.1:3000") == 2


def test_the_page_of_a_server_is_named_without_its_password(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.open_ui(replace(settings, tracking_uri=f"https://me:{SECRET}@mlflow:5000"), 5000, prefect=False)
    assert capsys.readouterr().out == "https://mlflow:5000\n"


def test_the_command_of_mlflows_page_names_no_database(settings: Settings) -> None:
    page = commands._mlflow_page(settings, 5000)
    assert not [word for word in page.command if settings.tracking_uri in word]
    assert page.environment["MLFLOW_BACKEND_STORE_URI"] == settings.tracking_uri


def test_mlflows_server_reads_the_database_from_that_variable() -> None:
    code = (
        "from mlflow.cli import server; "
        "print(next(option.envvar for option in server.params if option.name == 'backend_store_uri'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MLFLOW_BACKEND_STORE_URI"


@pytest.mark.parametrize(("compiled", "state"), [(True, "good"), (False, "slow")])
def test_doctor_minds_that_nothing_is_compiled_where_nothing_was(
    settings: Settings, compiled: bool, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(doctor, "_is_compiled", lambda: compiled)
    assert [finding.state for finding in doctor._python(settings)] == [state]
