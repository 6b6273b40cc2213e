"""The points of a learning curve: models that learned from nested parts of the training rows, asked about others.

`embeddings` is a proxy: a linear model on what the base model, which knows none of the labels, says about each text.
It takes seconds and learns less than a fine-tuning does. The champion's own embeddings would be no proxy: they were
made by all the labels whose worth is asked. `fine-tuning` does what a run does, with its settings, for each point.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.config import RunConfig
from components.digests import digest_of
from components.errors import ConfigError
from components.labelling.learning_curve import DRAWS, SEED
from components.labelling.queue import truth_column
from components.models.embeddings import embed_texts
from components.records import BaseModel, ValidatedDataset
from components.task_types import TaskType, find_task_type
from components.validation.label_noise import classifier
from components.validation.multi_label_noise import learn_several_labels

if TYPE_CHECKING:
    import pandas as pd

Numbers = NDArray[np.float64]
Method = Literal["embeddings", "fine-tuning"]
Said = list[list[list[str]]]  # by point, by seed, by row
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Points:
    """`scores` are (points, seeds) on the validation rows, `draws` (resamplings, points) means on resampled ones."""

    sizes: tuple[int, ...]
    scores: Numbers
    draws: Numbers
    judged_on: int


@dataclass(frozen=True, slots=True)
class Work:
    """What is learned from: the run file's settings, its rows and base model, and a folder for what is made of them."""

    config: RunConfig
    dataset: ValidatedDataset
    base: BaseModel
    folder: Path
    device: str = "cpu"


def measure(work: Work, method: Method, sizes: Sequence[int], seeds: int, tell: Tell) -> Points:
    """The scores of models that learned from so many training rows each, on the validation rows.

    The frozen rows are not asked: each look at them would make the next decision less sure.

    Args:
        sizes: numbers of training rows; the parts of one seed are nested.
        seeds: different orders of the rows; of all rows together there is one model for the proxy.
        tell: gets the model's number, how many there are, and what it learns from.

    Raises:
        ConfigError: this method cannot be used with this type of model.
    """
    import pandas as pd

    train, judged = (pd.read_parquet(work.dataset.split_file(split)) for split in ("train", "validation"))
    learn = _proxy(work, train, judged) if method == "embeddings" else _fine_tuning(work, train, judged)
    said: Said = []
    for number, size in enumerate(sizes):
        said.append([])
        for seed in range(seeds):
            tell(number * seeds + seed, len(sizes) * seeds, f"{size:,} rows, seed {seed + 1}")
            order = np.random.default_rng([SEED, seed]).permutation(len(train))
            again = method == "embeddings" and size == len(train) and seed > 0
            said[-1].append(said[-1][0] if again else learn(np.sort(order[:size]), seed))
    return _scored(work.config, judged["label"].tolist(), said, sizes)


def can_be_proxied(task_type: TaskType) -> bool:
    """Whether a linear model on one vector a text can give answers of this type."""
    return truth_column(task_type) in ("label", "labels", "value")


def _scored(config: RunConfig, truths: Sequence[str], said: Said, sizes: Sequence[int]) -> Points:
    kind, metric, generator = find_task_type(config.task_type), config.evaluation.metric, np.random.default_rng(SEED)
    rows, seeds = len(truths), len(said[0])
    # The same resampled rows and seeds for all points: what is compared is the same rows with more to learn from.
    weights = generator.multinomial(rows, np.full(rows, 1 / rows), DRAWS).astype(np.float64)
    own = np.ones((1, rows))
    drawn_seeds = generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds
    scores, draws = [], []
    for point in said:
        statistics = [kind.statistic(metric, truths, each) for each in point]
        scores.append([float(statistic(own)[0]) for statistic in statistics])
        resampled = np.stack([statistic(weights) for statistic in statistics], axis=1)  # (resamplings, seeds)
        draws.append((resampled * drawn_seeds).sum(axis=1))
    return Points(tuple(sizes), np.array(scores), np.stack(draws, axis=1), rows)


def _proxy(work: Work, train: pd.DataFrame, judged: pd.DataFrame) -> Callable[[NDArray[np.int64], int], list[str]]:
    """Learns a linear model from some training rows and says what it answers to the others."""
    kind = find_task_type(work.config.task_type)
    if not can_be_proxied(kind):
        raise ConfigError(
            f"One vector a text says too little about {kind.name}: there is no proxy for its learning curve.",
            "add --method fine-tuning, which trains for each point.",
        )
    names = [name for name in kind.texts if name in train]
    vectors, others = (
        embed_texts(
            work.base.folder, list(rows[names].itertuples(index=False, name=None)), work.config.model.max_length,
            work.device,
        )
        for rows in (train, judged)
    )  # fmt: skip
    learner = LEARNERS[truth_column(kind)]
    labels = train["label"].to_numpy()

    def learn(rows: NDArray[np.int64], _seed: int) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged to the last digit
            return learner(vectors[rows], labels[rows].tolist(), others)

    return learn


def _one_label(vectors: Any, labels: Sequence[str], others: Any) -> list[str]:
    if len(set(labels)) == 1:
        return [labels[0]] * len(others)
    model = classifier().fit(vectors, labels)
    return [str(label) for label in model.predict(others)]


def _number(vectors: Any, labels: Sequence[str], others: Any) -> list[str]:
    from sklearn.linear_model import Ridge

    return [repr(float(value)) for value in Ridge().fit(vectors, [float(label) for label in labels]).predict(others)]


LEARNERS: Mapping[str, Callable[[Any, Sequence[str], Any], list[str]]] = {
    "label": _one_label,
    "labels": learn_several_labels,
    "value": _number,
}


def _fine_tuning(
    work: Work, train: pd.DataFrame, judged: pd.DataFrame
) -> Callable[[NDArray[np.int64], int], list[str]]:
    """Fine-tunes from some training rows, as a run does, and says what the model answers to the validation rows."""
    from components.models.inference import Predictor
    from components.training.tokenization import tokenize_dataset
    from components.training.training_process import train_in_process

    kind = find_task_type(work.config.task_type)
    if not kind.trains:
        raise ConfigError(f"{kind.name} does not learn from labels.", "name a model of another type.")
    texts = judged[[name for name in kind.texts if name in judged]].to_dict("records")

    def learn(rows: NDArray[np.int64], seed: int) -> list[str]:
        place = work.folder / f"{len(rows)}-{seed}"
        part = _part(work.dataset, train, rows, place / "rows")
        training = work.config.training.model_copy(update={"seed": work.config.training.seed + seed})
        config = work.config.model_copy(update={"training": training})
        tokens = tokenize_dataset(config, part, work.base, _made(place / "tokens"))
        model = train_in_process(config, tokens, work.base, part, _made(place / "model"))
        predictor = Predictor.load(model.folder, work.device)
        return [kind.said(answer) for answer in predictor.predict(texts)]

    return learn


def _part(dataset: ValidatedDataset, train: pd.DataFrame, rows: NDArray[np.int64], folder: Path) -> ValidatedDataset:
    """The data set with some of its training rows."""
    import shutil

    _made(folder)
    for split in ("validation", "test"):
        shutil.copyfile(dataset.folder / f"{split}.parquet", folder / f"{split}.parquet")
    train.iloc[rows].to_parquet(folder / "train.parquet", index=False)
    counts = {**dataset.rows, "train": len(rows)}
    return replace(dataset, folder=folder, rows=counts, digest=digest_of([dataset.digest, rows.tolist()]))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
