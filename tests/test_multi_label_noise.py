"""Wrong labels among several: planted ones are found with the right list, clean ones are left alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.config import RunConfig
from components.errors import RejectedData
from components.records import BaseModel
from components.run_files import read_run_file
from components.validation.multi_label_noise import effect_on_micro_f1, estimate_noise_by_label, learn_several_labels
from components.validation.noisy_rows import look_for_noise
from tests.noisy_rows import deliver

NAMES = ("anger", "fear", "joy", "rare")
SHARES = (0.4, 0.25, 0.3, 0.05)
BASE = BaseModel("x", Path(), "", "")


def planted(rows: int = 800, wrong: int = 40, seed: int = 0):
    """Vectors in which each label is a direction, and lists of which some have one label too many or too few."""
    generator = np.random.default_rng(seed)
    truth = generator.random((rows, 4)) < SHARES
    vectors = (truth + 0.2 * generator.normal(size=truth.shape)).astype(np.float32)
    places, said = generator.choice(rows, wrong, replace=False), truth.copy()
    changed = generator.integers(0, 3, wrong)  # the rare label stays as it is
    said[places, changed] ^= True
    return vectors, _lists(said), dict(zip(places.tolist(), changed.tolist(), strict=True)), _lists(truth)


def _lists(table: np.ndarray) -> list[str]:
    return [json.dumps([NAMES[place] for place in np.flatnonzero(row)]) for row in table]


def test_planted_errors_are_found_with_the_right_list():
    vectors, labels, places, truth = planted()
    found = estimate_noise_by_label(vectors, labels)
    suspects = {suspect.row: suspect for suspect in found.suspects}
    hits = places.keys() & suspects.keys()
    assert len(hits) >= 26  # only what is sure is named
    assert len(suspects.keys() - places.keys()) <= 8
    right = sum(json.loads(suspects[row].suggested) == json.loads(truth[row]) for row in hits)
    assert right >= 0.9 * len(hits)
    assert found.share == pytest.approx(0.05, abs=0.015)
    assert found.suspects[0].own_probability < found.suspects[-1].own_probability
    by_label = {each.label: each for each in found.by_label}
    planted_by_label = [sum(place == code for place in places.values()) for code in range(3)]
    for code, count in enumerate(planted_by_label):
        each = by_label[NAMES[code]]
        assert each.wrongly_given + each.missing == pytest.approx(count, abs=5)


def test_clean_labels_have_next_to_no_suspects():
    vectors, labels, _, _ = planted(wrong=0)
    assert estimate_noise_by_label(vectors, labels).share < 0.015


def test_labels_of_too_few_rows_are_left_alone():
    vectors, labels, _, _ = planted(rows=200, wrong=0)
    odd = [json.dumps([*json.loads(label), "odd"]) if row < 4 else label for row, label in enumerate(labels)]
    assert "odd" not in {each.label for each in estimate_noise_by_label(vectors, odd).by_label}
    nothing = estimate_noise_by_label(vectors[:3], ['["a"]', "[]", '["a"]'])
    assert (nothing.suspects, nothing.judged) == ((), 0)


def test_removing_the_wrong_ones_helps_and_is_measured():
    vectors, labels, places, _ = planted(rows=300, wrong=120)
    other, _, _, truth = planted(rows=400, wrong=0, seed=9)
    before, after = effect_on_micro_f1(vectors, labels, sorted(places), other, truth)
    assert after > before > 0.5


def test_no_label_at_all_is_an_answer_too():
    vectors, labels, _, _ = planted(rows=400, wrong=0)
    said = learn_several_labels(vectors, labels, np.zeros((1, 4), np.float32))
    assert said == ["[]"]


@pytest.fixture
def delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    vectors, labels, places, truth = planted(rows=400, wrong=40)
    other, _, _, others = planted(rows=80, wrong=0, seed=5)
    (tmp_path / "out").mkdir()
    return deliver(monkeypatch, tmp_path / "validated", (vectors, labels), (other, others), NAMES), places, truth


def config_of(folder: Path, mode: str, limit: float = 0.5) -> RunConfig:
    noise = {"label_noise": mode, "max_label_noise": limit}
    content = {"name": "shop", "task_type": "multi_label", "data": {"train": "x.csv"}, "model": {"base": "x"}}
    (folder / "run.yaml").write_text(json.dumps({**content, "validation": noise}))
    return read_run_file(folder / "run.yaml")


def test_a_table_names_rows_and_labels_and_removal_trains_without_them(delivered, tmp_path):
    dataset, places, truth = delivered
    made = look_for_noise(config_of(tmp_path, "remove"), dataset, BASE, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "label_noise.csv", keep_default_na=False)
    first = table.head(15)
    assert {int(row.split(":")[1]) for row in first["row_id"]} <= places.keys()
    suggested = [json.loads(cell) for cell in first["suggested_label"]]
    assert suggested == [json.loads(truth[int(text)]) for text in first["text"]]
    by_label = pd.read_csv(tmp_path / "out" / "label_noise_by_label.csv")
    assert set(by_label["label"]) == set(NAMES)
    assert made.metric == "micro_f1"
    assert made.after >= made.before
    assert len(pd.read_parquet(made.dataset.split_file("train"))) == 400 - made.removed < 400
    words = (tmp_path / "out" / "label_noise.md").read_text()
    assert "rows have a wrong or missing label" in words
    assert "| label | rows that have it | wrongly given | missing |" in words


def test_stop_rejects_more_rows_with_wrong_labels_than_are_allowed(delivered, tmp_path):
    dataset, _, _ = delivered
    with pytest.raises(RejectedData, match=r"of the training rows have wrong labels, more than the 2\.0%"):
        look_for_noise(config_of(tmp_path, "stop", 0.02), dataset, BASE, tmp_path / "out")
