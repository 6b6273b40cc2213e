"""Data files: paths and globs in, rows out, or one error that says what the file really is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from glob import glob
from pathlib import Path

from components.config import RunConfig
from components.data.csv_rows import read_csv, read_header
from components.data.dated import files_until
from components.data.jsonl_rows import keys_of, read_jsonl
from components.data.parquet_rows import parquet_columns, read_parquet
from components.data.rows import Kind, Rows
from components.data.squad_rows import SQUAD_COLUMNS, is_squad, read_squad
from components.data.text_lines import look_at
from components.digests import digest_once
from components.errors import DataError
from components.records import Split
from components.task_types.looks import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES

JSON_LINES = (".jsonl", ".ndjson", ".json")
KINDS = (".csv", ".tsv", *JSON_LINES, ".parquet")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file as a run found it: when its content is another later, it is another delivery.

    `feedback` is empty for data files; of corrections it is the name of the file that `path` is a copy of.
    """

    path: Path
    digest: str
    feedback: str = ""


def patterns_of(config: RunConfig) -> dict[Split, Sequence[str]]:
    """The paths and globs of each split for which the run file names any."""
    data = config.data
    named: dict[Split, Sequence[str] | None] = {"train": data.train, "validation": data.validation, "test": data.test}
    return {split: patterns for split, patterns in named.items() if patterns}


def find_data(config: RunConfig) -> dict[Split, tuple[DataFile, ...]]:
    """The data files that a run file names, each with what it holds now.

    Raises:
        DataError: a pattern names no file, a file cannot be read, or none is of `data.as_of` or before.
    """
    return {
        split: tuple(as_found(path) for path in files_until(config, split, find_files(patterns, config.folder)))
        for split, patterns in patterns_of(config).items()
    }


def as_found(path: Path) -> DataFile:
    """A file with the digest of what it holds now.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return DataFile(path, digest_once(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "give this user the right to read it.") from error


def find_files(patterns: Sequence[str], folder: Path, kinds: Sequence[str] = KINDS) -> list[Path]:
    """The files that paths and globs name, each once, in the order of the patterns and sorted within a glob.

    Args:
        kinds: endings that are read.

    Raises:
        DataError: a pattern names no file, or a file of a kind that is not read.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        whole = folder / Path(pattern).expanduser()
        matches = [whole] if whole.is_file() else _matches(whole)
        files = [path for path in matches if path.is_file()]
        if not files:
            raise _no_file(pattern, whole, kinds)
        found.update(dict.fromkeys(files))
    for path in found:
        if path.suffix.lower() not in kinds:
            raise DataError(
                f"{path.name} is of no known kind; known are {', '.join(kinds)}.",
                "convert it, or give the name the ending that fits its content.",
            )
    return list(found)


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        DataError: the file cannot be read as what its name says.
    """
    try:
        if path.suffix.lower() == ".parquet":
            return parquet_columns(path)
        look_at(path)
        if path.suffix.lower() not in JSON_LINES:
            return read_header(path)[0]
        return list(SQUAD_COLUMNS) if is_squad(path) else keys_of(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "give this user the right to read it.") from error


def read_rows(path: Path, columns: Mapping[str, Kind]) -> Rows:
    """The wanted columns of a file.

    Args:
        path: a CSV, TSV, JSON lines or Parquet file, or a SQuAD document.
        columns: names in the file, each with how its values are read; the cells of CSV and TSV are text as they are.

    Raises:
        DataError: the file is missing, empty, of another kind or encoding, or has not all of the columns.
    """
    _require(path, list(columns), columns_of(path))
    kind = path.suffix.lower()
    if kind == ".parquet":
        rows = read_parquet(path, columns)
    elif kind in JSON_LINES:
        rows = read_squad(path, columns) if is_squad(path) else read_jsonl(path, columns)
    else:
        rows = read_csv(path, list(columns))
    if not len(rows.table) and not rows.bad:
        raise DataError(f"{path.name} holds no rows.", "deliver a file with rows.")
    return rows


def _matches(whole: Path) -> list[Path]:
    return [Path(name) for name in sorted(glob(str(whole), recursive=True))]  # noqa: PTH207 - takes absolute patterns


def _require(path: Path, wanted: Sequence[str], present: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in present]
    if not missing or (not present and path.suffix.lower() in JSON_LINES):
        return  # JSON lines of which none is an object: every line is reported as a row
    listed = ", ".join(f"'{name}'" for name in present[:20])
    lacks = " and ".join(f"'{name}'" for name in missing)
    problem = f"{path.name} has no column {lacks}; it has: {listed}."
    if path.suffix.lower() in (".csv", ".tsv") and _looks_like_a_row(present):
        raise DataError(
            f"{problem} That looks like a row: the header is missing.", f"add the line '{','.join(wanted)}' at the top."
        )
    raise DataError(problem, _remedy(missing, present))


def _remedy(missing: Sequence[str], present: Sequence[str]) -> str:
    meant = {name: nearest_column(name, present) for name in missing}
    if all(other and other.strip().casefold() == name.casefold() for name, other in meant.items()):
        pairs = " and ".join(f"'{other}' to '{name}'" for name, other in meant.items())
        return f"rename {pairs} (no spaces, same case)."
    nearest = " and ".join(f"'{other}' for '{name}'" for name, other in meant.items() if other)
    return f"set data.columns in the run file to names that the file has{f', perhaps {nearest}' if nearest else ''}."


def nearest_column(name: str, present: Sequence[str]) -> str | None:
    """The column that is most likely meant: the same but for case and spaces, the same in kind, or alike in letters."""
    evened = {other.strip().casefold(): other for other in present}
    kinds = (TEXT_NAMES, PAIR_NAMES, LABEL_NAMES)
    likely: Sequence[str] = next((names for names in kinds if name.casefold() in names), ())
    known = next((other for other in (name.casefold(), *likely) if other in evened), None)
    close = [known] if known else get_close_matches(name.casefold(), evened, n=1)
    return evened[close[0]] if close else None


def _looks_like_a_row(names: Sequence[str]) -> bool:
    return any(len(name) > 40 or name.count(" ") > 3 or sum(letter > "\u2e80" for letter in name) > 6 for name in names)


def _no_file(pattern: str, whole: Path, kinds: Sequence[str]) -> DataError:
    if whole.is_dir():
        return DataError(f"{whole} is a folder.", f"name files in it, for example {pattern}/*{kinds[0]}.")
    parent = whole.parent
    if not parent.is_dir():
        return DataError(f"There is no file {whole}, nor its folder.", "correct the path; it starts at the run file.")
    names = sorted(path.name for path in parent.iterdir() if path.suffix.lower() in kinds)
    close = get_close_matches(whole.name, names, n=1)
    there = f"did you mean '{close[0]}'?" if close else f"data files there: {', '.join(names[:10]) or 'none'}."
    return DataError(f"There is no file {whole}; {there}", "correct the path; it starts at the run file's folder.")
