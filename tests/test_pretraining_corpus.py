"""Raw text: what is read as which documents, and what is refused with which sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data.data_files import as_found, find_files
from components.errors import DataError
from components.pretraining.corpus import read_corpus
from components.pretraining.documents import KINDS, Reading, read_documents
from components.pretraining.sentences import join_lines, split_sentences
from components.pretraining_config import Corpus, PretrainingConfig
from tests.pretraining_text import CHINESE, ENGLISH, documents_of, small_content, write_text


def read(folder: Path, *names: str, examples=None, **corpus):
    corpus = {"files": list(names), "held_out": 0.2, **corpus}
    content = small_content(folder, examples=examples or {}, corpus=corpus, evaluation={"passages": 5000})
    config = PretrainingConfig.model_validate(content)
    place = folder / "corpus"
    place.mkdir(exist_ok=True)
    return read_corpus(config, [as_found(path) for path in find_files(config.corpus.files, folder, KINDS)], place)


def texts_of(dataset, split) -> list[list[str]]:
    rows = pq.read_table(dataset.split_file(split)).to_pylist()
    return [[row["text"] for row in rows if row["document"] == number] for number in {row["document"] for row in rows}]


@pytest.mark.parametrize("source", [ENGLISH, CHINESE])
def test_every_document_is_on_one_side_whole(tmp_path, source):
    write_text(tmp_path / "text.txt", 40, 30, source)
    dataset = read(tmp_path, "text.txt")
    train, held_out = texts_of(dataset, "train"), texts_of(dataset, "validation")
    assert sorted(train + held_out) == sorted(documents_of(tmp_path / "text.txt"))
    assert dataset.rows == {
        "train": sum(map(len, train)),
        "validation": sum(map(len, held_out)),
        "test": len(pq.read_table(dataset.split_file("test"))),
    }
    passages = "".join(pq.read_table(dataset.split_file("test"))["text"].to_pylist())
    assert all(sentence in passages for document in held_out for sentence in document)


def test_more_text_moves_no_document_to_the_other_side(tmp_path):
    write_text(tmp_path / "few.txt", 30, 10)
    few = {tuple(document) for document in texts_of(read(tmp_path, "few.txt"), "validation")}
    write_text(tmp_path / "many.txt", 50, 10)
    many = {tuple(document) for document in texts_of(read(tmp_path, "many.txt"), "validation")}
    assert few < many


def test_lines_and_files_and_json_are_cut_into_sentences(tmp_path):
    lines = ["Dr. Watson came in. He sat down!", "他来了。“真的吗？”她问。", "One more line. And its second sentence."]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"body": line}) for line in lines), encoding="utf-8")
    expected = [
        ["Dr. Watson came in.", "He sat down!"],
        ["他来了。", "“真的吗？”", "她问。"],
        ["One more line.", "And its second sentence."],
    ]
    options = {"language": "mixed", "examples": {"next_sentence": False}, "held_out": 0.45}
    for dataset in (
        read(tmp_path, "lines.txt", form="lines", **options),
        read(tmp_path, "rows.jsonl", column="body", **options),
    ):
        assert sorted(texts_of(dataset, "train") + texts_of(dataset, "validation")) == sorted(expected)
    for number, line in enumerate(lines):
        (tmp_path / f"file-{number}.txt").write_text(line, encoding="utf-8")
    dataset = read(tmp_path, "file-*.txt", form="files", **options)
    assert sorted(texts_of(dataset, "train") + texts_of(dataset, "validation")) == sorted(expected)


WRAPPED = """\
It is a truth universally acknowledged, that a single man in
possession of a good fortune, must be in want of a wife. However
little known the feelings of such a man may be, it is fixed.

