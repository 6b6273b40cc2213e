"""The services of docker/compose.yaml as plain processes, where there is no container engine. Linux, root.

Run in a network of its own (`unshare --mount --net`), in which the names of the services are the loopback. Each process
gets the command, environment, user, secrets, volumes, temporary folders and read-only root that its service has, and
what the Dockerfile copies and sets; the machine's own files stand in for the rest of its image.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
DOCKER = PROJECT / "docker"
VENV = Path(sys.prefix)
# Found in the images of others; our images have theirs from the Dockerfile.
ELSEWHERE = (
    f"/opt/venv/bin:{':'.join(map(str, Path('/usr/lib/postgresql').glob('*/bin')))}:/usr/local/bin:/usr/bin:/bin"
)
# What the entry point of the Postgres image does in a new database folder, and what it does then.
POSTGRES = """
initdb --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS --auth-local trust >/tmp/0
pg_ctl --silent --wait --options "-c listen_addresses=" --log /tmp/first start || { cat /tmp/first; exit 1; }
bash /docker-entrypoint-initdb.d/init.sh
pg_ctl --silent --wait stop
echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
exec "$@"
"""


@dataclass(frozen=True)
class Image:
    """What the Dockerfile says of one target: variables, entry point, and the files of docker/ that it copies."""

    environment: dict[str, str]
    entrypoint: list[str]
    files: dict[str, Path]


def read_image(target: str) -> Image:
    """A target of the Dockerfile, with the base that it stands on."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    stages = {part.splitlines()[0].split()[-1]: part for part in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]}
    both = stages["base"] + stages[target]
    variables = " ".join(re.findall(r"^ENV (.*)$", both, re.MULTILINE)).replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
    copies = re.findall(r"^COPY (?:--chmod=\d+ )?(docker/\S+) (/\S+)$", both, re.MULTILINE)
    return Image(
        dict(pair.split("=", 1) for pair in variables.split()),
        re.findall(r'"([^"]+)"', re.findall(r"^ENTRYPOINT (.*)$", both, re.MULTILINE)[-1]),
        {place: PROJECT / source for source, place in copies},
    )


