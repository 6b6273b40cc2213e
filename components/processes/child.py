"""The other process: it does what it is told, one order after the other, and reports through a pipe.

    python -m components.processes.child PIPE [JOB]

PIPE is a descriptor or the path of a named pipe. Without JOB, orders come as lines on the standard input, the heavy
libraries are imported while none is there, and the end of the input is the end of the process: it dies with its parent.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from components.errors import ProjectError
from components.garbage import collect_rarely
from components.priority import give_way
from components.processes.orders import ProgressListener, Work, error_content
from components.records import as_json

PARENT_SECONDS = 1.0  # between two looks at whether the launcher is there
IMPORTED_AHEAD = ("components.training.fine_tuner", "components.training.trainable_network")


def main(messages: int | Path, job_file: Path | None = None) -> None:
    """Do one job, or those that come on the standard input."""
    collect_rarely()
    give_way()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    if job_file is None:
        _do_orders(messages)
        return
    elsewhere = isinstance(messages, Path) and not messages.exists()  # started by hand, to help another machine's run
    threading.Thread(target=_die_with_launcher, args=(not elsewhere,), daemon=True).start()
    if elsewhere or os.environ.get("LOCAL_RANK", "0") != "0":
        _work(json.loads(job_file.read_bytes()), None)  # what goes wrong here is seen by the launcher
        return
    with _opened(messages) as pipe:
        _report(json.loads(job_file.read_bytes()), pipe)


def _do_orders(messages: int | Path) -> None:
    orders: SimpleQueue[Mapping[str, str]] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    with suppress(ImportError):  # whoever needs it says so
        for library in IMPORTED_AHEAD:
            import_module(library)
    with _opened(messages) as pipe:
        while True:
            order = orders.get()
            _print_into(Path(order["log"]))
            _report(json.loads(Path(order["job"]).read_bytes()), pipe)
            _let_go()


def _listen(orders: SimpleQueue[Mapping[str, str]]) -> None:
    """Take orders until the parent closes its end, or has died; whatever is at work then ends as well."""
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    os._exit(1)


def _opened(messages: int | Path) -> TextIO:
    return open(messages, "w", encoding="utf-8", buffering=1)  # noqa: PTH123 - a path or a number


def _print_into(log: Path) -> None:
    """Let all that this process prints, and its libraries, go to a file."""
    sys.stdout.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _report(job: Mapping[str, Any], pipe: TextIO) -> None:
    def say(name: str, content: Any) -> None:
        pipe.write(json.dumps({name: content}) + "\n")

    try:
        result = _work(job, lambda now: say("progress", asdict(now)))
    except ProjectError as error:
        say("error", error_content(error))
    else:
        say("result", as_json(result))


def _work(job: Mapping[str, Any], progress: ProgressListener | None) -> Any:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    module, _, function = job["work"].partition(":")
    work: Work = getattr(import_module(module), function)
    return work(job, progress)


def _let_go() -> None:
    """Give back the memory of the last order."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _die_with_launcher(held: bool) -> None:
    """End when the parent ends: it holds the other end of the standard input; an elastic launcher only starts us.

    Args:
        held: whether somebody holds the standard input: under `nohup` or a batch system it ends at once.
    """
    parent = os.getppid()
    while os.getppid() == parent:
        if not held:
            time.sleep(PARENT_SECONDS)
        elif select.select([0], [], [], PARENT_SECONDS)[0] and not os.read(0, 1):
            break
    os._exit(1)


if __name__ == "__main__":
    pipe_name, *jobs = sys.argv[1:]
    main(int(pipe_name) if pipe_name.isdigit() else Path(pipe_name), *map(Path, jobs))
