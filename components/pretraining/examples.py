"""Examples: the corpus as token ids and the sequences of each phase, in Arrow files that training maps into memory.

`<split>/tokens.arrow` has every token once (`ids`, and `follows` for whole words), `<split>/sentences.arrow` and
`<split>/documents.arrow` say where sentences and documents begin. `<split>/phase-N.arrow` has a line for each sequence:
where its segments begin and end, and whether the second comes from another document. A text is read, tokenized on all
cores and written in batches; kept in memory are some twenty bytes a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.digests import digest_file, digest_of
from components.errors import DataError
from components.masks.mask_words import find_segmenter, word_begins
from components.pretraining.pairs import Cutting, Sequences, TokenizedCorpus, cut_into_pairs, cut_into_pieces
from components.pretraining.word_ids import WordIds
from components.pretraining_config import PretrainingConfig
from components.records import BaseModel, PretrainingExamples, Split, ValidatedDataset
from components.training.tokenization import load_tokenizer, one_ahead

BATCH = 10_000  # sentences
SPLITS: tuple[Split, ...] = ("train", "validation")
MOST_UNKNOWN = 0.1  # share of [UNK] from which a vocabulary is not one for this text
RAW = "raw"  # endings of files that are gone when a step has ended


@dataclass(slots=True)
class _Reading:
    """What is being read: the numbers of tokens in each sentence, and of sentences in each document."""

    sentences: list[NDArray[np.int64]] = field(default_factory=list)
    documents: list[NDArray[np.int64]] = field(default_factory=list)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # of each id


def make_examples(
    config: PretrainingConfig, dataset: ValidatedDataset, base: BaseModel, folder: Path
) -> PretrainingExamples:
    """The examples of every phase, to learn from and to measure on.

    Raises:
        DataError: the vocabulary does not know much of this text.
    """
    tokenizer = load_tokenizer(base)
    corpora, counts = {}, {}
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        corpora[split], counts[split] = _tokenize(config, dataset, tokenizer, split, folder / split)
    unknown = (
        float(counts["train"][tokenizer.unk_token_id] / counts["train"].sum())
        if tokenizer.unk_token_id is not None
        else 0.0
    )
    if unknown > MOST_UNKNOWN:
        raise DataError(
            f"The vocabulary of '{base.spec}' does not know {unknown:.0%} of the corpus' tokens.",
            "name a base model for this language, or train a vocabulary by leaving model.base out.",
        )
    made = {
        f"{split}/phase-{number}": _write_sequences(config, corpora[split], split, number, folder / split)
        for split in SPLITS
        for number in range(1, len(config.phases) + 1)
    }
    files = sorted(path for path in folder.rglob("*.arrow"))
    return PretrainingExamples(
        folder=folder,
        digest=digest_of({path.relative_to(folder).as_posix(): digest_file(path) for path in files}),
        documents={split: len(corpus.documents) - 1 for split, corpus in corpora.items()},
        tokens={split: int(corpus.sentences[-1]) for split, corpus in corpora.items()},
        sequences={name: len(sequences) for name, sequences in made.items()},
        random_share=round(float(made["train/phase-1"].random.mean()), 4),
        unknown_share=round(unknown, 6),
        unigram_entropy=round(_unigram_entropy(counts["train"], counts["validation"]), 4),
    )


def _tokenize(
    config: PretrainingConfig, dataset: ValidatedDataset, tokenizer: Any, split: Split, folder: Path
) -> tuple[TokenizedCorpus, NDArray[np.int64]]:
    """Write a split's tokens; returns where its sentences begin, and how often each id occurs."""
    encode = _encoder(config, tokenizer)
    reading = _Reading(counts=np.zeros(len(tokenizer), np.int64))
    width = np.uint16 if len(tokenizer) <= 1 << 16 else np.int32
    with (folder / f"ids.{RAW}").open("wb") as ids_file, (folder / f"follows.{RAW}").open("wb") as follows_file:
        for documents, ids, lengths, follows in one_ahead(encode, _batches(dataset, split)):
            ids.astype(width).tofile(ids_file)
            if follows is not None:
                follows.tofile(follows_file)
            kept = lengths > 0  # of a line of signs that the tokenizer drops nothing is left
            reading.sentences.append(lengths[kept])
            reading.documents.append(documents[kept])
            reading.counts += np.bincount(ids, minlength=len(tokenizer))
    corpus = _corpus_of(reading)
    _write(folder / "sentences.arrow", {"first_token": corpus.sentences})
    _write(folder / "documents.arrow", {"first_sentence": corpus.documents})
    columns = {"ids": _mapped(folder / f"ids.{RAW}", width)}
    if config.examples.whole_words != "none":
        columns["follows"] = _mapped(folder / f"follows.{RAW}", np.uint8)
    _write(folder / "tokens.arrow", columns)
    for path in folder.glob(f"*.{RAW}"):
        path.unlink()
    return corpus, reading.counts


