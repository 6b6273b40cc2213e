"""Every engine says what torch says, for every task type, alone and in company."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import BundleError
from components.models.engine_building import build_engine
from components.models.engines import engine_names, find_engine, openvino_engine
from components.models.golden import distance, shown
from components.models.inference import Predictor, open_predictor
from components.priority import NICENESS
from components.task_types import task_type_names
from tests.model_folders import another_model, build_model
from tests.test_task_types import rows_for

BUILT = [name for name in engine_names() if not name.startswith("torch")]
NEAR = {"openvino": 1e-4, "openvino-bf16": 0.03, "openvino-int8": 0.12}  # of the largest number that the network gives


@pytest.fixture(scope="module", params=task_type_names())
def model(request: Any, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return build_model(tmp_path_factory.mktemp("engines") / "model", tiny_base, task_type=request.param)


@pytest.fixture(scope="module")
def trained(model: Path) -> Predictor:
    return Predictor.load(model)


def opened(model: Path, trained: Predictor, name: str, folder: Path) -> Predictor:
    build_engine(name, model, trained, rows_for(trained), folder)
    return open_predictor(model, folder, threads=1)


def test_float32_gives_torchs_answers_alone_in_company_and_in_any_order(model, trained, tmp_path: Path):
    engine = opened(model, trained, "openvino", tmp_path / "engine")
    rows = rows_for(trained)
    expected = shown(trained, trained.predict(rows))
    together = shown(engine, engine.predict(rows))
    order = random.Random(0).sample(range(len(rows)), len(rows))
    shuffled = shown(engine, engine.predict([rows[index] for index in order]))
    for place, index in enumerate(order):
        alone = shown(engine, engine.predict([rows[index]]))[0]
        for found in (together[index], shuffled[place], alone):
            assert distance(expected[index], found) <= find_engine("openvino").drift


def numbers(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """All that the network gave, without a mask's candidates, which are ids in an order that may change."""
    return np.concatenate([np.where(np.abs(own) < 9000, own, 0).ravel() for own in outputs])


@pytest.mark.parametrize("name", BUILT)
def test_the_networks_numbers_are_torchs_rounded(model, trained, name: str, tmp_path: Path):
    engine = opened(model, trained, name, tmp_path / "engine")
    rows = [row for row in rows_for(trained) if "[MASK]" not in str(row)] or [{"text": "where is my card, please"}]
    ours, theirs = engine.encode(rows), trained.encode(rows)
    assert ours.features == theirs.features
    assert ours.rows == theirs.rows
    expected, found = (numbers(each.outputs_of(theirs.features)) for each in (trained, engine))
    assert np.abs(found - expected).max() <= NEAR[name] * max(1, np.abs(expected).max())
    alone = numbers([engine.outputs_of([window])[0] for window in theirs.features])
    assert np.abs(alone - found).max() <= NEAR[name] * max(1, np.abs(expected).max())
    answers = engine.predict(rows)
    assert [set(answer) for answer in answers] == [set(answer) for answer in trained.predict(rows)]


def test_a_built_engine_is_refused_when_a_file_changes_or_the_model_is_another(tiny_model: Path, tmp_path: Path):
    trained = Predictor.load(tiny_model)
    opened(tiny_model, trained, "openvino", tmp_path / "engine")
    other = another_model(tmp_path / "other", tiny_model, train_rows=7)
    with pytest.raises(BundleError, match="another model"):
        open_predictor(other, tmp_path / "engine", threads=1)
    with (tmp_path / "engine" / "graph.bin").open("r+b") as file:
        file.write(b"\0\1")
    with pytest.raises(BundleError, match=r"graph\.bin changed"):
        open_predictor(tiny_model, tmp_path / "engine", threads=1)


def test_an_engine_answers_several_threads_at_once(tiny_model: Path, tmp_path: Path):
    trained = Predictor.load(tiny_model)
    engine = opened(tiny_model, trained, "openvino", tmp_path / "engine")
    rows = rows_for(trained) * 3
    expected = [shown(trained, [answer])[0] for answer in trained.predict(rows)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: shown(engine, engine.predict([row]))[0], rows))
    assert max(distance(one, other) for one, other in zip(expected, found, strict=True)) <= 1e-4


