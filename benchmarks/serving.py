"""The endpoint against three ways to serve the same checkpoint: throughput, latency, memory, start, accuracy.

    python benchmarks/serving.py [--home FOLDER] [--rows 4000] [--seconds 8] [--repeats 3] [--quick]

A model is trained on Banking77 by `rebert run`, once for each --home; its bundle, FastAPI around a transformers
pipeline, `mlflow models serve` with MLflow's own transformers flavor, and BentoML's tutorial service all serve that
checkpoint. They are asked in turn, one text of the test rows a request, by 1, 8 and 64 clients in a process of their
own (`load.py`), all on the same cores. Beside that stands what the engine does in a plain loop without HTTP.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from report import Table, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "benchmarks" / "baselines"
CLIENTS = (1, 8, 64)
GOAL = "64 clients: at least 6 x each baseline with a lower p99; 1 client: p50 at most a third; ready within 3 s"
READY_SECONDS = 180
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "BENTOML_DO_NOT_TRACK": "True",
}


@dataclass(frozen=True)
class Server:
    """A way to serve the checkpoint: its command, and how one text is asked and one label read."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    path: str
    key: str | None  # None: the body of MLflow's own
    cwd: Path = ROOT

    def body(self, text: str) -> dict[str, Any]:
        return {"inputs": [text]} if self.key is None else {self.key: [text] if self.key == "texts" else text}

    def label(self, answer: Any) -> str:
        while not (isinstance(answer, dict) and "label" in answer):
            answer = answer.get("predictions", answer) if isinstance(answer, dict) else answer[0]
        return str(answer["label"])


