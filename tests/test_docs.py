"""What the pages say is what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from components.config import RunConfig
from components.run_files import is_pretraining, read_pretraining_file, read_run_file

ROOT = Path(__file__).resolve().parent.parent
RUN_FILES = sorted((ROOT / "examples").glob("*.yaml"))


def _generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["run-file.md", "pretraining-file.md", "command-line.md", "benchmarks.md"])
def test_a_reference_page_is_what_the_code_makes(page):
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == _generator().PAGES[page](), "run 'make docs'"


def test_a_benchmark_is_named_with_the_arguments_it_was_run_with():
    command = _generator()._command
    assert command({"benchmark": "gate"}) == "python benchmarks/gate.py"
    ran = {"benchmark": "quality", "arguments": ["--seeds", "5", "--only", "two words"]}
    assert command(ran) == "python benchmarks/quality.py --seeds 5 --only 'two words'"


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.name)
def test_a_shipped_run_file_is_valid(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (read_pretraining_file if is_pretraining(content) else read_run_file)(path).name


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.name)
def test_every_key_of_a_shipped_run_file_has_its_comment(path):
    """On its line, or on the one above; a key that only begins a section may go without."""
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [
        f"{path.name}:{number + 1}: {line.strip()}"
        for number, line in enumerate(lines)
        if re.match(r"\s*(- )?\w+: +[^#\s]", line)
        and not re.search(r"\s#", line)
        and not (number and lines[number - 1].strip().startswith("#") and line.startswith(" "))
    ]
    assert bare == []


def test_the_full_example_has_every_key():
    content = yaml.safe_load((ROOT / "examples" / "banking77.yaml").read_text(encoding="utf-8"))

    def missing(section, found, prefix=""):
        for name, field in section.model_fields.items():
            if name == "folder":
                continue
            if name not in found:
                yield prefix + name
            elif hasattr(field.annotation, "model_fields"):
                yield from missing(field.annotation, found[name], f"{prefix}{name}.")

    assert list(missing(RunConfig, content)) == []


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_no_link_inside_the_project_is_dead(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)]+)\)", text) if not t.startswith(("http", "#"))]
    assert [t for t in targets if t and not ((ROOT / page).parent / t).exists()] == []
