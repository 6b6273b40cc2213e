from __future__ import annotations

import logging
from pathlib import Path

import pytest

from components.training.checkpoints import MARKER, commit_checkpoint, find_whole_checkpoint, remove_old_checkpoints

FILES = ("model.safetensors", "best.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
NAMES = (*FILES, "best.json", MARKER)


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zero(path: Path):
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = (truncate, zero, flip, Path.unlink)


def checkpoint(folder: Path, step: int) -> Path:
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in NAMES[:-1]:
        (place / name).write_bytes(f"{name} of step {step}".encode() * 20)
    return place


def test_the_latest_whole_one_is_found_by_number(tmp_path: Path):
    for step in (9, 100, 20):
        commit_checkpoint(checkpoint(tmp_path, step))
    assert find_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_there_may_be_none(tmp_path: Path):
    assert find_whole_checkpoint(tmp_path / "nothing") is None
    checkpoint(tmp_path, 1)
    assert find_whole_checkpoint(tmp_path) is None


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", NAMES)
def test_a_torn_one_is_passed_over_with_its_reason(tmp_path: Path, caplog, name: str, damage):
    commit_checkpoint(checkpoint(tmp_path, 1))
    torn = checkpoint(tmp_path, 2)
    commit_checkpoint(torn)
    damage(torn / name)
    with caplog.at_level(logging.WARNING, logger="rebert.training"):
        assert find_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    assert "checkpoint-2" in caplog.text
    assert ("marker" if name == MARKER else name) in caplog.text or damage is flip


def test_a_checkpoint_killed_before_its_marker_does_not_count(tmp_path: Path):
    commit_checkpoint(checkpoint(tmp_path, 1))
    checkpoint(tmp_path, 2)
    assert find_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-1"


def test_old_and_unfinished_ones_are_removed_but_a_spare_is_kept(tmp_path: Path):
    for step in (1, 2, 3):
        commit_checkpoint(checkpoint(tmp_path, step))
    checkpoint(tmp_path, 4)
    remove_old_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]