@dataclass
class Running:
    """A server that answers."""

    server: Server
    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float

    def memory(self) -> float:
        """Megabytes of the process and its children, shared pages counted once for each by their share."""
        top = psutil.Process(self.process.pid)
        return sum(process.memory_full_info().pss for process in (top, *top.children(recursive=True))) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "rebert-serving-benchmark")
    parser.add_argument("--rows", type=int, default=4000, help="training rows")
    parser.add_argument("--seconds", type=float, default=8, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a second each, once, no result file")
    options = parser.parse_args()
    seconds, repeats = (1.0, 1) if options.quick else (options.seconds, options.repeats)
    home = options.home.resolve()
    bundle, model = train(home, options.rows)
    rows = test_rows()
    with ExitStack() as stack:
        running = [stack.enter_context(started(server)) for server in servers(home, bundle, model)]
        accuracy = {each.server.name: asked_accuracy(each, rows[: 100 if options.quick else 1000]) for each in running}
        measured = measure(running, [text for text, _ in rows], seconds, repeats)
        memory = {each.server.name: each.memory() for each in running}
        starts = {each.server.name: each.start_seconds for each in running}
    limit = engine_limit(bundle, [text for text, _ in rows][:500])
    tables = report(measured, accuracy, memory, starts, limit)
    for table in tables:
        table.show()
    if not options.quick:
        content = {
            "machine": machine(), "goal": GOAL, "measured": measured, "accuracy": accuracy, "memory_mb": memory,
            "start_seconds": starts, "engine": limit,
            "note": "Load generator and servers share the cores. The engine's own limit is a loop over the same texts "
            "in one process, in batches by length, tokenization and answers included.",
        }  # fmt: skip
        write_result("serving", content, tables)


def train(home: Path, rows: int) -> tuple[Path, Path]:
    """The bundle and the model directory that `rebert run` makes, or has made in this home with this code."""
    from components.digests import digest_files, digest_of
    from components.models.model_directory import model_digest
    from components.serving.bundling import bundle_sources

    release = home / "home" / "releases" / "banking77.json"
    code = digest_of(digest_files(bundle_sources().values(), ROOT))[:12]
    run_file = home / "banking77.yaml"
    if not release.exists() or code not in run_file.read_text(encoding="utf-8"):
        home.mkdir(parents=True, exist_ok=True)
        content = yaml.safe_load((ROOT / "examples" / "banking77.yaml").read_text(encoding="utf-8"))
        source = list(csv.reader((ROOT / "examples" / "banking77" / "train.csv").open(encoding="utf-8")))
        with (home / "train.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([source[0], *source[1:][:: max(1, (len(source) - 1) // rows)]])
        for split in ("validation", "test"):
            content["data"][split] = str(ROOT / "examples" / "banking77" / f"{split}.csv")
        content["data"]["train"] = str(home / "train.csv")
        content["validation"] = {"min_rows": 100, "min_rows_per_label": 1}
        content["gate"] = {"floor": 0.0, "mode": "non_inferiority", "margin": 0.01}  # the same model in new code serves
        content["task"] = {"pooling": "cls"}  # the one that the others know
        del content["evaluation"]["behaviour"]  # its files lie elsewhere, and it is not what is measured
        content["serving"] = {"port": 0, "timeout_seconds": 2}
        content["description"] = f"Served by {code}."  # another one makes another bundle without another training
        run_file.write_text(yaml.safe_dump(content), encoding="utf-8")
        environment = {**os.environ, "REBERT_HOME": str(home / "home"), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "flows.cli", "run", "banking77.yaml"]
        subprocess.run(command, cwd=home, env=environment, check=True)
    live = json.loads(release.read_text(encoding="utf-8"))
    models = (home / "home" / "steps" / "banking77" / "fine_tune").glob("*/model")
    return Path(live["path"]), next(path for path in models if model_digest(path) == live["model_digest"])


def test_rows() -> list[tuple[str, str]]:
    """Texts and labels of the test rows, in an order that mixes lengths."""
    with (ROOT / "examples" / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return [found[(number * 1009) % len(found)] for number in range(len(found))]


def servers(home: Path, bundle: Path, model: Path) -> list[Server]:
    """All ways to serve, ours first."""
    flavor = home / "mlflow-flavor"
    if not flavor.exists():
        code = (
            "import sys, mlflow.transformers; from transformers import AutoModelForSequenceClassification as M, "
            "AutoTokenizer as T; m, f = sys.argv[1:]; mlflow.transformers.save_model({'model': M.from_pretrained(m), "
            "'tokenizer': T.from_pretrained(m)}, f, task='text-classification', pip_requirements=['transformers'])"
        )
        environment = {**os.environ, **QUIET, "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
        subprocess.run([sys.executable, "-c", code, str(model), str(flavor)], env=environment, check=True)
    ours = [sys.executable, "-m", "service.start", "--bundle", str(bundle), "--fd", "{fd}"]
    mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(flavor), "--env-manager", "local"]
    bento = [sys.executable, "-m", "bentoml", "serve", "bento_tutorial:Classifier", "--host", "127.0.0.1"]
    has_model = {"MODEL": str(model)}
    return [
        Server("rebert", ours, {}, "/predict", "text", bundle / "src"),
        Server(
            "FastAPI + pipeline",
            [sys.executable, str(BASELINES / "fastapi_pipeline.py")],
            has_model,
            "/predict",
            "text",
        ),
        Server("mlflow models serve", [*mlflow, "--port", "{port}"], {}, "/invocations", None),
        Server("BentoML tutorial", [*bento, "--port", "{port}"], has_model, "/predict", "texts", BASELINES),
    ]


@contextmanager
def started(server: Server) -> Iterator[Running]:
    """A server from its start to the first answer, and until the end of the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        port = listener.getsockname()[1]
        takes_socket = any("{fd}" in part for part in server.command)
        if not takes_socket:
            listener.close()
        words = {"{port}": str(port), "{fd}": str(listener.fileno())}
        command = [words.get(part, part) for part in server.command]
        # MLflow calls uvicorn by its bare name.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **QUIET, "PORT": str(port), "PATH": path}
        environment.pop("PYTHONPATH", None)
        began = time.monotonic()
        log = Path(tempfile.gettempdir()) / f"serving-{server.name.split()[0].lower()}.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                command,
                cwd=server.cwd,
                env={**environment, **server.environment},
                pass_fds=[listener.fileno()] if takes_socket else [],
                stdout=output,
                stderr=output,
            )
        running = Running(server, process, port, 0.0)
        try:
            running.start_seconds = _wait(running, began)
            print(f"  {server.name} answers after {running.start_seconds:.1f} s", flush=True)
            yield running
        finally:
            if process.poll() is None:
                for child in (*psutil.Process(process.pid).children(recursive=True), process):
                    child.terminate()
            process.wait(30)


def _wait(running: Running, began: float) -> float:
    while time.monotonic() - began < READY_SECONDS:
        if running.process.poll() is not None:
            raise SystemExit(f"{running.server.name} ended with {running.process.returncode}: see serving-*.log")
        try:
            ask(running, "where is my card")
        except (OSError, ValueError, http.client.HTTPException):
            time.sleep(0.05)
        else:
            return time.monotonic() - began
    raise SystemExit(f"{running.server.name} does not answer")


def ask(running: Running, text: str) -> str:
    """The label of one text."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    try:
        body = json.dumps(running.server.body(text))
        connection.request("POST", running.server.path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise ValueError(content[:200])
        return running.server.label(json.loads(content))
    finally:
        connection.close()


def asked_accuracy(running: Running, rows: Sequence[tuple[str, str]]) -> float:
    """Share of the rows that get their label."""
    return statistics.mean(ask(running, text) == label for text, label in rows)


def load(running: Running, texts: Sequence[str], *options: str) -> dict[str, Any]:
    """What `load.py` measured."""
    order = {"path": running.server.path, "bodies": [running.server.body(text) for text in texts]}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "load.py"), "--port", str(running.port), *options],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(running: Sequence[Running], texts: Sequence[str], seconds: float, repeats: int) -> dict[str, Any]:
    """Requests a second and latencies of each server with each number of clients; all in turn, several times."""
    found: dict[str, Any] = {each.server.name: {str(count): [] for count in CLIENTS} for each in running}
    for repeat in range(repeats):
        for clients in CLIENTS:
            for each in running[repeat % len(running) :] + list(running[: repeat % len(running)]):
                load(each, texts, "--clients", str(clients), "--seconds", "1")  # warm
                result = load(each, texts, "--clients", str(clients), "--seconds", str(seconds))
                times = sorted(ms for _, status, ms in result["answers"] if status == 200)
                point = {
                    "requests_per_second": round(len(times) / seconds, 1),
                    "p50_ms": round(times[len(times) // 2], 2),
                    "p99_ms": round(times[int(len(times) * 0.99)], 2),
                    "failed": len(result["answers"]) - len(times),
                    "generator_cores": round(result["own_cpu_seconds"] / seconds, 2),
                }
                found[each.server.name][str(clients)].append(point)
                print(f"  {clients:3} clients  {each.server.name:22} {point}", flush=True)
    return found


def engine_limit(bundle: Path, texts: Sequence[str]) -> dict[str, float]:
    """Texts a second without HTTP: all cores in batches by length, and milliseconds of one text alone."""
    code = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from components.models.inference import open_predictor
from service.engine import cores
source, texts = Path(sys.argv[1]), json.load(sys.stdin)
engine = source / "engine"
predictor = open_predictor(source / "model", engine if engine.is_dir() else None, cores())
rows = [{"text": text} for text in texts]
parts = [rows[start :: cores()] for start in range(cores())]
with ThreadPoolExecutor(cores()) as pool:
    list(pool.map(predictor.predict, parts))
    began = time.perf_counter()
    for _ in range(3):
        list(pool.map(predictor.predict, parts))
    together = 3 * len(rows) / (time.perf_counter() - began)
alone = []
for row in rows[:200]:
    predictor.predict([row])
    began = time.perf_counter()
    predictor.predict([row])
    alone.append(1000 * (time.perf_counter() - began))
print(json.dumps({"texts_per_second": round(together, 1), "one_text_ms": round(sorted(alone)[len(alone) // 2], 3)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle / "src")],
        cwd=bundle / "src", input=json.dumps(list(texts)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def report(
    measured: Mapping[str, Any],
    accuracy: Mapping[str, float],
    memory: Mapping[str, float],
    starts: Mapping[str, float],
    limit: Mapping[str, float],
) -> list[Table]:
    """Medians over the repeats, and how many times the baselines ours is."""
    speed = Table(
        "One text a request", ("server", "clients", "requests/s", "p50 ms", "p99 ms", "ours is", "p50 of ours is")
    )
    ours = {clients: medians(points) for clients, points in measured["rebert"].items()}
    for clients in map(str, CLIENTS):
        for name, points in measured.items():
            now = medians(points[clients])
            times = ours[clients]["requests_per_second"] / now["requests_per_second"]
            share = ours[clients]["p50_ms"] / now["p50_ms"]
            compared = ("", "") if name == "rebert" else (f"{times:.1f} x", f"1/{1 / share:.1f}")
            speed.add(name, clients, now["requests_per_second"], now["p50_ms"], now["p99_ms"], *compared)
    rest = Table("The same servers", ("server", "ready after s", "memory MB", "accuracy"))
    for name in measured:
        rest.add(name, f"{starts[name]:.1f}", f"{memory[name]:.0f}", f"{accuracy[name]:.4f}")
    top = ours[str(CLIENTS[-1])]["requests_per_second"]
    own = Table("The engine without HTTP", ("texts/s on all cores", "one text, ms", "the endpoint reaches"))
    own.add(limit["texts_per_second"], limit["one_text_ms"], f"{top / limit['texts_per_second']:.0%}")
    return [speed, rest, own]


def medians(points: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each number over the repeats."""
    return {name: round(statistics.median(point[name] for point in points), 2) for name in points[0]}


if __name__ == "__main__":
    main()