“My dear Mr.
Bennet,” said his lady. “Have you heard?”
"""
WRAPPED_CHINESE = "很久以前，有一个\n小镇。镇上住着一位用\nBERT 的人，他说：\n“你好。”\n\n然后他走了\n"


def test_lines_that_were_wrapped_at_a_width_are_put_together_in_files(tmp_path):
    (tmp_path / "one.txt").write_text(WRAPPED, encoding="utf-8")
    (tmp_path / "two.txt").write_text(WRAPPED_CHINESE, encoding="utf-8")
    corpus = Corpus(files=["*.txt"], form="files")
    english, chinese = (
        document.sentences
        for name in ("one.txt", "two.txt")
        for document in read_documents(tmp_path / name, corpus, Reading(name))
    )
    assert english == [
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of "
        "a wife.",
        "However little known the feelings of such a man may be, it is fixed.",
        "“My dear Mr. Bennet,” said his lady.",
        "“Have you heard?”",
    ]
    assert chinese == ["很久以前，有一个小镇。", "镇上住着一位用 BERT 的人，他说：“你好。”", "然后他走了"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab 。，字“”.", max_size=12), max_size=8))
def test_putting_lines_together_loses_nothing_but_white_space(lines):
    paragraphs = list(join_lines(lines))
    assert "".join("".join(paragraphs).split()) == "".join("".join(lines).split())
    assert all(paragraph.strip() == paragraph != "" for paragraph in paragraphs)


@settings(max_examples=100, deadline=None)
@given(st.text("abcDE .!?。！？“”\"'\n3,", max_size=80))
def test_cutting_into_sentences_loses_nothing_but_white_space(text):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


SENTENCES = "\n".join(f"This is sentence number {number} of a text." for number in range(60))
BLOCKS = SENTENCES.replace("0 of a text.\n", "0 of a text.\n\n")


@pytest.mark.parametrize(
    ("content", "corpus", "problem", "hint"),
    [
        (SENTENCES, {}, "no blank lines at all: its 60 lines", "corpus.form to lines"),
        (SENTENCES.replace("\n", " "), {}, r"a line of 2,\d{3} characters", "one sentence on a line"),
        ("", {}, "is empty", "deliver a file"),
        (" \n\n \n", {}, "is empty", "deliver a file"),
        ("\x01\n\n\x02\n", {}, "no sentence|binary", "corpus.files|deliver"),
        (SENTENCES, {"form": "files"}, "one document only", "add documents"),
        (BLOCKS + "\n\n" + "\n\n".join(["这是一个中文的句子。"] + [f"第{n}个中文的句子在这里。" for n in range(5)]), {},
         "mixes languages: 6 documents are Chinese", "corpus.language to mixed"),
        (BLOCKS, {"held_out": 0.01}, "documents 0 are held out; 2 are needed", "raise corpus.held_out, now 0.01"),
    ],
)  # fmt: skip
def test_text_that_cannot_be_learned_from_is_refused_with_a_remedy(tmp_path, content, corpus, problem, hint):
    (tmp_path / "text.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem) as caught:
        read(tmp_path, "text.txt", max_sentence_characters=1000, **corpus)
    import re

    assert re.search(hint, caught.value.hint), caught.value.hint


def test_all_reasons_are_named_together(tmp_path):
    (tmp_path / "text.txt").write_text(SENTENCES.replace("\n", " "), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(tmp_path, "text.txt", max_sentence_characters=1000)
    assert "no blank lines" in caught.value.problem
    assert "no sentence" in caught.value.problem


def test_json_without_the_text_names_the_line(tmp_path):
    rows = [json.dumps({"text": f"A sentence. Number {n} is another."}) for n in range(30)]
    rows[4] = json.dumps({"content": "A sentence."})
    (tmp_path / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match=r"1 lines of JSON have no text 'text', first rows.jsonl:5"):
        read(tmp_path, "rows.jsonl")


def test_another_encoding_is_refused_with_the_command_that_mends_it(tmp_path):
    (tmp_path / "text.txt").write_bytes("\n\n".join(["这是的一个在人有我句子"] * 9).encode("gb18030"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        read(tmp_path, "text.txt")
    assert "iconv -f GB18030" in caught.value.hint


def test_a_document_that_is_there_twice_is_read_once_and_told(tmp_path):
    text = write_text(tmp_path / "text.txt", 20, 5)
    text.write_text(text.read_text(encoding="utf-8") * 2, encoding="utf-8")
    dataset = read(tmp_path, "text.txt")
    # No blank line lies between the copies, so the last document of one and the first of the other are one of its own.
    assert dataset.quarantined_rows == 18
    assert [check.name for check in dataset.checks if not check.passed] == ["doubles"]
