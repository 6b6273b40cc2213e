"""Content digests: what makes a finished step reusable and a damaged file visible."""

from __future__ import annotations

import ast
import hashlib
import json
import time
from collections.abc import Container, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

SETTLED_SECONDS = 2  # a file may change again within one tick of its file system's clock
# What these hold reaches the work as values, which are in the digests themselves.
DECLARATIONS = (
    *("components.config", "components.config_values", "components.gate_config", "components.monitor_config"),
    *("components.pretraining_config", "components.feedback_config"),
    *("components.errors", "components.records", "components.settings"),
)
SOURCE_ROOT = Path(__file__).resolve().parent.parent


def digest_of(value: Any) -> str:
    """SHA-256 of a value's JSON text; paths count as text, tuples as lists."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_once(path: Path) -> str:
    """SHA-256 of a file's bytes, read once in this process for each state that the file is in.

    For inputs, which are asked for again and again; what looks for damage reads the bytes, by `digest_file`.
    """
    state = path.stat()
    if abs(time.time() - state.st_mtime) < SETTLED_SECONDS:
        return digest_file(path)
    return _digest_of_state(path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@cache
def _digest_of_state(path: Path, *_state: int) -> str:
    return digest_file(path)


def digest_files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """SHA-256 of each file by its path below `root`."""
    return {path.relative_to(root).as_posix(): digest_file(path) for path in sorted(paths)}


@cache
def digest_code(*modules: str) -> str:
    """Digest of what the named modules do, with every module of this project that they import.

    Comments, docstrings and formatting do not count: changing them must not retrain a model.
    """
    return digest_of({name: _meaning(name) for name in sorted(_closure(modules, DECLARATIONS))})


def project_sources(*modules: str) -> dict[str, Path]:
    """Files of the named modules and of every module of this project that they import, by path below the project."""
    found = [source for name in _closure(modules, ()) if (source := _source(name))]
    packages = {folder / "__init__.py" for path in found for folder in path.parents if folder != SOURCE_ROOT}
    files = {*found, *(path for path in packages if path.is_file())}
    return {path.relative_to(SOURCE_ROOT).as_posix(): path for path in sorted(files)}


def _closure(modules: Iterable[str], without: Container[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in without or _source(name) is None:
            continue
        found.add(name)
        waiting.extend(_imports(name))
    return found


def _source(module: str) -> Path | None:
    place = SOURCE_ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    source = _source(module)
    return ast.parse(source.read_bytes() if source else b"")


def _imports(module: str) -> Iterable[str]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _meaning(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def canonical(record: Mapping[str, Any]) -> str:
    """A mapping as indented, key-sorted JSON text with a final newline: the same bytes for the same values."""
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n"
