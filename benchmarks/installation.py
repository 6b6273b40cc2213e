"""A whole installation for the benchmarks that break things: PostgreSQL, and `rebert up` on it, both started again when
they die, as a service manager would; what may be killed there, and how Prefect's server is asked.

PostgreSQL refuses to run as root: where this process is root, it runs as the user postgres, whom Debian's package
makes.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from components.settings import Settings, apply_settings, read_settings  # noqa: E402
from components.supervision.keeping import Keeper  # noqa: E402
from components.supervision.programs import Condition, Program  # noqa: E402
from components.training.training_process import LOG as TRAINING_LOG  # noqa: E402
from flows.up_start import free_port  # noqa: E402

DATABASES = ("prefect", "mlflow")
USER = "rebert"
OWNER = "postgres"  # the system's user, where this process is root
# What each part looks like among the processes of an installation, by words of its command.
PARTS = {
    "worker": ("worker", "start", "--pool"),
    "run": ("prefect.engine",),
    "computing": ("components.processes.child",),
    "prefect": ("server", "start", "--host"),
    "mlflow": ("mlflow", "server"),
}
PATIENCE_SECONDS = 420.0


def postgres_programs() -> Path:
    """The folder of initdb and postgres.

    Raises:
        SystemExit: PostgreSQL is not installed.
    """
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    usable = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if not usable:
        raise SystemExit("PostgreSQL is not installed: run 'apt-get install postgresql', or put initdb on the PATH.")
    return usable[-1]


def until(happened: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """What a function returns as soon as that is true; a server that is away meanwhile is asked again.

    Raises:
        TimeoutError: it did not happen in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError, psutil.Error):
            if found := happened():
                return found
        time.sleep(0.5)
    raise TimeoutError(f"{what} did not happen within {seconds:.0f} s.")


