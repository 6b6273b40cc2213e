"""Schemathesis asks what the OpenAPI document of an endpoint allows and forbids: no fault, no answer it does not name.

    python benchmarks/conformance.py [--cases 1000] [--seeds 1 2 3] [--quick]

`--cases` is for each operation and seed. Needs schemathesis, which is among the development dependencies.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import Table, machine, write_result
from small_endpoint import small_endpoint, tiny_bundle

GOAL = "at least 5,000 cases, no status of 500 or above but the documented 501 and 503, no violation of the document"
# Schemathesis does not know how a body of JSON lines is written.
JSON_LINES = """
import json
import schemathesis
@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()
"""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance"
CHECKS += ",response_schema_conformance,negative_data_rejection,positive_data_acceptance,unsupported_method"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="of each operation, for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--quick", action="store_true", help="30 cases, no result file")
    options = parser.parse_args()
    cases, seeds = (30, [1]) if options.quick else (options.cases, options.seeds)
    table = Table("Schemathesis", ("seed", "cases", "failures"))
    with tempfile.TemporaryDirectory(prefix="rebert-conformance-") as folder:
        home = Path(folder)
        settings, bundle = tiny_bundle(home, 1)
        with small_endpoint(settings, bundle) as endpoint:
            found = [(seed, *examined(endpoint.address.url, home, cases, seed)) for seed in seeds]
    for row in found:
        table.add(*row)
    table.show()
    if not options.quick:
        write_result("conformance", {"machine": machine(), "goal": GOAL, "runs": found}, [table])
    if any(failures for _, _, failures in found):
        raise SystemExit(1)


def examined(url: str, home: Path, cases: int, seed: int) -> tuple[int, int]:
    """How many cases were asked, and how many failed; failures are printed."""
    report = home / f"report-{seed}.ndjson"
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", CHECKS,
        "--max-examples", str(cases), "--seed", str(seed), "--report", "ndjson", "--report-ndjson-path", str(report),
        "--generation-database", "none", "--continue-on-failure", "--no-color",
    ]  # fmt: skip
    hooks = home / "json_lines.py"
    hooks.write_text(JSON_LINES, encoding="utf-8")
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "json_lines", "PYTHONPATH": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home, env=environment)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:])
    return counted(report, done.returncode)


def counted(report: Path, code: int) -> tuple[int, int]:
    """Cases and failed checks in a report; a run that ended without one has failed."""
    asked = failed = 0
    for line in report.read_text(encoding="utf-8").splitlines():
        for case in _cases(json.loads(line)):
            asked += 1
            failed += any(check.get("status") == "failure" for check in case)
    return asked, failed or int(code != 0)


def _cases(event: dict[str, dict[str, object]]) -> list[list[dict[str, object]]]:
    """The checks of each case that an event of the report tells of."""
    recorder = event.get("ScenarioFinished", {}).get("recorder")
    if not isinstance(recorder, dict):
        return []
    checks: dict[str, list[dict[str, object]]] = recorder.get("checks", {})
    return [checks.get(name, []) for name in recorder.get("cases", {})]


if __name__ == "__main__":
    main()
