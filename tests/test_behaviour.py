"""Behavioural checks: what is changed, what a file of checks may say, what is counted, what the gate makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.behaviour.examination import count_failures, examine_behaviour
from components.behaviour.han_variants import PAIRS
from components.behaviour.perturbations import PERTURBATIONS
from components.behaviour.templates import read_cases
from components.config import Gate
from components.errors import ConfigError, DataError
from components.records import EvaluationReport, as_json
from components.reports.behaviour_rules import BehaviourFinding, behaviour_rules, compare_behaviour
from components.reports.decision_words import _behaviour
from components.run_files import read_run_file
from components.task_types import find_task_type

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("casing", "Where is my card?", "WHERE IS MY CARD?"),
        ("casing", "我的卡", None),
        ("full_width", "Pay 12 €", "Ｐａｙ １２ €"),
        ("half_width", "Ｐａｙ １２", "Pay 12"),
        ("half_width", "Pay 12", None),
        ("traditional", "银行卡还没有到账", "銀行卡還沒有到賬"),
        ("traditional", "card", None),
        ("simplified", "銀行卡還沒有到賬", "银行卡还没有到账"),
        ("punctuation", "到了吗？", "到了吗"),
        ("punctuation", "?!", None),
        ("numbers", "no digits", None),
        ("typo", "me and you", None),
    ],
)
def test_a_change_is_made_where_there_is_one_to_make(name, before, after):
    assert PERTURBATIONS[name](before) == after


@given(st.text(max_size=60), st.sampled_from(sorted(PERTURBATIONS)))
def test_a_changed_text_is_another_and_always_the_same_one(text, name):
    changed = PERTURBATIONS[name](text)
    assert changed == PERTURBATIONS[name](text)
    assert changed is None or (changed != text and changed.strip())


def test_a_typo_swaps_two_inner_letters_of_one_word():
    changed = PERTURBATIONS["typo"]("transfer arrived")
    different = [place for place, (a, b) in enumerate(zip("transfer arrived", changed, strict=True)) if a != b]
    assert sorted(changed) == sorted("transfer arrived")
    assert len(different) == 2
    assert different[1] == different[0] + 1
    assert not {0, 7, 9, 15} & set(different)


def test_every_number_becomes_another_of_as_many_digits():
    changed = PERTURBATIONS["numbers"]("pay 100 on 2026-11-21")
    assert len(changed) == len("pay 100 on 2026-11-21")
    assert all(a != b for a, b in zip("100", changed[4:7], strict=True))


def test_characters_have_one_form_each_way():
    pairs = PAIRS.split()
    assert all(len(pair) == 2 for pair in pairs)
    assert len({pair[0] for pair in pairs}) == len(pairs) == len({pair[1] for pair in pairs})
    assert not {pair[0] for pair in pairs} & {pair[1] for pair in pairs}


def checks(tmp_path: Path, text: str) -> Path:
    (tmp_path / "checks.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "checks.yaml"


def test_templates_become_every_case_of_their_slots(tmp_path):
    path = checks(
        tmp_path,
        """
- {capability: names, texts: ["{who} asks {what}"], swap: who, slots: {who: [Ann, 李娜, Bo], what: [now, later]}}
- {capability: negation, kind: directional, texts: ["a {x}"], changed: ["no {x}"], slots: {x: [cat, dog]},
   label: yes it is, direction: down}
- {capability: known, kind: functionality, texts: [hello], label: greeting}
""",
    )
    cases = read_cases([path])
    assert [(case.text, case.changed) for case in cases[:4]] == [
        ("Ann asks now", "李娜 asks now"),
        ("Ann asks now", "Bo asks now"),
        ("Ann asks later", "李娜 asks later"),
        ("Ann asks later", "Bo asks later"),
    ]
    assert [(case.text, case.changed, case.direction) for case in cases[4:]] == [
        ("a cat", "no cat", "down"),
        ("a dog", "no dog", "down"),
        ("hello", None, None),
    ]


def test_all_that_is_wrong_in_a_file_of_checks_is_named_at_once(tmp_path):
    path = checks(
        tmp_path,
        """