class Asked:
    """A compiled graph that notes how many are at work in it, which is one while it meets NumPy for the first time."""

    def __init__(self) -> None:
        self.met, self.at_work, self.most = False, 0, {False: 0, True: 0}

    def create_infer_request(self) -> Asked:
        return self

    def infer(self, inputs: dict[str, Any], *, share_inputs: bool) -> list[Any]:
        self.at_work += 1
        self.most[self.met] = max(self.most[self.met], self.at_work)
        time.sleep(0.05)
        self.at_work -= 1
        self.met = True
        return [inputs["input_ids"]]


def test_the_first_answer_of_a_process_is_computed_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(openvino_engine.OpenVinoRun, "has_met_numpy", False)
    compiled = Asked()
    run = openvino_engine.OpenVinoRun(compiled)
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(run, [{"input_ids": np.zeros((1, 2), np.int64)}] * 8))) == 8
    assert compiled.most[False] == 1 < compiled.most[True]


class Counted(Asked):
    """A compiled graph that counts what it was asked, and holds each until `gate` is open."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        self.gate = threading.Event()
        self.gate.set()

    def infer(self, inputs: dict[str, Any], *, share_inputs: bool) -> list[Any]:
        self.times += 1
        self.gate.wait(5)
        return [inputs["input_ids"]]


def test_a_batch_that_comes_alone_has_all_cores_and_those_beside_it_one_each():
    beside, alone = Counted(), Counted()
    run, batch = openvino_engine.OpenVinoRun(beside, alone), {"input_ids": np.zeros((1, 2), np.int64)}
    run(batch)
    assert (beside.times, alone.times) == (0, 1)
    alone.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, batch)
        while alone.times < 2:
            time.sleep(0.001)
        pool.submit(run, batch).result()
        assert (beside.times, alone.times) == (1, 2)
        alone.gate.set()
        first.result()
    run(batch)  # after company, more may come
    assert (beside.times, alone.times) == (2, 2)
    run(batch)
    assert (beside.times, alone.times) == (2, 3)


def test_a_batch_that_fails_leaves_its_place():
    alone = Counted()
    run = openvino_engine.OpenVinoRun(Counted(), alone)
    with pytest.raises(KeyError):
        run({})
    run({"input_ids": np.zeros((1, 2), np.int64)})
    assert (run.at_work, alone.times) == (0, 2)


def test_a_machine_without_bfloat16_computes_in_float32_and_may_be_twice_as_far_away(tiny_model, tmp_path, monkeypatch):
    engine, trained = find_engine("openvino-bf16"), Predictor.load(tiny_model)
    opened(tiny_model, trained, engine.name, tmp_path / "engine")
    monkeypatch.setattr(openvino_engine, "_capabilities", lambda: ["FP32", "INT8"])
    assert not engine.is_useful()
    elsewhere = open_predictor(tiny_model, tmp_path / "engine", threads=1)
    assert elsewhere.tolerance == 2 * engine.tolerance
    rows = rows_for(trained)
    for one, other in zip(
        shown(trained, trained.predict(rows)), shown(elsewhere, elsewhere.predict(rows)), strict=True
    ):
        assert distance(one, other) <= 5e-3  # its weights are kept in float16


def test_an_unknown_engine_is_a_clear_error():
    with pytest.raises(BundleError, match="no engine 'abacus'"):
        find_engine("abacus")


def test_serving_by_openvino_imports_neither_torch_nor_transformers(tiny_model: Path, tmp_path: Path):
    opened(tiny_model, Predictor.load(tiny_model), "openvino", tmp_path / "engine")
    program = f"""
import sys
import threading
for name in ("torch", "transformers", "openvino_telemetry", "pandas", "mlflow"):
    sys.modules[name] = None  # an import of it fails
from pathlib import Path
from components.models.inference import open_predictor
predictor = open_predictor(Path({str(tiny_model)!r}), Path({str(tmp_path / "engine")!r}), 1)
print(predictor.predict([{{"text": "where is my card"}}])[0]["label"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("bad", "good", "很好")


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux alone")
def test_the_threads_of_openvino_give_way_to_those_that_answer(tiny_model: Path, tmp_path: Path):
    predictor = Predictor.load(tiny_model)
    before = set(threads())
    engine = opened(tiny_model, predictor, "openvino", tmp_path / "engine")
    engine.predict(rows_for(predictor))
    started = set(threads()) - before
    assert any(os.getpriority(os.PRIO_PROCESS, thread) == NICENESS for thread in started)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == 0


def threads() -> list[int]:
    return [int(folder.name) for folder in Path("/proc/self/task").iterdir()]
