"""The look at the training labels as a step: a validated data set in, what was found out, in files that can be mended.

`label_noise.csv` has the suspects, the likeliest wrong first, with a column `correct_label` to fill in; the files
`label_noise.json` and `.md` say it in numbers and words. Where the run file says so, suspects are not trained on.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.config import RunConfig
from components.digests import canonical, digest_of
from components.errors import RejectedData
from components.models.embeddings import embed_texts
from components.records import BaseModel, ValidatedDataset, as_json
from components.step_store import MARKER
from components.task_types import find_task_type
from components.validation.label_noise import NoiseEstimate, effect_of_removal, estimate_noise

if TYPE_CHECKING:
    import pandas as pd

TABLE = "label_noise.csv"
SHOWN = 30


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """What was found among the training labels; `dataset` is what goes on.

    `before` and `after` are a simple classifier's accuracies on the validation rows, learned with and without the
    suspects; None where there are no validation rows or no suspects.
    """

    folder: Path
    suspects: int
    judged: int
    share: float
    removed: int
    before: float | None
    after: float | None
    dataset: ValidatedDataset


def look_for_noise(
    config: RunConfig, dataset: ValidatedDataset, base: BaseModel, folder: Path, device: str = "cpu"
) -> LabelNoise:
    """The likeliest wrong labels of the training rows.

    Raises:
        RejectedData: there are more than the run file allows, and it says stop.
    """
    import pandas as pd

    train, validation = (pd.read_parquet(dataset.split_file(split)) for split in ("train", "validation"))
    vectors = _vectors(train, config, base, device)
    found = estimate_noise(vectors, train["label"].tolist())
    places = [suspect.row for suspect in found.suspects]
    before = after = None
    if len(validation) and places:
        other = _vectors(validation, config, base, device)
        before, after = effect_of_removal(vectors, train["label"].tolist(), places, other, validation["label"].tolist())
    _write_table(train, found, config, folder)
    removes = config.validation.label_noise == "remove" and bool(places)
    made = LabelNoise(
        folder=folder,
        suspects=len(places),
        judged=found.judged,
        share=found.share,
        removed=len(places) if removes else 0,
        before=before,
        after=after,
        dataset=_without(dataset, train, places, folder) if removes else dataset,
    )
    content = {key: value for key, value in as_json(made).items() if key not in ("folder", "dataset")}
    (folder / "label_noise.json").write_text(canonical(content), encoding="utf-8")
    (folder / "label_noise.md").write_text(noise_in_words(made, found, train), encoding="utf-8")
    allowed = config.validation.max_label_noise
    if config.validation.label_noise == "stop" and found.share > allowed:
        raise RejectedData(
            f"About {found.share:.1%} of the training labels are wrong, more than the {allowed:.1%} that are allowed; "
            f"{len(places):,} rows are suspects.",
            f"correct them ({TABLE} names each with the likelier label), or raise validation.max_label_noise.",
            str(folder),
        )
    return made


def _vectors(rows: pd.DataFrame, config: RunConfig, base: BaseModel, device: str) -> Any:
    names = [name for name in find_task_type(config.task_type).texts if name in rows]
    texts = list(rows[names].itertuples(index=False, name=None))
    return embed_texts(base.folder, texts, config.model.max_length, device)


def _write_table(train: pd.DataFrame, found: NoiseEstimate, config: RunConfig, folder: Path) -> None:
    names = [name for name in find_task_type(config.task_type).texts if name in train]
    rows = train.iloc[[suspect.row for suspect in found.suspects]][["row_id", *names, "label"]]
    rows = rows.assign(
        suggested_label=[suspect.suggested for suspect in found.suspects],
        label_probability=[round(suspect.own_probability, 4) for suspect in found.suspects],
        suggested_probability=[round(suspect.suggested_probability, 4) for suspect in found.suspects],
        correct_label="",
    )
    rows.to_csv(folder / TABLE, index=False, encoding="utf-8")


def _without(dataset: ValidatedDataset, train: pd.DataFrame, places: Sequence[int], folder: Path) -> ValidatedDataset:
    """The data set without some of its training rows, in a folder of its own."""
    place = folder / "rows"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(dataset.folder, place, ignore=shutil.ignore_patterns("train.parquet", MARKER))
    train.drop(index=train.index[list(places)]).to_parquet(place / "train.parquet", index=False)
    rows = {**dataset.rows, "train": dataset.rows["train"] - len(places)}
    return replace(dataset, folder=place, rows=rows, digest=digest_of([dataset.digest, sorted(places)]))


def noise_in_words(made: LabelNoise, found: NoiseEstimate, train: pd.DataFrame) -> str:
    """The finding as markdown, with the likeliest wrong labels."""
    lines = [
        f"About {made.share:.1%} of {made.judged:,} training labels are wrong; {made.suspects:,} rows are suspects "
        f"(`{TABLE}`, with a column to correct them in).",
        "",
    ]
    if made.before is not None and made.after is not None:
        lines += [
            f"Without them a simple classifier gets {made.after:.4f} of the validation rows right, with them "
            f"{made.before:.4f}. {'They were removed.' if made.removed else 'They stay.'}",
            "",
        ]
    lines += ["| row | text | label | likelier | p of each |", "|---|---|---|---|---|"]
    for suspect in found.suspects[:SHOWN]:
        row = train.iloc[suspect.row]
        text = str(row["text"])[:100].replace("|", "/").replace("\n", " ")
        odds = f"{suspect.own_probability:.2f} / {suspect.suggested_probability:.2f}"
        lines.append(f"| {row['row_id']} | {text} | {suspect.label} | {suspect.suggested} | {odds} |")
    return "\n".join(lines) + "\n"
