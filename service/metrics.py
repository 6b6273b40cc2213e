"""What Prometheus reads: BentoML's own names for requests, so that its dashboards work, and ours for the model.

BentoML's middleware is off: it makes a new series for each path that anyone tries, and halves the throughput. Counted
here, `endpoint` is one of our pages or `other`, and `service_version` the model version that was live. All of ours say
under `service_name`, as BentoML's do, which model it is: Prometheus may read the endpoints of several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from components.task_types import Windows

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
STAGES = ("arrive", "read", "answer", "show")
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The endpoint's counters; `text` is what `GET /metrics` answers."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # By their labels: looking these up costs more than counting.
        self.counted: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}
        self.name = ""  # of the model, once one is live
        of_request = ("endpoint", "service_name", "service_version", "http_response_code")
        name = "bentoml_service_request"
        self.requests = Counter(f"{name}_total", "Requests.", of_request, registry=self.registry)
        self.seconds = Histogram(
            f"{name}_duration_seconds", "Time to answer.", of_request, registry=self.registry, buckets=SECONDS
        )
        self.at_work = 0
        in_progress = Gauge(f"{name}_in_progress", "Requests at work now.", registry=self.registry)
        in_progress.set_function(lambda: self.at_work)
        self.turns = Histogram(
            "rebert_batch_texts",
            "Windows, whole short texts or parts of long ones, that went through the network together.",
            registry=self.registry,
            buckets=TEXTS,
        )
        self.turn_seconds = Histogram(
            "rebert_batch_seconds", "Time of the model.", registry=self.registry, buckets=SECONDS
        )
        self.stages = Histogram(
            "rebert_stage_seconds", "Time of a request's parts.", ("stage",), registry=self.registry, buckets=SECONDS
        )
        self.stage_times = [self.stages.labels(stage) for stage in STAGES]
        self.waiting = Gauge("rebert_waiting_texts", "Texts that are queued or at work.", registry=self.registry)
        self.windowed = Counter(
            "rebert_windowed_rows_total", "Rows that were read in several windows.", registry=self.registry
        )
        self.cut = Counter(
            "rebert_cut_rows_total", "Rows of which a part was read by no window.", registry=self.registry
        )
        self.corrections = Counter("rebert_corrections_total", "Corrections kept.", registry=self.registry)
        self.unlogged = Gauge(
            "rebert_unlogged_requests", "Requests since the start that the request log lost.", registry=self.registry
        )
        of_label = ("service_version", "label")
        self.labels = Counter("rebert_labels_total", "Labels that were given.", of_label, registry=self.registry)
        self.confidence = Histogram(
            "rebert_confidence", "Scores of answers.", ("service_version",), registry=self.registry, buckets=SCORES
        )
        self.info = Gauge("rebert_model_info", "The live model.", ("name", "version", "digest"), registry=self.registry)
        self.swaps = Counter("rebert_swaps_total", "Versions that went live since the start.", registry=self.registry)
        self.refused = Gauge(
            "rebert_release_refused",
            "1 while the release file names a version that is refused.",
            registry=self.registry,
        )
        self._add_trials()

    def _add_trials(self) -> None:
        self.trials = Gauge("rebert_trial_info", "What is tried now.", ("mode", "version"), registry=self.registry)
        of_trial = ("mode", "version")
        self.tried_rows = Counter("rebert_trial_rows_total", "Rows on trial.", of_trial, registry=self.registry)
        self.disagreements = Counter(
            "rebert_trial_disagreements_total",
            "Rows that a shadow decides otherwise.",
            of_trial,
            registry=self.registry,
        )
        self.dropped = Counter(
            "rebert_trial_dropped_total",
            "Copies that were not made, for want of time.",
            of_trial,
            registry=self.registry,
        )
        self.trial_errors = Counter(
            "rebert_trial_errors_total", "Requests without an answer.", of_trial, registry=self.registry
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """All of them, ours with the name of the model."""
        for family in self.registry.collect():
            if family.name.startswith("rebert_"):
                named = ({**sample.labels, "service_name": self.name} for sample in family.samples)
                family.samples = [
                    sample._replace(labels=labels) for sample, labels in zip(family.samples, named, strict=True)
                ]
            yield family

    def count(self, endpoint: str, name: str, version: str, status: int, seconds: float) -> None:
        """A request was answered."""
        labels = (endpoint, name, version, str(status))
        if labels not in self.counted:
            self.counted[labels] = self.requests.labels(*labels), self.seconds.labels(*labels)
        requests, times = self.counted[labels]
        requests.inc()
        times.observe(seconds)

    def read(self, windows: Windows) -> None:
        """Rows of requests were read; those that an explanation makes of them do not count."""
        if long_rows := windows.long_rows():
            self.windowed.inc(long_rows)
        if windows.cut:
            self.cut.inc(windows.cut)

    def answered(self, version: str, labels: Iterable[str], score: float) -> None:
        """A row was answered by a version, with these labels."""
        for label in labels:
            self.labels.labels(version, label).inc()
        self.confidence.labels(version).observe(score)

    def tried(self, mode: str, version: int, rows: int, disagreements: int, failed: bool) -> None:
        """A version on trial has answered a request, or failed to."""
        labels = (mode, str(version))
        self.tried_rows.labels(*labels).inc(rows)
        self.disagreements.labels(*labels).inc(disagreements)
        self.trial_errors.labels(*labels).inc(failed)

    def dropped_copy(self, mode: str, version: int) -> None:
        """A shadow got no copy of a request."""
        self.dropped.labels(mode, str(version)).inc()

    def trial(self, mode: str | None, version: int) -> None:
        """This version is tried from now on; None for none."""
        self.trials.clear()
        if mode is not None:
            self.trials.labels(mode, str(version)).set(1)

    def staged(self, *times: float) -> None:
        """A request's body began to arrive, had arrived, was read, was answered and was shown at these times."""
        for stage, began, ended in zip(self.stage_times, times[:-1], times[1:], strict=True):
            stage.observe(ended - began)

    def turned_away(self, endpoint: str, name: str, version: str, times: int) -> None:
        """So many requests were refused with 429 before they became requests."""
        self.requests.labels(endpoint, name, version, "429").inc(times)

    def turned(self, texts: int, seconds: float) -> None:
        """The model answered so many texts together."""
        if texts:
            self.turns.observe(texts)
            self.turn_seconds.observe(seconds)

    def went_live(self, name: str, version: int, digest: str) -> None:
        """This version answers from now on; what counts labels begins anew, or each version would leave its series."""
        self.name = name
        self.swaps.inc()
        self.labels.clear()
        self.confidence.clear()
        self.info.clear()
        self.info.labels(name, str(version), digest[:12]).set(1)
