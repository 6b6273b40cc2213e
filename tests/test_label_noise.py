"""Confident learning: worked by hand, on planted errors, and what is written and done about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.config import RunConfig
from components.errors import ConfigError, RejectedData
from components.records import BaseModel
from components.run_files import read_run_file
from components.validation.label_noise import confident_labels, effect_of_removal, estimate_noise
from components.validation.noisy_rows import look_for_noise
from tests.noisy_rows import deliver


def test_the_confident_joint_worked_by_hand():
    """Thresholds are the mean probabilities that a label's own rows get: (0.9 + 0.8 + 0.1) / 3 = 0.6 and 0.65.

    Row 2 is called 0 and is surely 1; row 5 is sure of neither and counts nowhere. So the joint is [[2, 1], [0, 2]],
    scaled to three rows of each label [[2, 1], [0, 3]]: one label in six is wrong.
    """
    ones = np.array([0.1, 0.2, 0.9, 0.7, 0.75, 0.5])
    best, share = confident_labels(np.column_stack([1 - ones, ones]), np.array([0, 0, 0, 1, 1, 1]))
    assert best.tolist() == [0, 0, 1, 1, 1, 1]
    assert share == pytest.approx(1 / 6)


def planted(rows: int = 600, wrong: int = 30, seed: int = 0):
    """Three groups of vectors, and labels of which some were changed: (vectors, labels, places)."""
    generator = np.random.default_rng(seed)
    group = generator.integers(0, 3, rows)
    vectors = (np.eye(3)[group] + 0.25 * generator.normal(size=(rows, 3))).astype(np.float32)
    places = generator.choice(rows, wrong, replace=False)
    said = group.copy()
    said[places] = (said[places] + 1) % 3
    return vectors, [f"label {code}" for code in said], set(places.tolist()), [f"label {code}" for code in group]


def test_planted_errors_are_found_with_their_right_label():
    vectors, labels, places, truth = planted()
    found = estimate_noise(vectors, labels)
    suspects = {suspect.row: suspect for suspect in found.suspects}
    assert len(places & suspects.keys()) >= 20  # only what is sure is named
    assert len(suspects.keys() - places) <= 2
    assert all(suspects[row].suggested == truth[row] for row in places & suspects.keys())
    assert found.share == pytest.approx(0.05, abs=0.015)
    assert found.suspects[0].own_probability < found.suspects[-1].own_probability


def test_clean_labels_have_next_to_no_suspects():
    vectors, labels, _, _ = planted(wrong=0)
    assert estimate_noise(vectors, labels).share < 0.01


def test_labels_with_fewer_rows_than_folds_are_left_alone():
    vectors, labels, _, _ = planted(rows=100, wrong=0)
    found = estimate_noise(vectors, ["rare"] * 4 + labels[4:])
    assert found.judged == 96
    assert estimate_noise(vectors[:4], ["a", "b", "a", "b"]).judged == 0


def test_removing_the_wrong_ones_helps_and_is_measured():
    vectors, labels, places, _ = planted(rows=300, wrong=120)
    other, _, _, truth = planted(rows=400, wrong=0, seed=9)
    before, after = effect_of_removal(vectors, labels, sorted(places), other, truth)
    assert after > before


@pytest.fixture
def delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    vectors, labels, places, truth = planted(rows=300, wrong=30)
    other, _, _, others = planted(rows=80, wrong=0, seed=5)
    return deliver(monkeypatch, tmp_path / "validated", (vectors, labels), (other, others)), places, truth


def config(mode: str, limit: float = 0.1) -> RunConfig:
    content = {
        "name": "shop",
        "data": {"train": "x.csv"},
        "model": {"base": "x"},
        "validation": {"label_noise": mode, "max_label_noise": limit},
    }
    return RunConfig.model_validate(content)


BASE = BaseModel("x", Path(), "", "")


def test_warn_names_them_in_a_file_that_can_be_mended_and_changes_nothing(delivered, tmp_path):
    dataset, places, truth = delivered
    (tmp_path / "out").mkdir()
    made = look_for_noise(config("warn"), dataset, BASE, tmp_path / "out")
    assert (made.dataset, made.removed) == (dataset, 0)
    table = pd.read_csv(tmp_path / "out" / "label_noise.csv", keep_default_na=False)
    first = table.head(15)
    assert {int(row.split(":")[1]) for row in first["row_id"]} <= places
    assert [truth[int(text)] for text in first["text"]] == first["suggested_label"].tolist()
    assert set(table["correct_label"]) == {""}
    assert "| train.csv:" in (tmp_path / "out" / "label_noise.md").read_text()
    assert json.loads((tmp_path / "out" / "label_noise.json").read_text())["suspects"] == len(table) == made.suspects


def test_remove_trains_without_them_and_keeps_the_report(delivered, tmp_path):
    dataset, places, _ = delivered
    (tmp_path / "out").mkdir()
    made = look_for_noise(config("remove"), dataset, BASE, tmp_path / "out")
    left = pd.read_parquet(made.dataset.split_file("train"))
    assert len(left) == made.dataset.rows["train"] == 300 - made.removed
    assert made.dataset.digest != dataset.digest
    assert (made.dataset.folder / "validation.md").exists()
    assert len({int(row.split(":")[1]) for row in left["row_id"]} & places) <= 12
    assert made.after is not None


def test_stop_rejects_more_than_is_allowed_and_no_less(delivered, tmp_path):
    dataset, _, _ = delivered
    (tmp_path / "out").mkdir()
    assert look_for_noise(config("stop", 0.2), dataset, BASE, tmp_path / "out").removed == 0
    with pytest.raises(RejectedData, match=r"more than the 5\.0% that are allowed") as caught:
        look_for_noise(config("stop", 0.05), dataset, BASE, tmp_path / "out")
    assert caught.value.report == str(tmp_path / "out")


def test_vectors_of_a_base_model_do_not_depend_on_company(tiny_base):
    from components.models.embeddings import embed_texts

    texts = [("a",), ("a much longer text than the others are",), ("很好",)]
    together = embed_texts(tiny_base, texts, 32)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    for row, text in enumerate(texts):
        assert embed_texts(tiny_base, [text], 32)[0] == pytest.approx(together[row], abs=1e-5)


def test_a_type_whose_labels_are_of_parts_of_a_text_says_so(tmp_path):
    content = {
        "name": "many",
        "task_type": "token_classification",
        "data": {"train": "a.csv"},
        "model": {"base": "x"},
        "validation": {"label_noise": "warn"},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="token_classification has no labels of whole texts"):
        read_run_file(tmp_path / "run.yaml")


def test_off_needs_no_quotes(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "{name: shop, data: {train: a.csv}, model: {base: x}, validation: {label_noise: off}}"
    )
    assert read_run_file(tmp_path / "run.yaml").validation.label_noise == "off"
