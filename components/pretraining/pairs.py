"""Which parts of a corpus make a training sequence: pairs for next-sentence prediction, or pieces of one document.

A segment is a run of tokens of one document, so that a sequence is nothing but four places in the corpus. All documents
are cut at the same time, one chunk of each in every step, which makes it a matter of a few array operations.

Source: `create_instances_from_document` and `truncate_seq_pair` of create_pretraining_data.py, google-research/bert. As
there, a short target length counts for a whole document, and a chunk of a single sentence always gets a random second
segment. Other than there, the random document never is the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.pretraining.draws import between, uniform

Places = NDArray[np.int64]
# What a number is drawn for.
SHORT, TARGET, SPLIT, RANDOM, DOCUMENT, START, FRONT = range(7)
SHORTEST = 2  # tokens of a sequence without [CLS] and [SEP]


@dataclass(frozen=True, slots=True)
class TokenizedCorpus:
    """Where sentences and documents begin.

    Args:
        sentences: (sentences + 1,) places of the first tokens; the last is the number of tokens. None is empty.
        documents: (documents + 1,) numbers of the first sentences; the last is the number of sentences.
    """

    sentences: Places
    documents: Places


@dataclass(frozen=True, slots=True)
class Sequences:
    """Training sequences as places in the corpus' tokens, (sequences,) each; without a second segment b is empty.

    `random` tells whether the second segment comes from another document.
    """

    a_start: Places
    a_end: Places
    b_start: Places
    b_end: Places
    random: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.a_start)


@dataclass(frozen=True, slots=True)
class Cutting:
    """How documents are cut; `special` counts the [CLS] and [SEP] of a sequence."""

    max_length: int
    short_share: float
    duplicates: int
    seed: int
    special: int

    @property
    def room(self) -> int:
        """Tokens of the text in the longest sequence."""
        return self.max_length - self.special


def target_lengths(cutting: Cutting, lanes: Places) -> Places:
    """The length at which each lane's documents are cut: mostly the whole room, sometimes less."""
    short = uniform(cutting.seed, SHORT, lanes) < cutting.short_share
    drawn = between(SHORTEST, cutting.room, uniform(cutting.seed, TARGET, lanes))
    return np.where(short, drawn, cutting.room)


def cut_into_pairs(corpus: TokenizedCorpus, cutting: Cutting) -> Sequences:
    """Pairs of segments, each document `duplicates` times, in the order of duplicates and documents."""
    documents = len(corpus.documents) - 1
    lanes = np.arange(documents * cutting.duplicates)
    targets = target_lengths(cutting, lanes)
    sentence = np.tile(corpus.documents[:-1], cutting.duplicates)
    found = []
    chunk = 0
    while len(lanes):
        made, following = _next_chunk(corpus, cutting, lanes, sentence, targets, chunk)
        found.append((lanes, made))
        goes_on = following < corpus.documents[lanes % documents + 1]
        lanes, sentence, targets = lanes[goes_on], following[goes_on], targets[goes_on]
        chunk += 1
    return _in_order(found)


def _next_chunk(
    corpus: TokenizedCorpus, cutting: Cutting, lanes: Places, sentence: Places, targets: Places, chunk: int
) -> tuple[Sequences, Places]:
    """The pair that begins with `sentence` in each lane, and the sentence that the next one begins with."""
    starts, seed = corpus.sentences, cutting.seed
    document = lanes % (len(corpus.documents) - 1)
    end = np.searchsorted(starts, starts[sentence] + targets)  # the first sentence that is no longer needed
    end = np.minimum(end, corpus.documents[document + 1])
    count = end - sentence
    drawn = between(1, np.maximum(count - 1, 1), uniform(seed, SPLIT, lanes, chunk))
    middle = sentence + np.where(count > 1, drawn, 1)
    random = (count == 1) | (uniform(seed, RANDOM, lanes, chunk) < 0.5)
    a_start, a_end = starts[sentence], starts[middle]
    other_start, other_end = _elsewhere(corpus, cutting, lanes, document, targets - (a_end - a_start), chunk)
    b_start, b_end = np.where(random, other_start, a_end), np.where(random, other_end, starts[end])
    pairs = truncated(Sequences(a_start, a_end, b_start, b_end, random), cutting, lanes, chunk)
    return pairs, np.where(random, middle, end)


