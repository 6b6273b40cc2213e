"""The tokenizer of a built engine: the library `tokenizers` alone, since transformers takes a second to import.

It has the part of a transformers tokenizer that the task types use when they predict, under the same names, and gives
the same numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

TOKENIZER = "tokenizer.json"
LONGEST_FIRST = "longest_first"  # what truncation=True means


class TokenizerFacts(BaseModel):
    """What a transformers tokenizer knows beside its `tokenizer.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_input_names: tuple[str, ...]
    padding: Mapping[str, int]
    all_special_ids: tuple[int, ...]
    mask_token: str | None
    mask_token_id: int | None
    unk_token_id: int | None
    truncation_side: str


class Encoded(dict[str, Any]):
    """Lists of numbers by name, one item a text or window, with what the library says of each in `encodings`."""

    encodings: Sequence[Any]

    def sequence_ids(self, place: int) -> list[int | None]:
        """Which text of a pair each token is of; None for [CLS] and its kind."""
        found: list[int | None] = self.encodings[place].sequence_ids
        return found


class FastTokenizer:
    """A tokenizer that `save_tokenizer` wrote; safe to use from several threads.

    Args:
        folder: where `tokenizer.json` is.
        facts: what stands in `engine.json` beside it.
    """

    def __init__(self, folder: Path, facts: TokenizerFacts) -> None:
        from tokenizers import Tokenizer

        self.backend = Tokenizer.from_file(str(folder / TOKENIZER))
        self.backend.no_padding()
        self.backend.no_truncation()
        self.model_input_names = facts.model_input_names
        self.all_special_ids = list(facts.all_special_ids)
        self.mask_token, self.mask_token_id = facts.mask_token, facts.mask_token_id
        self.unk_token_id = facts.unk_token_id
        self.truncation_side = facts.truncation_side
        self.pad_token_id = facts.padding.get("input_ids", 0)
        self.pad_token_type_id = facts.padding.get("token_type_ids", 0)
        self.lock = threading.Lock()  # the cut is a state of the library's object
        self.cut: tuple[str, int, int] | None = None
        self.vocabulary_size: int = self.backend.get_vocab_size(with_added_tokens=True)

    def __call__(
        self,
        texts: Sequence[Any],
        pairs: Sequence[Any] | None = None,
        *,
        truncation: bool | str = False,
        max_length: int = 0,
        stride: int = 0,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
        return_attention_mask: bool = True,  # noqa: ARG002 - given to those that leave it out
        verbose: bool = False,  # noqa: ARG002 - it never warns
    ) -> Encoded:
        """As transformers' own call; one text gives its lists themselves."""
        alone = isinstance(texts, str)
        items = [texts] if alone else list(texts if pairs is None else zip(texts, pairs, strict=True))
        strategy = LONGEST_FIRST if truncation is True else truncation
        cut = (strategy, max_length, stride) if strategy else None
        with self.lock:
            self._cut_to(cut)
            firsts = self.backend.encode_batch(
                items, is_pretokenized=is_split_into_words, add_special_tokens=add_special_tokens
            )
        owned = list(_with_overflow(firsts)) if return_overflowing_tokens else list(enumerate(firsts))
        encodings = [encoding for _, encoding in owned]
        found = Encoded(self._lists(encodings))
        found.encodings = encodings
        if return_special_tokens_mask:
            found["special_tokens_mask"] = [encoding.special_tokens_mask for encoding in encodings]
        if return_offsets_mapping:
            found["offset_mapping"] = [encoding.offsets for encoding in encodings]
        if return_overflowing_tokens:
            found["overflow_to_sample_mapping"] = [row for row, _ in owned]
        if alone:
            for name, values in found.items():
                found[name] = values[0]
        return found

    def _cut_to(self, cut: tuple[str, int, int] | None) -> None:
        if cut == self.cut:
            return
        if cut is None:
            self.backend.no_truncation()
        else:
            strategy, length, stride = cut
            self.backend.enable_truncation(length, stride=stride, strategy=strategy, direction=self.truncation_side)
        self.cut = cut

    def _lists(self, encodings: Sequence[Any]) -> Iterator[tuple[str, list[list[int]]]]:
        yield "input_ids", [encoding.ids for encoding in encodings]
        if "token_type_ids" in self.model_input_names:
            yield "token_type_ids", [encoding.type_ids for encoding in encodings]
        if "attention_mask" in self.model_input_names:
            yield "attention_mask", [encoding.attention_mask for encoding in encodings]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Tokens such as [CLS] that are put round a text, or a pair."""
        count: int = self.backend.num_special_tokens_to_add(pair)
        return count

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """The id of a token, or that of the unknown one."""
        found: int | None = self.backend.token_to_id(token)
        return self.unk_token_id if found is None else found

    def convert_ids_to_tokens(self, number: int) -> str | None:
        """The token of an id."""
        token: str | None = self.backend.id_to_token(number)
        return token

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=False)
        return text

    def __len__(self) -> int:
        return self.vocabulary_size


def _with_overflow(firsts: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for row, first in enumerate(firsts):
        for encoding in chain([first], first.overflowing):
            yield row, encoding


def padding_of(tokenizer: Any) -> dict[str, int]:
    """What fills a window up, by the name of the input."""
    return {"input_ids": int(tokenizer.pad_token_id or 0), "token_type_ids": int(tokenizer.pad_token_type_id)}


def save_tokenizer(tokenizer: Any, folder: Path) -> TokenizerFacts:
    """Write a transformers tokenizer for `FastTokenizer`; returns what does not stand in its file."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(folder / TOKENIZER))
    return TokenizerFacts(
        model_input_names=tuple(tokenizer.model_input_names),
        padding=padding_of(tokenizer),
        all_special_ids=tuple(tokenizer.all_special_ids),
        mask_token=tokenizer.mask_token,
        mask_token_id=tokenizer.mask_token_id,
        unk_token_id=tokenizer.unk_token_id,
        truncation_side=tokenizer.truncation_side,
    )