class Installation:
    """PostgreSQL and `rebert up` in a folder, kept at work.

    Args:
        folder: for everything; others must be able to pass through it, as PostgreSQL has a user of its own.
        run_file: what is deployed.
        runs: how many at a time.
    """

    def __init__(self, folder: Path, run_file: Path, runs: int = 2) -> None:
        self.folder, self.home = folder, folder / "home"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.database_port, prefect, mlflow = free_port(), free_port(), free_port()
        self.password = secrets.token_urlsafe(16)
        self.api = f"http://127.0.0.1:{prefect}/api"
        self.mlflow_url = f"http://127.0.0.1:{mlflow}"
        own = {"REBERT_HOME": str(self.home), "PREFECT_API_URL": self.api, "MLFLOW_TRACKING_URI": self.mlflow_url}
        self.settings: Settings = read_settings(own, folder)
        self.postgres = Keeper(_postgres(folder, self.database_port, self.password), _nobody)
        self.up = Keeper(self._up(run_file, runs, prefect, mlflow), _nobody)

    def _up(self, run_file: Path, runs: int, prefect: int, mlflow: int) -> Program:
        addresses = self.folder / "up.env"
        place = f"{USER}:{self.password}@127.0.0.1:{self.database_port}"
        addresses.touch(mode=0o600)
        addresses.write_text(
            f"PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://{place}/prefect\n"
            f"MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://{place}/mlflow\n"
        )
        ports = ("--prefect-port", str(prefect), "--mlflow-port", str(mlflow))
        words = ("up", str(run_file), "--json", "--settings", str(addresses), "--runs", str(runs), *ports)
        return Program(
            "rebert up",
            (sys.executable, "-m", "flows.cli", *words),
            self.environment(servers=False),
            lambda: True,  # what it keeps at work may be away for long; a service manager sees the process alone
            self.folder / "up.log",
            stop_seconds=60.0,
        )

    def environment(self, *, servers: bool = True) -> dict[str, str]:
        """The variables of a shell in which commands of rebert use this installation."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_", "MLFLOW_", "REBERT_", "BENTOML_", "_MLFLOW_"))
        }
        own = {"REBERT_HOME": str(self.home), "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)}
        own |= {"OMP_NUM_THREADS": "1"}  # several processes at once on few cores
        addresses = {"PREFECT_API_URL": self.api, "MLFLOW_TRACKING_URI": self.mlflow_url}
        return inherited | own | (addresses if servers else {})

    def start(self) -> None:
        """Start everything and wait until the run file is deployed and a worker is there."""
        apply_settings(self.settings)
        self.postgres.start()
        until(lambda: self.postgres.healthy, "PostgreSQL's start")
        for name in DATABASES:
            self.sql("postgres", f"CREATE DATABASE {name}")
        self.up.start()
        until(self.is_up, "the start of 'rebert up'")

    def is_up(self) -> bool:
        """Whether a worker waits for what is due."""
        healthy = self.up.healthy and _answers(f"{self.mlflow_url}/health")
        return bool(healthy and self.deployment() and self.processes("worker") and self._worker_is_online())

    def _worker_is_online(self) -> bool:
        found = self.ask("/work_pools/rebert/workers/filter")
        return any(worker["status"] == "ONLINE" for worker in found)

    def stop(self) -> None:
        """End everything, first what needs the other."""
        self.up.stop()
        self.postgres.stop()

    def sql(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """What a statement returns, in a database of the cluster."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.database_port, user=USER, password=self.password, dbname=database
        )
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def ask(self, path: str, method: str = "POST", **content: Any) -> Any:
        """What Prefect's server answers.

        Raises:
            httpx.HTTPError: it is away, or refuses.
        """
        return self._ask(path, method, content)

    def emit(self, event: str) -> None:
        """Have something happen that deployments may wait for."""
        moment = {"occurred": datetime.now(UTC).isoformat(), "id": str(uuid4())}
        content = [{"event": event, "resource": {"prefect.resource.id": "shop.export"}, **moment}]
        until(lambda: self._ask("/events", "POST", content) is None, "an event's being taken")

    def _ask(self, path: str, method: str, content: Any) -> Any:
        with httpx.Client(base_url=self.api, timeout=20) as client:
            if method == "GET":
                return client.get(path).raise_for_status().json()
            token = client.get("/csrf-token", params={"client": "year"}).raise_for_status().json()["token"]
            head = {"Prefect-Csrf-Client": "year", "Prefect-Csrf-Token": token}
            answer = client.request(method, path, json=content, headers=head).raise_for_status()
            return answer.json() if answer.content else None

    def deployment(self) -> dict[str, Any] | None:
        """The one deployment, when it is there."""
        found = self.ask("/deployments/filter")
        return found[0] if found else None

    def run(self, run_id: str) -> dict[str, Any]:
        """A flow run as Prefect's server has it."""
        found: dict[str, Any] = self.ask(f"/flow_runs/{run_id}", "GET")
        return found

    def runs(self) -> list[dict[str, Any]]:
        """All flow runs, the first due first."""
        found: list[dict[str, Any]] = []
        while page := self.ask("/flow_runs/filter", sort="EXPECTED_START_TIME_ASC", offset=len(found)):
            found += page
        return found

    def new_run(self) -> str:
        """The id of a run that somebody asks for: due at once."""
        deployment = until(self.deployment, "an answer of Prefect's server")
        made = until(lambda: self.ask(f"/deployments/{deployment['id']}/create_flow_run"), "a new run")
        return str(made["id"])

    def make_due(self, run_id: str) -> None:
        """Have the time of a planned run come now, for the plan and for the worker."""
        now = datetime.now(UTC).isoformat()
        # There is no way through the server to this column, by which a run knows since when it has been due.
        self.sql("prefect", f"UPDATE flow_run SET expected_start_time = '{now}' WHERE id = '{run_id}'")  # noqa: S608
        state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": now}}
        until(lambda: self.ask(f"/flow_runs/{run_id}/set_state", state=state, force=True), "a run's being due")

    def ended(self, run_id: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """A flow run once it has ended, however."""

        def found() -> dict[str, Any] | None:
            run = self.run(run_id)
            return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        return dict(until(found, f"the end of run {run_id}", seconds))

    def processes(self, part: str) -> list[psutil.Process]:
        """The processes of a part, the oldest first."""
        if part == "postgres":
            return [psutil.Process(self.postgres.condition.process)] if self.postgres.condition.process else []
        if part == "up":
            return [psutil.Process(self.up.condition.process)] if self.up.condition.process else []
        if part == "training":
            return [process for process in self.processes("computing") if _trains(process)]
        found = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if all(word in process.cmdline() for word in PARTS[part]) and "leash" not in str(process.cmdline()):
                    found.append(process)
        return found

    def all_processes(self) -> list[psutil.Process]:
        """Everything that works in this home, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get("REBERT_HOME") == str(self.home) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def kill(self, part: str) -> bool:
        """SIGKILL to all processes of a part; whether there was one."""
        found = self.processes(part)
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        return bool(found)


@contextmanager
def installed(folder: Path, run_file: Path) -> Iterator[Installation]:
    """A started installation, which is ended whatever happens."""
    installation = Installation(folder, run_file)
    try:
        installation.start()
        yield installation
    finally:
        installation.stop()


def _postgres(folder: Path, port: int, password: str) -> Program:
    """A new cluster, and the program that serves it on the loopback interface."""
    programs, data = postgres_programs(), folder / "postgres"
    data.mkdir(mode=0o700)
    word = data.with_name("postgres.password")
    word.touch(mode=0o600)
    word.write_text(password)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam(OWNER)
        except KeyError:
            raise SystemExit(f"PostgreSQL does not run as root: make a user '{OWNER}', or be another user.") from None
        for path in (data, word):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        before = ("setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups")
    make = ("-D", str(data), "-U", USER, "--pwfile", str(word), "--auth", "scram-sha-256", "--encoding", "UTF8")
    done = subprocess.run([*before, str(programs / "initdb"), *make], capture_output=True, text=True, cwd="/")
    if done.returncode:
        raise SystemExit(f"PostgreSQL makes no database: {done.stderr.strip()}")
    listen = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200")
    command = (*before, str(programs / "postgres"), "-D", str(data), "-p", str(port), *listen)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    return Program(
        "postgres", command, environment, lambda: _takes_connections(port, password), folder / "postgres.log"
    )


def _takes_connections(port: int, password: str) -> bool:
    import psycopg2

    place: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": USER, "dbname": "postgres"}
    try:
        psycopg2.connect(**place, password=password, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _trains(process: psutil.Process) -> bool:
    """Whether a run's process that computes is training now: it is there long before, and what it prints tells."""
    with suppress(psutil.Error):
        return any(Path(file.path).name == TRAINING_LOG for file in process.open_files())
    return False


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def _nobody(_condition: Condition) -> None:
    """Who watches by asking need not be told."""