- {capability: a, texts: ["{who} asks"], swap: who, slots: {who: [Ann]}}
- {capability: b, kind: directional, texts: [x], changed: [y], label: z}
- {capability: c, texts: ["{gone}"], changed: [y]}
- {capability: d, texts: [x], changed: [y], lable: z}
""",
    )
    with pytest.raises(DataError) as caught:
        read_cases([path])
    for words in (
        "check 1: ",
        "two values or more",
        "check 2",
        "direction (up or down)",
        "no slot gone",
        "check 4 lable",
    ):
        assert words in caught.value.problem


@pytest.mark.parametrize("name", ["banking.yaml", "sentiment.yaml"])
def test_the_shipped_checks_are_whole(name):
    cases = read_cases([EXAMPLES / "behaviour" / name])
    assert len(cases) > 15
    assert all("{" not in case.text for case in cases)


class SaysNo:
    """Answers "bad" where a text has a no or a 不 in small letters, else "good"; knows no label else."""

    task_type = find_task_type("text_classification")

    def predict(self, rows):
        bad = [any(word in row["text"] for word in ("no ", "not", "不")) for row in rows]
        scores = [[0.9, 0.1] if each else [0.2, 0.8] for each in bad]
        return [
            {"label": "bad" if each else "good", "score": max(both), "labels": ("bad", "good"), "scores": both}
            for each, both in zip(bad, scores, strict=True)
        ]


def test_cases_are_counted_by_capability(tmp_path):
    path = checks(
        tmp_path,
        """
- {capability: negation, kind: directional, texts: [it works, 很好], changed: [it does not work, 不好],
   label: good, direction: down}
