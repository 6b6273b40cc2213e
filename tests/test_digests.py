"""Digests change with what matters and with nothing else."""

from __future__ import annotations

import os

import pytest

from components import digests
from components.digests import digest_code, digest_file, digest_of, digest_once


def test_the_order_of_keys_does_not_count():
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})


@pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}])
def test_any_other_value_has_another_digest(other):
    assert digest_of({"a": 1}) != digest_of(other)


def test_a_lone_surrogate_has_a_digest():
    assert len(digest_of("\ud83d")) == 64


def test_a_file_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_an_input_is_read_once_for_each_state_of_its_file(tmp_path, monkeypatch):
    path, reads = tmp_path / "a", []
    monkeypatch.setattr(digests, "digest_file", lambda path: reads.append(path) or path.read_text())
    path.write_text("old")
    os.utime(path, (1_000, 1_000))
    assert [digest_once(path), digest_once(path), len(reads)] == ["old", "old", 1]
    path.write_text("new")  # of the same size, and just written: it may change again before the clock moves
    assert [digest_once(path), digest_once(path), len(reads)] == ["new", "new", 3]
    os.utime(path, (1_000, 1_000))
    assert digest_once(path) == "new"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A small project: stage imports part."""
    monkeypatch.setattr(digests, "SOURCE_ROOT", tmp_path)
    (tmp_path / "part.py").write_text("X = 1\n")
    (tmp_path / "stage.py").write_text('"""Doc."""\nfrom part import X\n\n\ndef f():\n    """Doc."""\n    return X\n')

    def digest():
        digests._tree.cache_clear()
        digest_code.cache_clear()
        return digest_code("stage")

    return tmp_path, digest


def test_comments_docstrings_and_layout_do_not_change_the_code_digest(code):
    root, digest = code
    before = digest()
    (root / "stage.py").write_text("from part import (X)  # a comment\ndef f():\n\n    return X\n")
    assert digest() == before


def test_a_change_in_an_imported_module_changes_the_code_digest(code):
    root, digest = code
    before = digest()
    (root / "part.py").write_text("X = 2\n")
    assert digest() != before
