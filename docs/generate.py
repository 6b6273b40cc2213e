"""Write the reference pages that follow from the code: `make docs`. A test compares them with the code."""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from components.config import RunConfig
from components.pretraining_config import Phase, PretrainingConfig
from components.task_types import Column, find_task_type, task_type_names
from flows.cli import app

HERE = Path(__file__).parent
NOTE = "<!-- Made from the code by `make docs`; change the code instead. -->"


def run_file_page() -> str:
    """Every key of a run file with its type, default and meaning."""
    lines = [NOTE, "# The run file", "", _INTRODUCTION, ""]
    for title, section in _sections("", RunConfig):
        lines += [f"## {title or 'Top level'}", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|", *_rows(section), ""]
    return "\n".join([*lines, *_task_types()])


_INTRODUCTION = (
    "One YAML file describes a model that must stay good. Unknown keys are errors; all errors are reported at once, "
    "each with its line. `rebert init DATA` writes one, `rebert schema` prints the JSON Schema for an editor, and "
    "[examples/banking77.yaml](../examples/banking77.yaml) shows every key in place."
)


def _task_types() -> Iterator[str]:
    """What `task_type`, `data.columns`, `evaluation.metric` and `task` may be."""
    types = [find_task_type(name) for name in task_type_names()]
    yield from ("## Task types", "", _TYPES, "", "| task_type | data.columns | evaluation.metric |", "|---|---|---|")
    for each in types:
        forms = " or ".join(", ".join(map(_column, form)) for form in each.forms)
        yield f"| `{each.name}` | {forms} | {', '.join(f'`{name}`' for name in each.metric_names)} |"
    yield ""
    for each in types:
        if each.settings.model_fields:
            yield from (f"## task, of {each.name}", "", (each.settings.__doc__ or "").strip(), "")
            yield from ("| key | type | default | meaning |", "|---|---|---|---|", *_rows(each.settings), "")


def _column(column: Column) -> str:
    notes = ["JSON"] * (column.kind == "json") + ["optional"] * column.optional
    return f"`{column.role}`" + (f" ({', '.join(notes)})" if notes else "")


_TYPES = (
    "A file has the columns of one of the forms of its task type; `data.columns` says what they are called there. The "
    "first metric is the default."
)


def _sections(prefix: str, section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield prefix, section
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _sections(f"{prefix}.{name}".lstrip("."), kind)


def _rows(section: type[BaseModel]) -> Iterator[str]:
    properties = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        if name == "folder":
            continue
        default = "required" if field.default is PydanticUndefined and not field.default_factory else _default(field)
        yield f"| `{name}` | {_type(properties[name])} | {default} | {field.description} |"


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return f"{len(value)}, see below"
    if isinstance(value, BaseModel):
        return "see below"
    return "none" if value in (None, "", (), {}) else f"`{value}`"


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(item) for item in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{item}`" for item in schema["enum"])
    if "$ref" in schema:
        return "section"
    return {"array": "list", "object": "mapping", "null": "null"}.get(schema.get("type", ""), schema.get("type", ""))


def pretraining_file_page() -> str:
    """Every key of a pretraining's run file."""
    lines = [NOTE, "# The run file of a pretraining", "", _PRETRAINING, ""]
    for title, section in [*_sections("", PretrainingConfig), ("phases, each", Phase)]:
        lines += [f"## {title or 'Top level'}", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|", *_rows(section), ""]
    return "\n".join(lines)


_PRETRAINING = (
    "One YAML file describes a base model that is made from raw text; `rebert pretrain FILE` makes it. Unknown keys "
    "are errors; all errors are reported at once, each with its line. How it works: [pretraining.md](pretraining.md)."
)


def command_page() -> str:
    """The help of every command."""
    lines = [NOTE, "# The command line", ""]
    for name, command in _commands(typer.main.get_command(app), ""):
        context = typer.Context(command, info_name=f"rebert {name}", terminal_width=100)
        lines += [f"## rebert {name}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(lines)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every command of a group and of the groups in it, by its words."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def benchmark_page() -> str:
    """The tables of all benchmarks that were run, each with its machine."""
    lines = [BENCHMARK_NOTE, "# Benchmarks", "", _BENCHMARKS, ""]
    for path in sorted((HERE.parent / "benchmarks" / "results").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        lines += [f"## {path.stem}", "", f"`{_command(result)}`, {result['date']}.", ""]
        if result.get("goal"):
            missed = "; ".join(_missed(result))
            lines += [f"Goal: {result['goal']}.", "", *([f"**Missed**: {missed}.", ""] if missed else [])]
        lines += [f"Machine: {_machine(result['machine'])}.", "", *result["tables"], ""]
        lines += [result["note"], ""] if result.get("note") else []
    return "\n".join([*lines, *_unmeasured()]).rstrip() + "\n"


def _unmeasured() -> list[str]:
    """What has no figure: the benchmarks that write a result and have none, in their own first words."""
    programs = {
        path: ast.get_docstring(ast.parse(text)) or ""
        for path in sorted((HERE.parent / "benchmarks").glob("*.py"))
        if all(part in (text := path.read_text(encoding="utf-8")) for part in ("def main() -> ", " write_result("))
        and not (path.parent / "results" / f"{path.stem}.json").exists()
    }
    lines = [f"- `{path.stem}`: {words.splitlines()[0]}" for path, words in programs.items()]
    return ["## Not measured yet", "", _NOT_MEASURED, "", *lines, ""] if lines else []


def _command(result: dict[str, Any]) -> str:
    """What was run; older results do not say with which arguments."""
    return shlex.join(["python", f"benchmarks/{result['benchmark']}.py", *result.get("arguments", [])])


def _missed(result: dict[str, Any]) -> Iterator[str]:
    """What of a benchmark's goal its numbers do not reach; of those whose goals are several."""
    if result["benchmark"] == "hostile":
        usual, *attacks = ((each["attack"], float(each["p99"].split()[0])) for each in result["attacks"])
        for attack, found in attacks:
            if found >= 1.2 * usual[1]:
                yield f"with {attack} the others' p99 was {found / usual[1]:.2f} times the usual"
    if result["benchmark"] == "serving":
        yield from _missed_serving(result)
    if result["benchmark"] == "pretraining":
        yield from _missed_pretraining(result)
    if result["benchmark"] == "overload":
        if result["share_of_peak"] < 0.9:
            yield f"goodput was {result['share_of_peak']:.0%} of the peak"
        if result["refused_p99_ms"] > 50:
            yield f"refusals took {result['refused_p99_ms']:.0f} ms (p99)"
        if result["statuses"].get("500"):
            yield f"{result['statuses']['500']} answers were 500"
        if max(result["killed_seconds"]) > 3:
            yield f"after kill -9 it was back within {max(result['killed_seconds']):.1f} s"


def _missed_pretraining(result: dict[str, Any]) -> Iterator[str]:
    """Of the medians over the repeats."""
    examples = median(each["ratio"] for each in result["examples"])
    if examples < result["goals"]["examples"]:
        yield f"{examples:.1f} times the examples of the official algorithm"
    for other in ("lines", "packed"):
        tokens = median(each["ours"] / each[other] for each in result["training"])
        if tokens < result["goals"]["training"]:
            yield f"{tokens:.2f} times the tokens of the plain Trainer ({other})"


def _missed_serving(result: dict[str, Any]) -> Iterator[str]:
    """Of the medians over the repeats, with 1 and with 64 clients."""

    def of(name: str, clients: str, figure: str) -> float:
        return median(point[figure] for point in result["measured"][name][clients])

    for other in (name for name in result["measured"] if name != "rebert"):
        times = of("rebert", "64", "requests_per_second") / of(other, "64", "requests_per_second")
        share = of("rebert", "1", "p50_ms") / of(other, "1", "p50_ms")
        if times < 6 or of("rebert", "64", "p99_ms") >= of(other, "64", "p99_ms"):
            yield f"with 64 clients {times:.1f} times the answers of {other}"
        if share > 1 / 3:
            yield f"with 1 client the p50 was 1/{1 / share:.1f} of that of {other}"
    if result["start_seconds"]["rebert"] > 3:
        yield f"it was ready after {result['start_seconds']['rebert']:.1f} s"


def _machine(found: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in found.get("libraries", {}).items())
    instructions = " ".join(found.get("instructions", []))
    parts = [found.get("gpu"), found["processor"], f"{found['cores']} cores", instructions, libraries]
    return ", ".join(part for part in parts if part)


BENCHMARK_NOTE = "<!-- Made from benchmarks/results/*.json by `make docs`. -->"
_BENCHMARKS = (
    "Every figure comes from a command below `benchmarks/`, which prints a table and writes JSON. Machines are noisy: "
    "what counts are ratios of things measured in turn in one run, and medians. Baselines are real programs in "
    "`benchmarks/baselines/`, with the same data, checkpoint, epochs and batch size."
)

_NOT_MEASURED = "These run, and their figures are not known. Those that need a GPU were never run on one."

PAGES = {
    "run-file.md": run_file_page,
    "pretraining-file.md": pretraining_file_page,
    "command-line.md": command_page,
    "benchmarks.md": benchmark_page,
}

if __name__ == "__main__":
    for file, page in PAGES.items():
        (HERE / file).write_text(page(), encoding="utf-8")