def _elsewhere(
    corpus: TokenizedCorpus, cutting: Cutting, lanes: Places, document: Places, wanted: Places, chunk: int
) -> tuple[Places, Places]:
    """A segment of whole sentences from another document, of at least one sentence."""
    starts, firsts = corpus.sentences, corpus.documents
    other = between(0, max(len(firsts) - 3, 0), uniform(cutting.seed, DOCUMENT, lanes, chunk))
    other = np.minimum(other + (other >= document), len(firsts) - 2)
    begin = between(firsts[other], firsts[other + 1] - 1, uniform(cutting.seed, START, lanes, chunk))
    end = np.searchsorted(starts, starts[begin] + wanted)
    end = np.minimum(np.maximum(end, begin + 1), firsts[other + 1])
    return starts[begin], starts[end]


def truncated(pairs: Sequences, cutting: Cutting, lanes: Places, chunk: int) -> Sequences:
    """Pairs with tokens taken from the longer segment until they fit, each one from the front or the back at random."""
    a, b = pairs.a_end - pairs.a_start, pairs.b_end - pairs.b_start
    excess = np.maximum(a + b - cutting.room, 0)
    first = np.minimum(excess, np.abs(a - b))  # until both are of one length; then b, a, b, a …
    rest = excess - first
    from_a = np.where(a > b, first, 0) + rest // 2
    from_b = np.where(a > b, 0, first) + (rest + 1) // 2
    front_a = _heads(cutting.seed, lanes, chunk, 0, from_a)
    front_b = _heads(cutting.seed, lanes, chunk, 1, from_b)
    return Sequences(
        pairs.a_start + front_a,
        pairs.a_end - (from_a - front_a),
        pairs.b_start + front_b,
        pairs.b_end - (from_b - front_b),
        pairs.random,
    )


def _heads(seed: int, lanes: Places, chunk: int, segment: int, throws: Places) -> Places:
    """How many of so many throws of a coin, one for each token, take it from the front."""
    owners = np.repeat(np.arange(len(throws)), throws)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(throws) - throws, throws)
    heads = uniform(seed, FRONT, lanes[owners], chunk, segment, number) < 0.5
    return np.bincount(owners, weights=heads, minlength=len(throws)).astype(np.int64)


def cut_into_pieces(corpus: TokenizedCorpus, cutting: Cutting) -> Sequences:
    """Pieces of the documents one after the other, for masked language modelling alone: no token is lost or padded."""
    documents = len(corpus.documents) - 1
    lanes = np.arange(documents * cutting.duplicates)
    targets = target_lengths(cutting, lanes)
    begin = np.tile(corpus.sentences[corpus.documents[:-1]], cutting.duplicates)
    end = np.tile(corpus.sentences[corpus.documents[1:]], cutting.duplicates)
    # Every time a document is cut anew its first piece has another length, so that the borders fall elsewhere.
    first = np.where(lanes < documents, targets, between(1, targets, uniform(cutting.seed, SPLIT, lanes)))
    first = np.minimum(first, end - begin)
    counts = 1 + -(-(end - begin - first) // targets)
    owners = np.repeat(lanes, counts)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    a_start = np.where(number == 0, begin[owners], begin[owners] + first[owners] + (number - 1) * targets[owners])
    a_end = np.minimum(np.where(number == 0, a_start + first[owners], a_start + targets[owners]), end[owners])
    return Sequences(a_start, a_end, a_end, a_end, np.zeros(len(a_start), bool))


def _in_order(found: list[tuple[Places, Sequences]]) -> Sequences:
    """The sequences of all steps by lane, those of one lane in the order of its chunks."""
    lanes = np.concatenate([own for own, _ in found])
    order = np.argsort(lanes, kind="stable")
    names = ("a_start", "a_end", "b_start", "b_end", "random")
    columns = [np.concatenate([getattr(made, name) for _, made in found])[order] for name in names]
    return Sequences(*columns)
