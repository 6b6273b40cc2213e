"""Behavioural checks of one's own: a YAML file of templates in, cases out.

Each check names what a model must be capable of, and one of the kinds of CheckList: `functionality`, an answer that is
known; `invariance`, a change that must not change it; `directional`, a change that must raise or lower a label's score.

Source: Ribeiro et al., Beyond accuracy: behavioral testing of NLP models with CheckList, ACL 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from math import prod
from pathlib import Path
from string import Formatter
from typing import Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from components.config import Section
from components.errors import DataError

Kind = Literal["functionality", "invariance", "directional"]
MOST_CASES = 2000  # of one check: slots multiply


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to try: a text, and its changed form where there is one.

    `label` is the answer that is expected (functionality) or whose score must move (directional) up or down. Cases of
    one `template` are answered alike, and so count as one where models are compared.
    """

    capability: str
    kind: Kind
    text: str
    changed: str | None = None
    label: str | None = None
    direction: Literal["up", "down"] | None = None
    template: str = ""


class Check(Section):
    """One item of a file of checks; texts may hold slots in braces."""

    capability: str = Field(min_length=1, description="What the model is asked for, such as negation.")
    kind: Kind = Field("invariance", description="functionality, invariance or directional.")
    texts: tuple[str, ...] = Field(min_length=1, description="Templates; {name} is filled from slots.")
    changed: tuple[str, ...] = Field((), description="The changed form of each of texts, in their order.")
    swap: str | None = Field(None, description="Slot whose first value is changed into each of the others.")
    slots: Mapping[str, tuple[str, ...]] = Field(default_factory=dict, description="What may stand in a slot.")
    label: str | None = Field(None, description="The expected label, or the one whose score must move.")
    direction: Literal["up", "down"] | None = Field(None, description="Where that score must go (directional).")

    @model_validator(mode="after")
    def _is_whole(self) -> Check:
        if self.swap is not None and len(self.slots.get(self.swap, ())) < 2:
            raise ValueError(f"swap names '{self.swap}', which must be a slot with two values or more")
        if self.kind != "functionality" and bool(self.changed) == bool(self.swap):
            raise ValueError(f"a check of kind {self.kind} needs either changed or swap")
        if without := [text for text in self.texts if self.swap is not None and self.swap not in _slots_of(text)]:
            raise ValueError(f"swap names '{self.swap}', which is not in the text '{without[0]}'")
        if same := [text for text, other in zip(self.texts, self.changed, strict=False) if text == other]:
            raise ValueError(f"the text '{same[0]}' is not changed")
        if self.changed and len(self.changed) != len(self.texts):
            raise ValueError("changed must have as many items as texts")
        if (self.label is None) != (self.kind == "invariance"):
            raise ValueError("label is for the kinds functionality and directional, and they need it")
        if (self.direction is None) == (self.kind == "directional"):
            raise ValueError("direction (up or down) is for the kind directional, which needs it")
        named = {name for text in (*self.texts, *self.changed) for name in _slots_of(text)}
        if missing := sorted(named - self.slots.keys()):
            raise ValueError(f"there is no slot {', '.join(name or 'without a name' for name in missing)}")
        if (many := self.cases) > MOST_CASES:
            raise ValueError(f"its slots make {many} cases, and {MOST_CASES} are the most; make two checks of it")
        return self

    @property
    def cases(self) -> int:
        """How many cases its texts and slots make."""
        ends = len(self.slots[self.swap]) - 1 if self.swap else 1
        named = [
            {*_slots_of(text), *_slots_of(other)} - {self.swap}
            for text, other in zip_longest(self.texts, self.changed, fillvalue="")
        ]
        return sum(prod(len(self.slots[name]) for name in names) * ends for names in named)


def read_cases(files: Sequence[Path]) -> list[Case]:
    """All cases of files of checks.

    Raises:
        DataError: a file cannot be read, or a check in it is not whole; all such are named.
    """
    problems: list[str] = []
    cases: list[Case] = []
    for path in files:
        try:
            checks = TypeAdapter(list[Check]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(f"{path.name} cannot be read: {' '.join(str(error).split())}")
        except ValidationError as error:
            problems += [f"{path.name}: {_where(item['loc'])}: {item['msg']}" for item in error.errors()]
        else:
            cases += [case for check in checks for case in _cases(check)]
    if problems:
        raise DataError("; ".join(problems) + ".", "correct the checks; docs/gate.md has an example of each kind.")
    return cases


def _where(place: Sequence[int | str]) -> str:
    return " ".join(f"check {part + 1}" if isinstance(part, int) else part for part in place[:2]) or "the file"


def _cases(check: Check) -> Iterator[Case]:
    for number, template in enumerate(check.texts):
        other = check.changed[number] if check.changed else template if check.swap else None
        for values in _fillings(check, {*_slots_of(template), *_slots_of(other or "")}):
            for before, after in _ends(check, values):
                changed = None if other is None else other.format(**after)
                text = template.format(**before)
                yield Case(check.capability, check.kind, text, changed, check.label, check.direction, template)


def _fillings(check: Check, names: set[str]) -> Iterator[dict[str, str]]:
    """Every way to fill the slots, but the one that is swapped."""
    wanted = sorted(names - {check.swap})
    for values in product(*(check.slots[name] for name in wanted)):
        yield dict(zip(wanted, values, strict=True))


def _ends(check: Check, values: dict[str, str]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    if check.swap is None:
        yield values, values
        return
    first, *others = check.slots[check.swap]
    for other in others:
        yield values | {check.swap: first}, values | {check.swap: other}


def _slots_of(template: str) -> set[str]:
    """Names of a template's slots; that of a pair of empty braces is empty, and so is found missing."""
    return {"" if name.isdigit() else name for _, name, _, _ in Formatter().parse(template) if name is not None}
