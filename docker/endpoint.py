"""Serves a bundle in a container: on all its interfaces, at port 3000, with what it says on the standard error.

`REBERT_MODEL` names the model whose release file, below `REBERT_HOME`, is followed: a promotion by a worker that shares
that folder is taken up while requests are answered. `REBERT_BUNDLE` names the folder of one Bento instead, for images
that hold theirs. Corrections, the request log and the end of a trial go to `REBERT_ENDPOINT_HOME`. Restarts are the
container engine's: this process becomes the server.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

PORT = 3000
BACKLOG = 2048
POLL_SECONDS = 1.0


def main() -> None:
    """Become the server of the bundle that the environment names.

    Raises:
        SystemExit: the environment names none, or what it names is no bundle.
    """
    environment = dict(os.environ)
    source = bundle_of(environment) / "src"
    if not (source / "service" / "start.py").is_file():
        sys.exit(
            f"{source.parent} is no bundle.\nTo fix: mount the folder of the store at the path that it has for workers."
        )
    listener = socket.create_server(("0.0.0.0", int(environment.get("PORT", PORT))), backlog=BACKLOG)  # noqa: S104
    os.set_inheritable(listener.fileno(), True)
    os.chdir(source)  # whatever lies in the caller's folder is not imported
    command = [sys.executable, "-m", "service.start", "--bundle", str(source.parent), "--fd", str(listener.fileno())]
    os.execve(sys.executable, command, environment | places(environment))  # noqa: S606


def bundle_of(environment: Mapping[str, str]) -> Path:
    """The folder of the Bento that is served first; waits until the model has a release."""
    if bundle := environment.get("REBERT_BUNDLE"):
        return Path(bundle)
    file = release_file(environment)
    if not file.exists():
        print(f"{file} is not there yet: nothing is live. Waiting.", file=sys.stderr, flush=True)  # noqa: T201
    while not file.exists():
        time.sleep(POLL_SECONDS)
    return Path(json.loads(file.read_bytes())["path"])


def release_file(environment: Mapping[str, str]) -> Path:
    """The file that says which bundle the endpoint of the model serves."""
    name = environment.get("REBERT_MODEL")
    if not name:
        sys.exit(
            "REBERT_MODEL is not set.\nTo fix: set it to the name of a model, or REBERT_BUNDLE to a bundle's folder."
        )
    return Path(environment.get("REBERT_HOME", "/var/lib/rebert"), "releases", f"{name}.json")


def places(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that name the files outside the bundle; those that are set already stay."""
    name = environment.get("REBERT_MODEL", "endpoint")
    home = Path(environment.get("REBERT_HOME", "/var/lib/rebert"))
    own = Path(environment.get("REBERT_ENDPOINT_HOME", "/var/lib/endpoint"))
    named = {
        "REBERT_TRIAL_FILE": home / "trials" / f"{name}.json",
        "REBERT_TRIAL_END_FILE": own / f"{name}.ended.json",
        "REBERT_KEYS_FILE": home / "keys.json",
        "REBERT_FEEDBACK_FILE": own / f"{name}.jsonl",
        "REBERT_REQUEST_LOG": own / "logs" / f"requests-{name}.jsonl",
    }
    if "REBERT_BUNDLE" not in environment:
        named["REBERT_RELEASE_FILE"] = release_file(environment)
    return {key: environment.get(key, str(path)) for key, path in named.items()}


if __name__ == "__main__":
    main()
