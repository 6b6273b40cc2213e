"""The console script `rebert`. Its commands alone print: results to stdout, everything else to stderr."""

from __future__ import annotations

import signal
import sys

from components.garbage import collect_rarely
from flows import cli_runs, cli_versions  # imported in the order of `rebert --help`

# isort: split
from flows import cli_labelling, cli_workplace, console
from flows.command_line import app

__all__ = ["app", "cli_labelling", "cli_runs", "cli_versions", "cli_workplace", "main"]


def main() -> None:
    """Run the command line; on SIGTERM everything that was begun is closed, as on Ctrl-C."""
    collect_rarely()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        app()
    except KeyboardInterrupt:
        console.say("Interrupted.")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
