"""Finished steps are found, half-finished ones are not, and a run that cannot write says so."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import Timeout

from components.errors import BusyError, StorageError
from components.step_store import (
    MARKER,
    Step,
    StepStore,
    failures_of_a_full_disk,
    model_lock,
    storage_errors,
    temporary_folder,
    write_whole,
)


@dataclass(frozen=True, slots=True)
class Made:
    folder: Path
    rows: int


@dataclass(frozen=True, slots=True)
class Nested:
    made: Made
    files: tuple[Path, ...]
    by_name: Mapping[str, Path]


STEP = Step("tokenize", "reviews", {"rows": "a", "code": "b"})


def make(folder: Path) -> Made:
    (folder / "tokens").write_text("1 2 3")
    return Made(folder, 3)


def test_a_finished_step_is_found_with_its_record(tmp_path):
    store = StepStore(tmp_path)
    made = store.run(STEP, make)
    assert store.find(STEP, Made) == made


def test_the_steps_can_be_moved_with_every_path_in_their_records(tmp_path):
    def work(folder: Path) -> Nested:
        return Nested(make(folder), (folder / "tokens",), {"inside": folder / "a" / "b", "elsewhere": Path("/etc")})

    StepStore(tmp_path / "home").run(STEP, work)
    (tmp_path / "home").rename(tmp_path / "moved")
    store = StepStore(tmp_path / "moved")
    place = store.folder(STEP)
    assert store.find(STEP, Nested) == Nested(
        Made(place, 3), (place / "tokens",), {"inside": place / "a" / "b", "elsewhere": Path("/etc")}
    )


def test_a_step_that_raised_is_not_found(tmp_path):
    store = StepStore(tmp_path)

    def fail(folder: Path) -> Made:
        (folder / "tokens").write_text("1 2")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.run(STEP, fail)
    assert store.find(STEP, Made) is None


def test_what_a_failed_try_left_is_gone_in_the_next(tmp_path):
    store = StepStore(tmp_path)
    (store.folder(STEP)).mkdir(parents=True)
    (store.folder(STEP) / "half").write_text("x")
    store.run(STEP, make)
    assert sorted(p.name for p in store.folder(STEP).iterdir()) == [MARKER, "tokens"]


def test_a_resumable_step_finds_what_an_interrupted_try_left(tmp_path):
    store = StepStore(tmp_path)
    store.folder(STEP).mkdir(parents=True)
    (store.folder(STEP) / "checkpoint").write_text("x")
    store.run(STEP, make, resumable=True)
    assert (store.folder(STEP) / "checkpoint").exists()


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("1 2")])
def test_a_step_whose_files_are_gone_or_cut_is_not_found(tmp_path, damage):
    store = StepStore(tmp_path)
    store.run(STEP, make)
    damage(store.folder(STEP) / "tokens")
    assert store.find(STEP, Made) is None
    assert store.why(STEP) == "its files are gone or damaged"


def test_a_torn_marker_is_no_marker(tmp_path):
    store = StepStore(tmp_path)
    store.run(STEP, make)
    marker = store.folder(STEP) / MARKER
    marker.write_text(marker.read_text()[:40])
    assert store.find(STEP, Made) is None


def test_why_names_the_parts_that_changed(tmp_path):
    store = StepStore(tmp_path)
    assert store.why(STEP) == "never done before"
    store.run(STEP, make)
    assert store.why(Step("tokenize", "reviews", {"rows": "z", "code": "b"})) == "changed: rows"


def test_a_full_disk_is_a_clear_error(tmp_path):
    def fail(folder: Path) -> Made:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="is full"):
        StepStore(tmp_path).run(STEP, fail)


def test_a_folder_that_may_not_be_written_is_a_clear_error(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"), storage_errors(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))


def test_an_error_that_is_not_about_storage_passes():
    with pytest.raises(FileNotFoundError), storage_errors(Path("x")):
        raise FileNotFoundError(errno.ENOENT, "No such file")


def test_one_run_of_a_model_at_a_time(tmp_path):
    with model_lock(tmp_path, "reviews"):
        busy = pytest.raises(BusyError, match=r"Another run of 'reviews' is at work \(process \d+\)")
        with busy, model_lock(tmp_path, "reviews"):
            pass
        with model_lock(tmp_path, "intents"):
            pass
    with model_lock(tmp_path, "reviews"):
        pass


def test_a_time_out_of_other_work_is_not_taken_for_a_busy_model(tmp_path):
    with pytest.raises(Timeout), model_lock(tmp_path, "reviews"):
        raise Timeout("another.lock")
    with model_lock(tmp_path, "reviews"):  # it was let go
        pass


def test_a_small_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "deep" / "release.json"
    write_whole(path, "old")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_whatever_fails_while_the_disk_is_full_is_a_full_disk(tmp_path, monkeypatch):
    left = 10 << 20
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=left))
    with pytest.raises(RuntimeError, match="database"), failures_of_a_full_disk(tmp_path):
        raise RuntimeError("the database answers 500")
    left = 4096
    with pytest.raises(StorageError, match="is full"), failures_of_a_full_disk(tmp_path):
        raise RuntimeError("the database answers 500")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.parent))
    with (
        pytest.raises(StorageError, match=rf"holds {tmp_path.parent} is full"),
        failures_of_a_full_disk(tmp_path / "new"),
    ):
        raise RuntimeError("unable to open database file")
    with pytest.raises(BusyError), failures_of_a_full_disk(tmp_path):
        raise BusyError("Somebody else is at work.", "wait.")


def test_a_full_disk_for_temporary_files_is_a_clear_error(monkeypatch):
    with pytest.raises(StorageError, match="is full") as caught, temporary_folder() as folder:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "curve.png"))
    assert "TMPDIR" in caught.value.hint
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/no-such-folder"])
    with pytest.raises(StorageError, match="No usable temporary directory") as caught, temporary_folder():
        pass
    assert "TMPDIR" in caught.value.hint
