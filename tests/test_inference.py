from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from components.models.inference import BATCH_ROWS, TOLERANCE, Predictor
from tests.training_data import rows_of

ODD_TEXTS = ("", " ", "!!!", "酒店很好", "a" * 300, "card " * 200, "\u200b", "é")


@pytest.fixture(scope="module")
def predictor(tiny_model: Path) -> Predictor:
    return Predictor.load(tiny_model)


def scores(predictor: Predictor, rows) -> np.ndarray:
    return np.array([answer["scores"] for answer in predictor.predict(rows)])


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [{"text": row["text"]} for row in rows_of(150, 4)] + [{"text": text} for text in ODD_TEXTS]


def test_a_row_gets_the_same_answer_alone_and_in_a_batch(predictor: Predictor, rows):
    together = scores(predictor, rows)
    alone = np.concatenate([scores(predictor, [row]) for row in rows])
    assert np.abs(together - alone).max() <= TOLERANCE


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_rows_does_not_matter(predictor: Predictor, rows, seed: int):
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    assert len(rows) > 2 * BATCH_ROWS
    shuffled = scores(predictor, [rows[index] for index in order])
    assert np.abs(shuffled - scores(predictor, rows)[order]).max() <= TOLERANCE


def test_scores_are_probabilities_of_every_label(predictor: Predictor, rows):
    found = scores(predictor, rows)
    assert found.shape == (len(rows), 3)
    assert np.allclose(found.sum(axis=1), 1)


def test_an_answer_names_the_label_with_the_highest_score(predictor: Predictor, rows):
    for answer in predictor.predict(rows[:5]):
        assert answer["score"] == max(answer["scores"])
        assert answer["label"] == predictor.manifest.labels[int(np.argmax(answer["scores"]))]


def test_no_rows_have_no_answers(predictor: Predictor):
    assert predictor.predict([]) == []


def test_a_higher_temperature_makes_scores_more_even(predictor: Predictor, rows):
    hotter = predictor.manifest.model_copy(update={"fitted": {"temperature": 10.0}})
    hot = Predictor.of_network(predictor.run.network, predictor.tokenizer, hotter)
    assert scores(hot, rows).max() < scores(predictor, rows).max()
    assert (scores(hot, rows).argmax(axis=1) == scores(predictor, rows).argmax(axis=1)).all()
