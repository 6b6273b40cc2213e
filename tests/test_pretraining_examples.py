"""Sequences from real text, English and Chinese: their shares, their signs, whole words, and vocabularies."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import re
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from components.errors import BaseModelError, ConfigError, DataError
from components.masks.mask_drawing import IGNORED
from components.masks.mask_words import find_segmenter
from components.models.base_models import resolve_base_model
from components.pretraining.example_table import ExampleTable, SharedBatches
from components.pretraining.examples import make_examples
from components.pretraining.pairs import Cutting, target_lengths
from components.pretraining.vocabulary import new_base, require_suitable
from components.pretraining_config import PretrainingConfig
from components.training.tokenization import load_tokenizer
from tests.pretraining_text import CHINESE, ENGLISH, small_content, small_phase, write_text

WHOLE = {"whole_words": "pieces", "duplicates": 8}
PHASES = [{"max_length": 64, "epochs": 1, "batch_size": 8}, {"max_length": 128, "epochs": 1, "batch_size": 8}]


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    folder = tmp_path_factory.mktemp("english")
    return small_phase(folder, ENGLISH, vocabulary={"size": 1500}, examples=WHOLE, phases=PHASES)


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chinese")
    examples = {**WHOLE, "whole_words": "chinese"}
    return small_phase(folder, CHINESE, vocabulary={"size": 3000}, examples=examples, phases=PHASES)


@pytest.fixture(params=["english", "chinese"])
def job(request):
    return request.getfixturevalue(request.param)


def table_of(job, split="train", phase=1) -> tuple[ExampleTable, object]:
    tokenizer = load_tokenizer(job.base)
    return ExampleTable.of_phase(job.examples, split, phase, tokenizer, job.config), tokenizer


def spans_sentences(job, table: ExampleTable) -> np.ndarray:
    """Whether the first segment of each sequence has parts of several sentences."""
    import pyarrow as pa

    with pa.memory_map(str(job.examples.folder / "train" / "sentences.arrow")) as file:
        begins = pa.ipc.open_stream(file).read_all()["first_token"].to_numpy()
    first, last = table.places["a_start"], table.places["a_end"] - 1
    return np.searchsorted(begins, first, side="right") != np.searchsorted(begins, last, side="right")


def test_a_sequence_is_cls_a_sep_b_sep_with_its_segments_and_its_label(job):
    table, tokenizer = table_of(job)
    batch = {name: values.numpy() for name, values in table.batch(list(range(200))).items()}
    ids = np.where(batch["labels"] == IGNORED, batch["input_ids"], batch["labels"])
    random = table.places["random"]
    for line, length in enumerate(table.lengths[:200]):
        own = ids[line, :length]
        ends = np.flatnonzero(own == tokenizer.sep_token_id)
        assert own[0] == tokenizer.cls_token_id
        assert len(ends) == 2
        assert ends[1] == length - 1
        assert (batch["token_type_ids"][line, :length] == (np.arange(length) > ends[0])).all()
        assert (ids[line, length:] == tokenizer.pad_token_id).all()
        assert (batch["attention_mask"][line] == (np.arange(ids.shape[1]) < length)).all()
        assert batch["next_sentence_label"][line] == random[line]
        assert (own == table.plain(line)).all()


def test_the_shares_are_those_of_the_rules(job):
    table, tokenizer = table_of(job)
    count = len(table)
    random = table.places["random"]
    # Half of the chunks with several sentences, and all with one: above a half, whatever the text;
    assert random.mean() > 0.5 - 3 * (0.25 / count) ** 0.5
    # a half exactly where A has several.
    several = spans_sentences(job, table)
    assert abs(random[several].mean() - 0.5) < 4 * (0.25 / several.sum()) ** 0.5
    chosen = wanted = masked = same = 0
    for begin in range(0, 3200, 64):
        batch = {name: values.numpy() for name, values in table.batch(list(range(begin, begin + 64))).items()}
        hidden = batch["labels"] != IGNORED
        wanted += int(np.maximum(np.rint(0.15 * table.lengths[begin : begin + 64]), 1).sum())
        chosen += int(hidden.sum())
        masked += int((batch["input_ids"][hidden] == tokenizer.mask_token_id).sum())
        same += int((batch["input_ids"][hidden] == batch["labels"][hidden]).sum())
        assert not np.isin(batch["labels"][hidden], tokenizer.all_special_ids).any()
    assert wanted / table.lengths[:3200].sum() == pytest.approx(0.15, abs=0.01)
    assert chosen / wanted == pytest.approx(1, abs=0.02)  # of whole words now and then one less
    assert masked / chosen == pytest.approx(0.8, abs=4 * (0.16 / chosen) ** 0.5)
    assert same / chosen == pytest.approx(0.1, abs=4 * (0.09 / chosen) ** 0.5 + 1 / len(tokenizer))
    assert table.lengths.max() <= 64
    assert table_of(job, phase=2)[0].lengths.max() > 64


def test_a_tenth_of_the_documents_is_cut_at_any_length_from_two_on():
    targets = target_lengths(Cutting(64, 0.1, 1, 5, special=3), np.arange(100_000))
    short = targets[targets < 61]
    assert len(short) / 100_000 == pytest.approx(0.1 * 59 / 60, abs=0.004)
    counts = np.bincount(short, minlength=61)[2:61]
    assert (counts > 0).all()
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 98  # chi-squared, 58 degrees: one in a thousand


def test_whole_english_words_are_hidden(english):
    table, tokenizer = table_of(english)
    followers = 0
    for begin in range(0, 1280, 64):
        batch = table.batch(list(range(begin, begin + 64)))
        hidden = (batch["labels"] != IGNORED).numpy()
        for line, number in enumerate(range(begin, begin + 64)):
            pieces = tokenizer.convert_ids_to_tokens(table.plain(number).tolist())
            for place in range(2, len(pieces)):
                if pieces[place].startswith("##") and pieces[place - 1] not in tokenizer.all_special_tokens:
                    assert hidden[line, place] == hidden[line, place - 1], pieces[place - 1 : place + 1]
                    followers += 1
    assert followers > 5000


def test_whole_chinese_words_are_those_of_the_segmentation(chinese):
    table, tokenizer = table_of(chinese)
    import pyarrow.parquet as pq

    cut = find_segmenter()
    sentences = pq.read_table(chinese.dataset.split_file("train"))["text"].to_pylist()
    start = compared = 0
    for sentence in sentences[:300]:
        encoding = tokenizer(sentence, add_special_tokens=False, return_offsets_mapping=True)
        flags = table.follows[start : start + len(encoding["input_ids"])]
        start += len(encoding["input_ids"])
        for run in re.finditer("[\u4e00-\u9fff]+", sentence):
            begins = {0, *accumulate(map(len, cut(run[0])))}
            for (place, _), token, follows in zip(
                encoding["offset_mapping"], encoding["input_ids"], flags, strict=True
            ):
                known = token != tokenizer.unk_token_id
                if run.start() < place < run.end() and known and "[UNK]" not in tokenizer.tokenize(run[0]):
                    assert bool(follows) == (place - run.start() not in begins), run[0]
                    compared += bool(follows)
    assert compared > 500


def test_masks_are_new_in_each_epoch_unless_they_are_static(english):
    table, _ = table_of(english)
    first, second = (table.batch([epoch * len(table) + place for place in range(64)]) for epoch in (0, 1))
    assert (first["labels"] != second["labels"]).any(dim=1).all()
    static = english.config.model_copy(
        update={"examples": english.config.examples.model_copy(update={"masking": "static"})}
    )
    table = ExampleTable.of_phase(english.examples, "train", 1, load_tokenizer(english.base), static)
    first, second = (table.batch([epoch * len(table) + place for place in range(64)]) for epoch in (0, 1))
    assert (first["labels"] == second["labels"]).all()


def test_words_are_whole_only_where_the_run_file_says_so(english):
    words = english.config.examples.model_copy(update={"whole_words": "none"})
    config = english.config.model_copy(update={"examples": words})
    table, tokenizer = table_of(english)
    assert table.rule.whole_words
    assert not ExampleTable.of_phase(english.examples, "train", 1, tokenizer, config).rule.whole_words


@pytest.mark.parametrize("parts", [1, 2])
def test_processes_share_every_step_without_overlap(parts):
    lengths = np.random.default_rng(1).integers(5, 60, 101).astype(np.int32)

    def steps(rank, processes, parts):
        batches = SharedBatches(lengths, 16, parts, 7, rank, processes)
        batches.set_epoch(3)
        own = list(batches)
        assert len(own) == len(batches)
        return [functools.reduce(operator.iadd, own[i : i + parts], []) for i in range(0, len(own), parts)]

    alone = steps(0, 1, 1)
    shared = [steps(rank, 2, parts) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*shared, strict=True)] == [sorted(step) for step in alone]
    assert {place // 101 for step in alone for place in step} == {3}
    assert {place % 101 for step in alone for place in step} == set(range(101))


def test_without_next_sentences_every_token_is_read_once(tmp_path):
    text = write_text(tmp_path / "text.txt", 30, 20)
    job = small_phase(tmp_path, text, examples={"next_sentence": False})
    table, _tokenizer = table_of(job)
    assert "next_sentence_label" not in table.batch([0, 1])
    assert sum(len(table.plain(number)) - 2 for number in range(len(table))) == job.examples.tokens["train"]
    assert job.examples.random_share == 0


def test_the_examples_and_the_vocabulary_are_the_same_each_time(tmp_path):
    text = write_text(tmp_path / "text.txt", 30, 20)
    first, second = (small_phase(tmp_path / name, text) for name in ("a", "b"))
    assert first.base.digest == second.base.digest
    assert first.examples.digest == second.examples.digest


def with_model(job, **model):
    content = {**job.config.model_dump(mode="json"), "model": model}
    return PretrainingConfig.model_validate(content)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"vocab_size": 9}, "model.config.vocab_size is 9, but the vocabulary has 1,500 entries"),
        ({"max_position_embeddings": 64}, "a phase has sequences of 128 tokens"),
        ({"hidden_sizes": 3}, "BertConfig has no 'hidden_sizes'"),
        ({"hidden_size": 100, "num_attention_heads": 7}, "a width of 100 cannot be shared by 7"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(english, tmp_path, settings, problem):
    with pytest.raises(ConfigError, match=problem):
        new_base(with_model(english, config=settings), english.dataset, None, tmp_path)


def test_a_base_without_what_masking_needs_is_refused(tiny_base, tmp_path):
    base = resolve_base_model(str(tiny_base), tmp_path)
    tokenizer = load_tokenizer(base)
    require_suitable(base, tokenizer, next_sentence=True)
    tokenizer.mask_token = None
    with pytest.raises(BaseModelError, match=r"has no \[MASK\]"):
        require_suitable(base, tokenizer, next_sentence=True)


def test_a_tokenizer_with_more_entries_than_the_model_is_refused(tiny_base, tmp_path):
    import shutil

    shutil.copytree(tiny_base, tmp_path / "base")
    settings = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({**settings, "vocab_size": 50}))
    base = resolve_base_model(str(tmp_path / "base"), tmp_path)
    with pytest.raises(BaseModelError, match="its config says 50"):
        require_suitable(base, load_tokenizer(base), next_sentence=False)
    distil = {**settings, "model_type": "distilbert", "vocab_size": settings["vocab_size"]}
    (tmp_path / "base" / "config.json").write_text(json.dumps(distil))
    with pytest.raises(ConfigError, match="without a next-sentence head"):
        require_suitable(base, load_tokenizer(resolve_base_model(str(tiny_base), tmp_path)), next_sentence=True)


def test_a_vocabulary_of_another_language_is_refused(english, chinese, tmp_path):
    base = dataclasses.replace(english.base, spec="english")
    config = chinese.config.model_copy(
        update={"examples": chinese.config.examples.model_copy(update={"whole_words": "none"})}
    )
    with pytest.raises(DataError, match=r"'english' does not know \d+% of the corpus"):
        make_examples(config, chinese.dataset, base, tmp_path)


def test_what_goes_on_from_a_base_learns_more_slowly_unless_told_otherwise(tmp_path):
    def rates(**model):
        phases = [{"max_length": 64}, {"max_length": 128, "learning_rate": 5e-4}]
        config = PretrainingConfig.model_validate(small_content(tmp_path, phases=phases, model=model))
        return [config.fine_tuning_settings(phase).learning_rate for phase in config.phases]

    assert rates() == [1e-4, 5e-4]
    assert rates(base="models:/books-bert@champion") == [2e-5, 5e-4]


def test_wrong_settings_are_all_named_at_once(tmp_path: Path):
    from components.run_files import read_pretraining_file
    from tests.pretraining_text import write_pretraining_file

    content = small_content(tmp_path / "text.txt", launch={"processes": 3}, examples={"whole_words": "all"})
    content["phases"] = [{"max_length": 64, "batch_size": 5, "accumulation_steps": 2}, {"max_lenght": 32}]
    with pytest.raises(ConfigError) as caught:
        read_pretraining_file(write_pretraining_file(tmp_path, content))
    assert "examples.whole_words" in caught.value.problem
    assert "multiple of accumulation_steps" in caught.value.problem
    assert "max_lenght" in caught.value.problem