class Stack:
    """Services of the compose file as processes; a context manager that ends them.

    Args:
        folder: where volumes, secrets and logs are.
        variables: what `.env` would say.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        text = (DOCKER / "compose.yaml").read_text()
        filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), text)
        self.content: dict[str, Any] = yaml.safe_load(filled)
        self.services: dict[str, dict[str, Any]] = self.content["services"]
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "logs").mkdir()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        (folder / "hosts").write_text(f"127.0.0.1 localhost {' '.join(self.services)}\n")
        subprocess.run(["mount", "--bind", folder / "hosts", "/etc/hosts"], check=True)
        subprocess.run(["sh", "-c", f"cp {DOCKER}/make-secrets {folder} && {folder}/make-secrets"], check=True)

    def up(self, *profiles: str, seconds: float = 120) -> None:
        """Start the services of these profiles, each when what it depends on is well."""
        waiting = [name for name, service in self.services.items() if set(service["profiles"]) & set(profiles)]
        deadline = time.monotonic() + seconds
        while waiting or not all(self.is_well(name) for name in self.running):
            if time.monotonic() > deadline:
                raise TimeoutError({name: self.is_well(name) for name in self.running} | {"waiting": waiting})
            for name in list(waiting):
                if all(
                    need in self.running and self.is_well(need) for need in self.services[name].get("depends_on", {})
                ):
                    self.running[name] = self.start(name)
                    waiting.remove(name)
            time.sleep(0.5)

    def is_well(self, name: str) -> bool:
        """What the health check of a service says; of one that ends, whether it ended well."""
        check = self.services[name].get("healthcheck", {}).get("test")
        process = self.running[name]
        if self._ends(name):
            return process.poll() == 0
        if process.poll() is not None:
            raise ChildProcessError(f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}")
        if self.services[name].get("healthcheck", {}).get("disable"):
            return True
        if check is None:
            code = re.findall(r'CMD \["python3", "-c", "(.*)"\]', (DOCKER / "Dockerfile").read_text())[-1]
            check = ["CMD", "python3", "-c", code]
        return subprocess.run(check[1:], env=self.environment(name), capture_output=True).returncode == 0

    def _ends(self, name: str) -> bool:
        """Whether a service has something to do once, for which others wait."""
        needs = (service.get("depends_on", {}).get(name, {}) for service in self.services.values())
        return any(need.get("condition") == "service_completed_successfully" for need in needs)

    def run(self, name: str, *command: str, seconds: float = 120) -> str:
        """What a command prints in a new container of a service."""
        process = self.start(name, list(command), log=f"{name}-{command[0]}")
        if process.wait(seconds) != 0:
            raise ChildProcessError(self.log(f"{name}-{command[0]}"))
        return self.log(f"{name}-{command[0]}")

    def log(self, name: str) -> str:
        return (self.folder / "logs" / name).read_text(errors="replace")

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a service: of its image, then its own."""
        service = self.services[name]
        image = read_image(service["build"]["target"]).environment if "build" in service else {"PATH": ELSEWHERE}
        own = {key: str(value) for key, value in service.get("environment", {}).items()}
        return {**image, **own, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}

    def start(self, name: str, command: list[str] | None = None, log: str | None = None) -> subprocess.Popen[bytes]:
        """The process of a service, in mounts of its own."""
        service = self.services[name]
        entry = (
            read_image(service["build"]["target"]).entrypoint if "build" in service else service.get("entrypoint", [])
        )
        entry = ["bash", "-euc", POSTGRES, "sh"] if name == "postgres" else entry
        words = [*entry, *(command or service["command"])]
        user, _, group = service["user"].partition(":")
        drop = (
            f"setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
        )
        begin = f"cd {service.get('working_dir', '/tmp')} && exec {drop} {' '.join(map(quote, words))}"  # noqa: S108
        script = "\n".join([*self._mounts(name), f"exec /usr/sbin/chroot $root sh -c {quote(begin)}"])
        with (self.folder / "logs" / (log or name)).open("wb") as output:
            return subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script],
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _mounts(self, name: str) -> list[str]:
        """Shell commands that make the root of a service: this machine's under a layer that is read-only at last."""
        service, (user, _, group) = self.services[name], self.services[name]["user"].partition(":")
        work = self.folder / "roots"
        work.mkdir(exist_ok=True)
        lines = [
            f"root={work}/root",
            f"mount -t tmpfs none {work}; mkdir {work}/upper {work}/work {work}/root",
            f"mount -t overlay none -o lowerdir=/,upperdir={work}/upper,workdir={work}/work $root",
            "for place in /proc /dev /sys; do mount --rbind $place $root$place; done",
            f"echo user:x:{user}:{group}::/tmp:/bin/sh >>$root/etc/passwd",
            f"cp {self.folder}/hosts $root/etc/hosts",
            f"mkdir -p $root/opt/venv $root{PROJECT} $root{VENV} $root/run/secrets",
            f"mount --rbind {VENV} $root/opt/venv",
            f"mount --rbind {PROJECT} $root{PROJECT}; mount --rbind {VENV} $root{VENV}",
            "mount -t tmpfs none $root/run/secrets",
            *(f"chmod a+x $root{folder}" for folder in Path(sys.base_prefix).parents),  # the way to this Python
        ]
        if "build" in service:
            files = read_image(service["build"]["target"]).files.items()
            lines += [f"mkdir -p $root{Path(to).parent}; install -m 755 {file} $root{to}" for to, file in files]
        lines += [f"cp {self.folder}/secrets/{each} $root/run/secrets/{each}" for each in service.get("secrets", [])]
        for each in sorted(service.get("tmpfs", [])):
            place, _, options = each.replace("/var/run/", "/run/").partition(":")  # a link to this machine's otherwise
            lines.append(f"mkdir -p $root{place}; mount -t tmpfs -o {options or 'mode=1777'} none $root{place}")
        for each in service.get("volumes", []):
            lines += self._volume(*each.split(":"), owner=f"{user}:{group}")  # type: ignore[misc]
        return [*lines, "mount -o remount,bind,ro $root"]

    def _volume(self, source: str, place: str, mode: str = "rw", *, owner: str) -> list[str]:
        named = self.content["volumes"].keys()
        path = self.folder / "volumes" / source if source in named else (DOCKER / source).resolve()
        if source in named and not path.exists():  # a new volume belongs to whom its folder in the image belongs to
            path.mkdir(parents=True)
            os.chown(path, *map(int, owner.split(":")))
            path.chmod(0o700)
        make = f"mkdir -p $root{place}" if path.is_dir() else f"mkdir -p $root{Path(place).parent}; touch $root{place}"
        again = f"; mount -o remount,bind,ro $root{place}" if mode == "ro" else ""
        return [f"{make}; mount --bind {path} $root{place}{again}"]

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.running.values()):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
