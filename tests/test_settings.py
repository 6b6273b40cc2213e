"""Settings: folders that are the same wherever a process runs, addresses that show no password."""

import subprocess
import sys
from pathlib import Path

import pytest

from components.settings import environment_of, read_settings, without_passwords


def test_relative_folders_are_below_the_folder_that_rebert_was_started_in(tmp_path: Path) -> None:
    words = {"REBERT_HOME": "home", "PREFECT_HOME": "prefect", "BENTOML_HOME": "../bento"}
    settings = read_settings(words, tmp_path / "project")
    assert settings.home == tmp_path / "project" / "home"
    assert settings.prefect_home == tmp_path / "project" / "prefect"
    assert settings.bento_home == tmp_path / "bento"


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    empty = dict.fromkeys(("REBERT_HOME", "PREFECT_HOME", "BENTOML_HOME", "MLFLOW_TRACKING_URI"), "")
    assert read_settings(empty, tmp_path) == read_settings({}, tmp_path)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:hunter2@mlflow:5000/x", "http://mlflow:5000/x"),
        ("postgresql://me:hu@nter2@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://db/mlflow?user=me&password=hunter2&x=1", "postgresql://db/mlflow?user=me&password=…&x=1"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("Client error for http://me:hunter2@prefect/api/health", "Client error for http://prefect/api/health"),
    ],
)
def test_an_address_shows_no_password(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


FRESH = """
from pathlib import Path
from components.settings import apply_settings, read_settings
settings = read_settings({}, Path.cwd())
apply_settings(settings)
from components.registry import open_store
print(open_store(settings).get_experiment("0").artifact_location)
"""


def test_nothing_is_written_beside_the_home_folder(tmp_path: Path) -> None:
    """MLflow's own default would be mlruns/ in whatever folder a process runs."""
    place = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=tmp_path, env=place, capture_output=True, text=True, check=True
    )
    assert [path.name for path in tmp_path.iterdir()] == [".rebert"]
    artifacts = environment_of(read_settings({}, tmp_path))["_MLFLOW_SERVER_ARTIFACT_ROOT"]
    assert Path(done.stdout.strip().removeprefix("file://")).is_relative_to(artifacts)
