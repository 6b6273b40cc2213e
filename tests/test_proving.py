"""The proof: the registered model and the running bundle give the trainer's answers, or nothing goes live."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from components.errors import BundleError, ServingError
from components.models.engine_building import build_engine
from components.models.engines import EngineFacts, read_facts, write_facts
from components.models.inference import Predictor
from components.models.model_directory import (
    GoldenRow,
    model_digest,
    read_golden,
    read_manifest,
    write_golden,
    write_manifest,
)
from components.records import Bundle
from components.serving import proving
from components.serving.bundling import build_bundle, find_bundle, verify_bundle
from components.serving.endpoint_process import Address, EndpointProcess, open_socket
from components.serving.proving import _ask_patiently, _check_mixed, prove_bundle
from components.serving.releases import UNPROVEN, Evidence
from components.settings import Settings
from tests.bundles import LABELS, TEXTS, registered, tiny_config, tiny_settings


def test_a_good_bundle_is_proved_alone_and_in_company_and_is_stopped_again(
    support_bundle: tuple[Settings, Bundle], support_model: Path
):
    settings, bundle = support_bundle
    (bundle.path / UNPROVEN).touch()
    version = registered(tiny_config(), 1, bundle.model_digest)
    assert find_bundle(settings, version) is None  # nothing goes live whose proof is outstanding
    proof = prove_bundle(settings, bundle, support_model)
    assert find_bundle(settings, version) == bundle
    assert (proof.tag, proof.rows, proof.refused_rows, proof.answers) == (bundle.tag, len(TEXTS), 0, 3 * len(TEXTS))
    assert 0 <= proof.largest_difference <= 1e-4
    assert 0 < proof.p50_ms <= proof.p95_ms
    assert 0 < proof.core_seconds < 60 * proof.p95_ms  # of few cores, for a thousand of what takes so many milliseconds
    assert proof.start_seconds > 0
    assert not [child for child in psutil.Process().children() if "service.start" in child.cmdline()]


def test_a_bundle_with_openvino_is_proved_and_has_nothing_of_torch(support_model: Path, tmp_path: Path):
    settings, config = tiny_settings(tmp_path), tiny_config()
    trained = Predictor.load(support_model)
    build_engine(
        "openvino", support_model, trained, [row.row for row in read_golden(support_model)], tmp_path / "built"
    )
    version = registered(config, 1, model_digest(support_model))
    bundle = build_bundle(settings, config, version, support_model, Evidence(engine=tmp_path / "built"))
    assert not list(bundle.path.rglob("*.safetensors"))
    lines = (bundle.path / "env" / "python" / "requirements.txt").read_text(encoding="utf-8")
    assert "openvino==" in lines
    assert not {"torch", "transformers"} & {line.split("==")[0] for line in lines.split()}
    proof = prove_bundle(settings, bundle, support_model)
    assert (proof.engine, proof.rows) == ("openvino", len(TEXTS))
    assert proof.largest_difference <= proof.tolerance == 1e-4
    with (
        open_socket("127.0.0.1", 0) as listener,
        EndpointProcess(settings, bundle, listener, tmp_path / "log") as child,
    ):
        child.wait_until_ready()
        loaded = Path(f"/proc/{child.process.pid}/maps").read_text(encoding="utf-8")
    assert "libopenvino" in loaded
    assert "libtorch" not in loaded
    (bundle.path / "src" / "engine" / "graph.xml").write_text("<net/>")
    with pytest.raises(ServingError, match=r"graph\.xml changed"):
        prove_bundle(settings, bundle, support_model)
    assert build_bundle(settings, config, version, support_model, Evidence(engine=tmp_path / "built")) == bundle
    read_facts(bundle.path / "src" / "engine")
    (bundle.path / "src" / "engine" / "graph.xml").write_text("<net/>")
    facts = EngineFacts.model_validate_json((bundle.path / "src" / "engine" / "engine.json").read_bytes())
    write_facts(bundle.path / "src" / "engine", facts)  # a whole engine, but not the one that was measured
    with pytest.raises(BundleError, match=r"engine in .* is not the one that its release names"):
        verify_bundle(bundle.path / "src")


def test_a_bundle_of_another_model_than_the_registry_is_refused(
    support_bundle: tuple[Settings, Bundle], support_model: Path, tmp_path: Path
):
    settings, bundle = support_bundle
    registered = copy_with_golden(support_model, tmp_path / "model", read_golden(support_model)[:2])
    with pytest.raises(BundleError, match=rf"holds model {bundle.model_digest[:12]}, the registry"):
        prove_bundle(settings, bundle, registered)


def copy_with_golden(model: Path, target: Path, rows: list[GoldenRow]) -> Path:
    shutil.copytree(model, target)
    write_golden(target, rows)
    write_manifest(target, read_manifest(target))
    return target


class LyingEndpoint(BaseHTTPRequestHandler):
    """Answers every text with the same scores."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        top = [{"label": label, "score": score} for label, score in zip(LABELS, (0.2, 0.5, 0.3), strict=True)]
        body = json.dumps({"predictions": [{"label": "card", "score": 0.5, "top": top} for _ in asked["texts"]]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        return


class BusyEndpoint(BaseHTTPRequestHandler):
    """Answers 503, then 429, then 200."""

    statuses: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.statuses.pop(0) if self.statuses else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments: object) -> None:
        return


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[Address]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Address("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.fixture
def liar() -> Iterator[Address]:
    with answering(LyingEndpoint) as address:
        yield address


def test_a_busy_endpoint_is_asked_again_within_a_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proving, "BUSY_PAUSE_SECONDS", 0.01)
    with answering(BusyEndpoint) as address:
        BusyEndpoint.statuses = [503, 429]
        assert _ask_patiently(address, {})[0] == 200
        BusyEndpoint.statuses = [503] * 1000
        monkeypatch.setattr(proving, "BUSY_SECONDS", 0.05)
        assert _ask_patiently(address, {})[0] == 503


def test_an_endpoint_that_answers_otherwise_is_found_out(liar: Address, support_model: Path):
    golden = read_golden(support_model)
    with pytest.raises(BundleError, match=r"Golden row 0: the trainer said .*0\.\d+.*, this model says"):
        _check_mixed(liar, golden, "texts", range(len(golden)), 64)
