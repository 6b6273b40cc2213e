"""A retraining through the services of docker/compose.yaml, run as processes where there is no container engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.compose_processes import PROJECT, Stack
from tests.deliveries import rows, write_csv, write_run_file

SECONDS = 300


def lacking() -> str:
    """Why the services cannot be started here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for networks and mounts of its own"
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "needs Debian's package postgresql"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    missing = [name for name in ("weed", "unshare", "setpriv", "ip", "wget") if not shutil.which(name, path=path)]
    return f"needs {', '.join(missing)}" if missing else ""


@pytest.mark.slow
@pytest.mark.skipif(bool(lacking()), reason=lacking())
def test_a_deployed_run_file_is_retrained_and_served_by_the_services_of_the_compose_file(
    tmp_path: Path, tiny_base: Path
):
    workspace = tmp_path / "workspace"
    write_csv(workspace / "week-1.csv", rows(120, seed=1))
    write_csv(workspace / "test.csv", rows(80, seed=2))
    shutil.copytree(tiny_base, workspace / "base")
    for path in (workspace / "base").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # whoever else runs the services must be able to read it
    write_run_file(workspace, Path("/workspace/base"), serving={"engine": "openvino"})
    command = ["unshare", "--mount", "--net", sys.executable, "-m", "tests.test_compose", str(tmp_path)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=3 * SECONDS)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # before it, what make-secrets says

    assert seen["state"] == "COMPLETED"
    assert [name for name in seen["objects"] if name.endswith("model.safetensors")]  # MLflow's artifacts are in S3
    assert seen["tables"] == {"prefect": 1, "mlflow": 1, "mlflow_auth": 1}  # runs and users are in Postgres
    assert seen["without_password"] == {"mlflow": 401, "prefect": 401}
    assert seen["foreign_host"] == 403
    assert seen["answer"]["version"] == 1
    assert "1 " in seen["corrections"]
    assert seen["roots"] == []
    assert seen["s3_listens_beyond_loopback"] == [8333, 18333]  # HTTP and gRPC of the S3 gateway alone
    assert "Read-only file system" in seen["written"]


def observe(folder: Path) -> dict[str, Any]:
    """What happens when the stack is brought up and a run file is deployed and triggered. In a network of its own."""
    import httpx

    variables = {"REBERT_MODEL": "reviews", "REBERT_WORKSPACE": str(folder / "workspace")}
    with Stack(folder, variables) as stack:
        stack.up("core", "worker", seconds=SECONDS)
        stack.run("worker", "rebert", "deploy", "/workspace/reviews.yaml")
        stack.run("worker", "rebert", "trigger", "reviews")
        state = _await_run(_prefect((folder / "secrets" / "prefect_auth").read_text()))
        if state != "COMPLETED":
            raise ChildProcessError(stack.log("worker")[-5000:])
        stack.up("serve", seconds=60)
        endpoint = httpx.Client(base_url="http://127.0.0.1:3000")
        answer = endpoint.post("/predict", json={"text": "the food was great"})
        endpoint.post("/feedback", json={"text": "the food was great", "label": "pos"}).raise_for_status()
        corrections = stack.run("worker", "rebert", "feedback", "reviews", "--output", "/tmp/corrections.jsonl")  # noqa: S108
        written = stack.start("endpoint", ["touch", "/opt/new"], log="touch")
        written.wait(10)
        return {
            "state": state,
            "answer": answer.json(),
            "corrections": corrections,
            "objects": _objects(folder),
            "tables": {name: _rows_of(stack, folder, name) for name in ("prefect", "mlflow", "mlflow_auth")},
            "without_password": {
                "mlflow": httpx.get("http://127.0.0.1:5000/api/2.0/mlflow/experiments/get?experiment_id=0").status_code,
                "prefect": httpx.get("http://127.0.0.1:4200/api/admin/version").status_code,
            },
            "foreign_host": httpx.get("http://127.0.0.1:5000/", headers={"Host": "evil.example"}).status_code,
            "roots": _of_root(stack),
            "s3_listens_beyond_loopback": _open_ports(stack.running["s3"].pid),
            "written": stack.log("touch"),
        }


def _prefect(auth: str) -> Any:
    """A client of Prefect's server that it lets in."""
    import httpx

    user, _, password = auth.partition(":")
    client = httpx.Client(base_url="http://127.0.0.1:4200/api", auth=(user, password))
    token = client.get("/csrf-token", params={"client": "test"}).raise_for_status().json()["token"]
    client.headers.update({"Prefect-Csrf-Client": "test", "Prefect-Csrf-Token": token})
    return client


def _await_run(prefect: Any) -> str:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        runs = prefect.post("/flow_runs/filter", json={}).json()
        if runs and runs[0]["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            return str(runs[0]["state_type"])
        time.sleep(1)
    return "none in time"


def _objects(folder: Path) -> list[str]:
    import boto3

    os.environ.update(
        AWS_SHARED_CREDENTIALS_FILE=str(folder / "secrets" / "s3_credentials"), AWS_DEFAULT_REGION="us-east-1"
    )
    store = boto3.client("s3", endpoint_url="http://127.0.0.1:8333")
    return [each["Key"] for each in store.list_objects_v2(Bucket="mlflow").get("Contents", [])]


def _rows_of(stack: Stack, folder: Path, database: str) -> int:
    import psycopg2

    table = {"prefect": "flow_run", "mlflow": "registered_models", "mlflow_auth": "users"}[database]
    user = database.partition("_")[0]
    password = (folder / "secrets" / f"{user}_db_password").read_text()
    with psycopg2.connect(host="127.0.0.1", dbname=database, user=user, password=password) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - a name from above
        return int(cursor.fetchone()[0])


def _of_root(stack: Stack) -> list[str]:
    """Processes of the services that run as root or hold a capability."""
    import psutil

    found = []
    for name, process in stack.running.items():
        if process.poll() is not None:
            continue
        parent = psutil.Process(process.pid)
        for each in (parent, *parent.children(recursive=True)):
            status = Path(f"/proc/{each.pid}/status").read_text()
            if each.uids().real == 0 or "CapEff:\t0000000000000000" not in status:
                found.append(f"{name}: {each.name()}")
    return found


def _open_ports(pid: int) -> list[int]:
    import psutil

    listening = psutil.Process(pid).net_connections("tcp")
    return sorted(
        each.laddr.port for each in listening if each.status == "LISTEN" and not each.laddr.ip.startswith("127.")
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(observe(Path(sys.argv[1]))))