def _encoder(config: PretrainingConfig, tokenizer: Any) -> Callable[[Any], Any]:
    """A function from a batch of sentences to their ids, their lengths, and flags of the tokens that go on a word."""
    rust = tokenizer.backend_tokenizer
    rust.no_truncation()
    rust.no_padding()
    words = WordIds(rust)
    whole = config.examples.whole_words
    segment = find_segmenter() if whole == "chinese" else None

    def encode(batch: tuple[NDArray[np.int64], list[str]]) -> Any:
        documents, texts = batch
        ids, lengths = words.encode(texts)
        follows = None if whole == "none" else _follows(ids, lengths, tokenizer, segment)
        return documents, ids, lengths, follows

    return encode


def _follows(ids: NDArray[np.int64], lengths: NDArray[np.int64], tokenizer: Any, segment: Any) -> NDArray[np.uint8]:
    """For each token of sentences that stand one after the other, whether it goes on the word before it."""
    places = np.arange(len(ids)) + np.repeat(np.arange(len(lengths)), lengths) + 1
    line = np.full(len(ids) + len(lengths), tokenizer.sep_token_id)  # between sentences, where no word goes on
    line[places] = ids
    follows: NDArray[np.uint8] = (~word_begins(line[None], tokenizer, segment)[0, places]).astype(np.uint8)
    return follows


def _batches(dataset: ValidatedDataset, split: Split) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(dataset.split_file(split)) as file:
        for batch in file.iter_batches(BATCH, columns=["document", "text"]):
            yield batch.column("document").to_numpy(), batch.column("text").to_pylist()


def _corpus_of(reading: _Reading) -> TokenizedCorpus:
    lengths, owners = np.concatenate(reading.sentences), np.concatenate(reading.documents)
    sentences = np.concatenate([[0], np.cumsum(lengths)])
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    return TokenizedCorpus(sentences, np.concatenate([begins, [len(lengths)]]))


def _write_sequences(
    config: PretrainingConfig, corpus: TokenizedCorpus, split: Split, number: int, folder: Path
) -> Sequences:
    """The sequences of a phase; those to measure on are cut once."""
    examples = config.examples
    cutting = Cutting(
        max_length=config.phases[number - 1].max_length,
        short_share=examples.short_share,
        duplicates=examples.duplicates if split == "train" else 1,
        seed=config.training.seed,
        special=3 if examples.next_sentence else 2,
    )
    made = (cut_into_pairs if examples.next_sentence else cut_into_pieces)(corpus, cutting)
    names = ("a_start", "a_end", "b_start", "b_end", "random")
    _write(folder / f"phase-{number}.arrow", {name: getattr(made, name) for name in names})
    return made


def _unigram_entropy(train: NDArray[np.int64], held_out: NDArray[np.int64]) -> float:
    """Loss, in nats, of guessing every held-out token by how often it occurs in the text to learn from."""
    likely = np.log((train + 1) / (train.sum() + len(train)))
    return float(-(held_out * likely).sum() / held_out.sum())


def _mapped(path: Path, number: Any) -> NDArray[Any]:
    return np.memmap(path, number, "r") if path.stat().st_size else np.empty(0, number)


def _write(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    import pyarrow as pa

    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
