"""The Grafana dashboard shows what the endpoint counts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from service.metrics import Metrics

FOLDER = Path(__file__).resolve().parent.parent / "docker" / "grafana"
DASHBOARD = json.loads((FOLDER / "endpoint.json").read_text(encoding="utf-8"))
NAMES = re.compile(r"\b(?:rebert|bentoml)_\w+")


def samples() -> dict[str, set[str]]:
    """The labels of every sample by its name, after each has been counted once."""
    metrics = Metrics()
    metrics.count("/predict", "support", "1", 200, 0.1)
    metrics.went_live("support", 1, "0" * 64)
    metrics.answered("1", ["card"], 0.9)
    metrics.staged(0, 1, 2, 3, 4)
    metrics.turned(3, 0.1)
    metrics.tried("shadow", 2, 1, 1, False)
    metrics.dropped_copy("shadow", 2)
    metrics.trial("shadow", 2)
    found = [sample for family in metrics.collect() for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in found}


def expressions() -> list[str]:
    marks = [item["expr"] for item in DASHBOARD["annotations"]["list"]]
    return marks + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_series_of_the_dashboard_is_counted_with_the_labels_that_it_asks_for():
    known = samples()
    for expression in expressions():
        for name, selector in re.findall(r"\b((?:rebert|bentoml)_\w+)(?:\{(.*?)\})?", expression):
            assert name in known, name
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= known[name], expression


def test_every_series_of_the_dashboard_is_of_the_chosen_model():
    for expression in expressions():
        for name, selector in re.findall(r"\b((?:rebert|bentoml)_\w+)(?:\{(.*?)\})?", expression):
            assert re.search(r'name=~"\$model"', selector), (name, expression)
    metrics = Metrics()
    metrics.went_live("support", 1, "0" * 64)
    ours = [sample for family in metrics.collect() for sample in family.samples if sample.name.startswith("rebert_")]
    assert {sample.labels["service_name"] for sample in ours} == {"support"}


def test_everything_of_interest_is_on_the_dashboard():
    shown = {name for expression in expressions() for name in NAMES.findall(expression)}
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in samples()}
    missing = {name for name in families if not any(one.startswith(name) for one in shown)}
    assert missing <= {"bentoml_service_request_in_progress", "rebert_swaps"}, missing


def test_a_replaced_version_leaves_no_series_of_its_labels():
    metrics = Metrics()
    metrics.answered("1", ["card"], 0.9)
    assert 'label="card"' in metrics.text().decode()
    metrics.went_live("support", 2, "0" * 64)
    assert 'label="card"' not in metrics.text().decode()


def test_panels_do_not_overlap():
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in own) < 24
        assert not cells & own
        cells |= own


def test_the_files_around_it_are_yaml():
    assert {path.name for path in FOLDER.glob("*.yaml") if yaml.safe_load(path.read_text())} == {
        "dashboards.yaml",
        "prometheus.yaml",
    }
