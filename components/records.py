"""The values that flow from stage to stage: frozen records of paths, counts, digests and numbers.

RunConfig → ValidatedDataset → TokenizedDataset → TrainedModel → EvaluationReport → RegisteredVersion
→ PromotionDecision → OptimisedModel → Bundle. None holds a frame, a tensor, a model or a client, so that each can be
stored as JSON, hashed, and handed between processes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Severity = Literal["stop", "quarantine", "warn"]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A pretrained checkpoint on this disk.

    `digest` covers the weights, the configuration and the tokenizer; `spec` is what the run file says.
    """

    spec: str
    folder: Path
    digest: str
    tokenizer_digest: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one validation check found.

    `rows` counts failing rows; `examples` names the first of them as `file:line`.
    `errored` means that the check could not be evaluated, which counts as failed.
    """

    name: str
    severity: Severity
    passed: bool
    errored: bool
    rows: int
    sentence: str
    hint: str
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ValidatedDataset:
    """Rows that may be trained on: `<split>.parquet` in `folder`, beside the report.

    Each parquet file has the columns `row_id` (text, `file:line`), those of the task type, and the slice columns.
    `digest` covers the content and order of all rows that go on, and the label list. `feedback` counts the corrections
    that people sent by what became of them; `feedback.jsonl` says it of each.
    """

    folder: Path
    digest: str
    rows: Mapping[str, int]
    labels: tuple[str, ...]
    quarantined_rows: int
    source_digests: Mapping[str, str]
    checks: tuple[CheckResult, ...]
    feedback: Mapping[str, int] = field(default_factory=dict)

    def split_file(self, split: Split) -> Path:
        return self.folder / f"{split}.parquet"


@dataclass(frozen=True, slots=True)
class TokenizedDataset:
    """Token ids of the train and validation rows as Arrow data sets, `folder/<split>`, one line a window.

    `long_rows` counts rows of more than one window, `cut_rows` those of which a part is in none, and
    `unreachable_rows` those whose true answer the model cannot give.
    """

    folder: Path
    digest: str
    rows: Mapping[str, int]
    tokens: Mapping[str, int]
    windows: Mapping[str, int]
    long_rows: Mapping[str, int]
    cut_rows: Mapping[str, int]
    max_length: int
    unreachable_rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PretrainingExamples:
    """A corpus as token ids, and the sequences of each phase, in Arrow files below `folder`.

    `documents` and `tokens` are by split, `sequences` by `split/phase-N`. `random_share` is the share of pairs whose
    second segment comes from another document, `unknown_share` that of tokens the vocabulary does not know;
    `unigram_entropy` (nats) is the loss of guessing held-out tokens by their frequency.
    """

    folder: Path
    digest: str
    documents: Mapping[str, int]
    tokens: Mapping[str, int]
    sequences: Mapping[str, int]
    random_share: float
    unknown_share: float
    unigram_entropy: float


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model directory: weights, tokenizer, `manifest.json`, `golden.json`.

    `digest` is the content digest of that directory. `history` is a JSONL file, one line per logged step:
    `{"step": int, "epoch": float, "time": unix seconds, "metrics": {name: value}}`.
    """

    folder: Path
    digest: str
    history: Path
    device: str
    precision: str
    best_epoch: float
    seconds: float
    samples_per_second: float
    validation_metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Scores of one model on the frozen rows: `report.json` and `predictions.parquet` in `folder`.

    `metrics` are single numbers, `intervals` their 95 % bootstrap intervals (low, high). `test_digest` is of the file,
    `frozen_rows` of what the rows say, whatever file they come from and whatever other columns it has.
    """

    folder: Path
    digest: str
    model_digest: str
    test_digest: str
    task_type: str
    rows: int
    primary_metric: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    frozen_rows: str = ""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a registered model in MLflow. `created` is false when it had been registered before."""

    name: str
    version: int
    run_id: str
    digest: str
    created: bool
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the model can give, in the order of its scores."""
        return tuple(json.loads(self.tags["rebert.labels"]))


@dataclass(frozen=True, slots=True)
class GateRule:
    """One rule of the gate and what came of it; `sentence` holds the numbers, `p_value` that of its test, if any."""

    name: str
    passed: bool
    sentence: str
    p_value: float | None = None


@dataclass(frozen=True, slots=True)
class PromotionDecision:
    """Whether the candidate replaces the champion, and why. `difference` is candidate minus champion.

    `champion_version` is None for a first model; `p_value` is None where no test was made. `alpha` is the largest
    p-value that passes, `lowest` the one-sided limit that the true difference is above at 1 - alpha, `detectable` the
    smallest true difference that these rows would have shown with the power asked for. `best_version` is the best ever
    accepted, where that is not the champion. `earlier_decisions` counts the decisions on the same frozen rows before.
    `gate` is the rule set that decided: the run file's section as it was read, with its defaults. `digest` is the
    SHA-256 of `decision.json` where that does not lie in `folder` any more.
    """

    folder: Path
    promote: bool
    reason: str
    metric: str
    candidate_score: float
    champion_version: int | None
    champion_score: float | None
    difference: float | None
    interval: tuple[float, float] | None
    test: str
    p_value: float | None
    margin: float
    confidence: float
    rows: int
    rules: tuple[GateRule, ...]
    alpha: float = 0.05
    lowest: float | None = None
    detectable: float | None = None
    best_version: int | None = None
    earlier_decisions: int = 0
    test_rows: str = ""
    gate: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


CALIBRATION = "expected_calibration_error"  # name of that metric, where a task type has it


@dataclass(frozen=True, slots=True)
class EngineTrial:
    """An engine that was built and measured on the frozen rows; `reason` says why it was taken or not.

    `loss` is what the primary metric lost against the model as it was trained. `milliseconds` are those of one short
    text, tokenization and decoding included. `largest_difference` is of a score, over the golden rows.
    `calibration_error` is the engine's own; None where it was not measured, or where answers have no such thing.
    """

    engine: str
    accepted: bool
    reason: str
    megabytes: float
    milliseconds: float
    rows_per_second: float
    score: float
    loss: float
    largest_difference: float
    calibration_error: float | None = None


@dataclass(frozen=True, slots=True)
class OptimisedModel:
    """The engine that a model is served with: `folder/engine`, which torch does not need."""

    folder: Path
    engine: str
    metric: str
    trials: tuple[EngineTrial, ...]

    @property
    def engine_folder(self) -> Path | None:
        return path if (path := self.folder / "engine").is_dir() else None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A Bento in the local store: `tag` is `name:version`, `path` its folder."""

    tag: str
    path: Path
    version: int
    model_digest: str


def as_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON values: paths become strings, tuples become lists."""
    plain: dict[str, Any] = _plain(asdict(record))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
