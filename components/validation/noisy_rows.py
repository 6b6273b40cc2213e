"""The look at the training labels as a step: a validated data set in, what was found out, in files that can be mended.

`label_noise.csv` has the suspects, the likeliest wrong first, with a column `correct_label` to fill in; the files
`label_noise.json` and `.md` say it in numbers and words, and `label_noise_by_label.csv` of each label where rows may
have several. Where the run file says so, suspects are not trained on.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.config import RunConfig
from components.digests import canonical, digest_of
from components.errors import RejectedData
from components.models.embeddings import embed_texts
from components.records import BaseModel, ValidatedDataset, as_json
from components.reports.metric_words import metric_words
from components.step_store import MARKER
from components.task_types import find_task_type
from components.validation.label_noise import NoiseEstimate, effect_of_removal, estimate_noise
from components.validation.multi_label_noise import effect_on_micro_f1, estimate_noise_by_label

if TYPE_CHECKING:
    import pandas as pd

TABLE, TABLE_BY_LABEL = "label_noise.csv", "label_noise_by_label.csv"
SHOWN = 30


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """What was found among the training labels; `dataset` is what goes on.

    `before` and `after` are a simple classifier's scores on the validation rows, learned with and without the suspects:
    `metric` is accuracy, or micro F1 where rows may have several labels; None where there are no validation rows or no
    suspects.
    """

    folder: Path
    suspects: int
    judged: int
    share: float
    removed: int
    before: float | None
    after: float | None
    dataset: ValidatedDataset
    metric: str = "accuracy"


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
    several = find_task_type(config.task_type).targets_are == "vector"
    found = (estimate_noise_by_label if several else estimate_noise)(vectors, train["label"].tolist())
    places = [suspect.row for suspect in found.suspects]
    before = after = None
    if len(validation) and places:
        other = _vectors(validation, config, base, device)
        effect = effect_on_micro_f1 if several else effect_of_removal
        before, after = effect(vectors, train["label"].tolist(), places, other, validation["label"].tolist())
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
        metric="micro_f1" if several else "accuracy",
    )
    content = {key: value for key, value in as_json(made).items() if key not in ("folder", "dataset")}
    (folder / "label_noise.json").write_text(canonical(content), encoding="utf-8")
    (folder / "label_noise.md").write_text(noise_in_words(made, found, train), encoding="utf-8")
    allowed = config.validation.max_label_noise
    if config.validation.label_noise == "stop" and found.share > allowed:
        raise RejectedData(
            f"About {found.share:.1%} of the training {'rows have' if several else 'labels are'} wrong"
            f"{' labels' if several else ''}, more than the {allowed:.1%} that are allowed; "
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
    import pandas as pd

    names = [name for name in find_task_type(config.task_type).texts if name in train]
    rows = train.iloc[[suspect.row for suspect in found.suspects]][["row_id", *names, "label"]]
    rows = rows.assign(
        suggested_label=[suspect.suggested for suspect in found.suspects],
        label_probability=[round(suspect.own_probability, 4) for suspect in found.suspects],
        suggested_probability=[round(suspect.suggested_probability, 4) for suspect in found.suspects],
        correct_label="",
    )
    rows.to_csv(folder / TABLE, index=False, encoding="utf-8")
    if found.by_label:
        by_label = pd.DataFrame([asdict(each) for each in found.by_label])
        by_label.to_csv(folder / TABLE_BY_LABEL, index=False, encoding="utf-8")


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
    which = "rows have a wrong or missing label" if found.by_label else "training labels are wrong"
    lines = [
        f"About {made.share:.1%} of {made.judged:,} {which}; {made.suspects:,} rows are suspects "
        f"(`{TABLE}`, with a column to correct them in).",
        "",
    ]
    if made.before is not None and made.after is not None:
        lines += [
            f"Without them a simple classifier reaches {made.after:.4f} {metric_words(made.metric)} on the validation "
            f"rows, with them {made.before:.4f}. {'They were removed.' if made.removed else 'They stay.'}",
            "",
        ]
    lines += _by_label(found)
    lines += ["| row | text | label | likelier | p of each |", "|---|---|---|---|---|"]
    for suspect in found.suspects[:SHOWN]:
        row = train.iloc[suspect.row]
        text = str(row["text"])[:100].replace("|", "/").replace("\n", " ")
        odds = f"{suspect.own_probability:.2f} / {suspect.suggested_probability:.2f}"
        lines.append(f"| {row['row_id']} | {text} | {suspect.label} | {suspect.suggested} | {odds} |")
    return "\n".join(lines) + "\n"


def _by_label(found: NoiseEstimate) -> list[str]:
    """The labels with most suspects, as a markdown table; nothing where rows have one label."""
    worst = sorted(found.by_label, key=lambda each: -(each.wrongly_given + each.missing))[:SHOWN]
    if not worst:
        return []
    rows = [f"| {each.label} | {each.rows:,} | {each.wrongly_given:,} | {each.missing:,} |" for each in worst]
    return ["| label | rows that have it | wrongly given | missing |", "|---|---:|---:|---:|", *rows, ""]