- {capability: names, texts: ["{who} likes it"], swap: who, slots: {who: [Ann, no one]}}
- {capability: praise, kind: functionality, texts: [great, not bad], label: good}
""",
    )
    rows = [{"text": "does not work"}, {"text": "fine"}, {"text": "不行"}]
    found = examine_behaviour(SaysNo(), rows, ["casing"], read_cases([path]), most_rows=10)
    counted = {item["capability"]: (item["cases"], item["failures"]) for item in count_failures(found)}
    assert counted == {"casing": (2, 1), "negation": (2, 0), "names": (1, 1), "praise": (2, 1)}
    failed = next(item for item in count_failures(found) if item["capability"] == "casing")
    assert failed["examples"] == [
        {"text": "does not work", "changed": "DOES NOT WORK", "before": "bad", "after": "good"}
    ]


def test_a_label_that_the_model_has_not_is_a_failed_case_with_its_reason(tmp_path):
    """The champion may be older than a label: a check of it must not stop the run that teaches it."""
    path = checks(
        tmp_path, "- {capability: a, kind: directional, texts: [x], changed: [y], label: gone, direction: up}"
    )
    [item] = count_failures(examine_behaviour(SaysNo(), [], [], read_cases([path]), 10))
    assert (item["cases"], item["failures"]) == (1, 1)
    assert item["examples"][0]["before"].endswith("(no label gone)")


def test_a_change_that_no_row_can_have_has_no_case_and_breaks_a_limit():
    rows = [{"text": "card"}]
    counted = count_failures(examine_behaviour(SaysNo(), rows, ["traditional"], [], 10), ["traditional"])
    assert [(item["capability"], item["cases"]) for item in counted] == [("traditional", 0)]
    finding = BehaviourFinding("traditional", 0, 0)
    assert [rule.passed for rule in behaviour_rules([finding], Gate())] == []
    assert [rule.passed for rule in behaviour_rules([finding], Gate(max_behaviour_failures=0.1))] == [False]


@pytest.mark.parametrize(
    ("check", "words"),
    [
        ('{capability: a, texts: ["I like {} a lot"], changed: [y]}', "there is no slot without a name"),
        ('{capability: a, texts: ["{0} asks"], changed: [y]}', "there is no slot without a name"),
        ("{capability: a, texts: [hello], swap: who, slots: {who: [Ann, Bo]}}", "not in the text 'hello'"),
        ("{capability: a, texts: [hello], changed: [hello]}", "'hello' is not changed"),
        (
            '{capability: a, texts: ["{a} {b} {c} {d}"], changed: ["{d}"], '
            "slots: {a: &m [1, 2, 3, 4, 5, 6, 7], b: *m, c: *m, d: *m}}",
            "make 2401 cases",
        ),
    ],
)
def test_a_check_that_could_not_fail_or_would_be_cut_is_named(tmp_path, check, words):
    quoted = check.replace("[1, 2, 3, 4, 5, 6, 7]", '["1", "2", "3", "4", "5", "6", "7"]')
    with pytest.raises(DataError, match=words):
        read_cases([checks(tmp_path, f"- {quoted}")])


def test_fillings_of_one_template_are_one_voice(tmp_path):
    ours, own = report(tmp_path / "a", [True] * 80 + [False] * 20, template="one")
    theirs, _ = report(tmp_path / "b", [True] * 100, template="one")
    [found] = compare_behaviour(ours, own, theirs)
    assert found.adjusted == pytest.approx(0.5)  # one coin


def test_a_capability_that_no_outcome_could_refuse_is_said_to_be_untested(tmp_path):
    """Of four templates even a loss of all four has p = 1/16."""
    for count, untested in ((4, True), (5, False)):
        ours, own = report(tmp_path / f"a{count}", [False] * count)
        theirs, _ = report(tmp_path / f"b{count}", [True] * count)
        found = compare_behaviour(ours, own, theirs)
        [rule] = behaviour_rules(found, Gate())
        assert found[0].has_too_few(0.05) is untested
        assert rule.passed is untested
        assert ("too few templates to test: typo" in rule.sentence) is untested
        content = {"behaviour": [as_json(each) for each in found], "confidence": 0.95}
        assert ("too few templates to test: 4" in "\n".join(_behaviour(content))) is untested


def report(folder: Path, passed: list[bool], template: str = "") -> tuple[EvaluationReport, dict]:
    import pandas as pd

    folder.mkdir()
    lines = [
        ("typo", "invariance", f"text {n}", f"txet {n}", "a", "a", ok, template or f"text {n}")
        for n, ok in enumerate(passed)
    ]
    columns = ["capability", "kind", "text", "changed", "before", "after", "passed", "template"]
    frame = pd.DataFrame(lines, columns=columns)
    frame.to_parquet(folder / "behaviour.parquet")
    made = EvaluationReport(folder, "a", "m", "rows", "text_classification", 10, "accuracy", {"accuracy": 1.0}, {})
    return made, {"behaviour": count_failures(frame)}


def test_the_gate_refuses_what_fails_too_often_and_what_has_become_worse(tmp_path):
    ours, own = report(tmp_path / "a", [True] * 90 + [False] * 10)
    theirs, _ = report(tmp_path / "b", [True] * 98 + [False] * 2)
    alone = list(behaviour_rules(compare_behaviour(ours, own, None), Gate()))
    assert [rule.passed for rule in alone] == [True]
    limited = list(behaviour_rules(compare_behaviour(ours, own, None), Gate(max_behaviour_failures=0.05)))
    assert "10 of 100 cases of typo failed (10.0%), at most 5.0% are allowed" in limited[0].sentence
    worse = list(behaviour_rules(compare_behaviour(ours, own, theirs), Gate()))
    assert (worse[0].name, worse[0].passed) == ("behaviour typo", False)
    assert "against 2 of the champion's: shown to be worse, p = 0.0039" in worse[0].sentence


def test_a_champion_that_was_tried_on_other_cases_is_not_compared(tmp_path):
    ours, own = report(tmp_path / "a", [False] * 20)
    theirs, _ = report(tmp_path / "b", [True] * 21)
    assert [rule.passed for rule in behaviour_rules(compare_behaviour(ours, own, theirs), Gate())] == [True]


def test_a_type_without_labels_and_scores_has_no_such_checks(tmp_path):
    content = {
        "name": "numbers",
        "task_type": "regression",
        "data": {"train": "a.csv"},
        "model": {"base": "x"},
        "evaluation": {"behaviour": {"invariant_to": ["typo"]}},
    }
    (tmp_path / "run.yaml").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="regression has no labels with scores; leave the key out"):
        read_run_file(tmp_path / "run.yaml")
