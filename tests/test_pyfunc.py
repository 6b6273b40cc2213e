"""The registered model in MLflow's own hands: the same answers, where this project is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from components import registry
from components.errors import DataError
from components.models.golden import check_answers
from components.models.inference import TOLERANCE
from components.models.model_directory import read_golden
from components.models.pyfunc import _load_pyfunc
from components.settings import Settings, environment_of
from tests.model_folders import LABELS, TEXTS

LOAD_ELSEWHERE = """
import sys
sys.path = [place for place in sys.path if place not in ("", sys.argv[1])]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__name__", "").lower()]
sys.path_hooks = [hook for hook in sys.path_hooks if "editable" not in repr(hook).lower()]
import mlflow
model = mlflow.pyfunc.load_model("models:/shop@champion")
import components
assert sys.argv[1] not in components.__path__[0], components.__path__
print(model.predict([{"text": text} for text in %r]).to_json())
"""


def test_frames_and_lists_get_the_same_answers(tiny_model: Path) -> None:
    model = _load_pyfunc(str(tiny_model))
    from_list = model.predict(list(TEXTS))
    from_frame = model.predict(pd.DataFrame({"text": TEXTS, "id": 1}), {"top_k": 99})
    assert list(from_list["label"]) == list(from_frame["label"])
    assert list(from_frame["top"].map(len).unique()) == [len(LABELS)]
    assert check_answers(read_golden(tiny_model), from_frame.to_dict("records")) <= TOLERANCE


def test_a_pair_column_without_any_value_is_no_pair_column(tiny_model: Path) -> None:
    model = _load_pyfunc(str(tiny_model))
    alone = model.predict(pd.DataFrame({"text": TEXTS}))
    filled = model.predict(pd.DataFrame({"text": TEXTS, "text_pair": None}))
    assert alone.equals(filled)


def test_wrong_tables_are_named(tiny_model: Path) -> None:
    model = _load_pyfunc(str(tiny_model))
    with pytest.raises(DataError, match="no column 'text'; it has: review"):
        model.predict(pd.DataFrame({"review": ["x"]}))
    with pytest.raises(DataError, match="Row 1 has no text"):
        model.predict(pd.DataFrame({"text": ["x", None]}))
    assert model.predict([]).empty


def test_the_champion_loads_where_this_project_is_not_installed(
    settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    client = registry.open_store(settings)
    experiment = client.create_experiment("shop", (settings.artifacts / "shop").as_uri())
    registry.register_model(settings, client.create_run(experiment).info.run_id, tiny_model)
    client.set_registered_model_alias("shop", "champion", "1")
    project = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ELSEWHERE % (TEXTS,), project],
        cwd=tmp_path,
        env={"PATH": "", **environment_of(settings)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    expected = json.loads(_load_pyfunc(str(tiny_model)).predict(list(TEXTS)).to_json())
    assert answers["label"] == expected["label"]
    assert list(answers["score"].values()) == pytest.approx(list(expected["score"].values()), abs=TOLERANCE)
