"""The monitor without a flow: what is measured, how windows are cut, what is an alarm, what is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.config import Monitor
from components.errors import ConfigError
from components.monitor_config import Thresholds
from components.monitoring.accuracy import Evidence, Judgement, add_judgements, read_judgements
from components.monitoring.comparison import Baselines, compare
from components.monitoring.judging import Look, Watched, learn, look
from components.monitoring.measuring import entropy, label_of
from components.monitoring.memory import CALM, Episode, Memory, recall, remember, verdict_of
from components.monitoring.monitor_plots import draw_look, pictures_in_markdown
from components.monitoring.monitor_report import report_content, report_in_words
from components.monitoring.projections import project_scores, project_tokens, score_directions, token_directions
from components.monitoring.reach import why_no_retraining
from components.monitoring.reference import Reference, Said, make_reference, read_reference
from components.monitoring.request_lines import find_logs, hash_texts, read_requests
from components.monitoring.samples import ROWS, table_of, window_of
from components.task_types import Windows, find_task_type
from tests.bundles import tiny_config

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SALT = b"salt"
Line = dict[str, Any]


def measured(generator: np.random.Generator, **changed: Any) -> Line:
    """One answered text as the log has it."""
    confidence = round(float(generator.beta(8, 2)), 4)
    row = {
        "characters": int(generator.integers(20, 80)),
        "hash": f"{generator.integers(1 << 60):016x}",
        "script": "Latin",
        "tokens": 12,
        "unknown": 0.0,
        "confidence": confidence,
        "label": str(generator.choice(["card", "fee", "refund"])),
        "entropy": round(1 - confidence, 4),
        "projection": [round(float(value), 3) for value in generator.normal(size=16)],
    }
    return {**row, **{name: value(generator) if callable(value) else value for name, value in changed.items()}}


def lines(
    count: int, *, seed: int = 0, start: int = 0, version: int = 1, status: int = 200, ms: float = 3, **changed: Any
) -> list[Line]:
    """Requests of one text each, a second apart."""
    generator = np.random.default_rng([seed, start + 1000, version])
    return [
        {
            "time": (NOW + timedelta(seconds=start + number)).isoformat(timespec="milliseconds"),
            "request": f"{seed}-{start + number}",
            "client": "",
            "page": "/predict",
            "status": status,
            "ms": round(ms * float(generator.lognormal(0, 0.2)), 2),
            "version": version,
            "rows": [measured(generator, **changed)] if status == 200 else [],
        }
        for number in range(count)
    ]


def write(path: Path, *parts: list[Line]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for part in parts for line in part))
    return path


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    folder = tmp_path / "reference"
    folder.mkdir()
    table_of(row for line in lines(1500, seed=99) for row in line["rows"]).to_parquet(folder / ROWS)
    return Reference(folder, "d" * 64, "torch", "frozen rows", 1500, 0.9)


@pytest.fixture
def subject(tmp_path: Path, reference: Reference) -> Callable[..., Watched]:
    """A model that is watched, with a log of these lines."""

    def made(*parts: list[Line], known: Reference | None = reference, **settings: Any) -> Watched:
        log = write(tmp_path / "logs" / "requests-shop.jsonl", *parts)
        log.with_suffix(".salt").write_bytes(SALT)
        kind = find_task_type("text_classification")
        feedback, monitor = tmp_path / "feedback.jsonl", Monitor(**{"min_rows": 100, **settings})
        return Watched("shop", 1, kind, monitor, [log], feedback, tmp_path / "monitor", known)

    return made


def judged(watched: Watched, memory: Memory | None = None) -> tuple[Look, Memory]:
    memory = memory or Memory(1)
    found = look(watched, memory)
    return found, learn(watched, memory, found)


def severities(found: Look) -> dict[tuple[str, str], str]:
    return {(each.measure, each.against): each.severity for each in found.findings}


# --- what is measured ------------------------------------------------------------------------------------------------
def test_entropy_is_that_of_shannon_as_a_share_of_the_largest():
    assert entropy([0.25] * 4) == pytest.approx(1)
    assert entropy([1.0, 0.0]) == 0
    assert entropy([0.5, 0.25, 0.125, 0.125]) == pytest.approx(1.75 / 2)  # Cover and Thomas, example 2.1.1
    assert entropy([0.5, 0.5, 0.5]) == pytest.approx(1)  # independent ones
    assert entropy([0.999, 0.001, 0.999]) < 0.02


def test_the_labels_of_a_row_are_one_word_and_unknown_ones_are_not_named():
    known = frozenset({"joy", "love"})
    assert label_of(["love", "joy"], known) == "joy + love"
    assert label_of(["my own secret label"], known) == "other"
    assert label_of([], known) == "none"


def test_projections_are_the_same_on_all_machines():
    """A literal: a reference from another machine, or another NumPy, must fit."""
    assert project_tokens([101, 2003, 102], token_directions(3000)) == pytest.approx(
        [-0.536, -0.628, 0.21, -1.081, 1.85, 1.714, 0.955, -0.775], abs=2e-3
    )
    assert project_scores([0.7, 0.2, 0.1], score_directions(3)) == pytest.approx(
        project_scores([0.07, 0.02, 0.01], score_directions(3)), abs=2e-3
    )  # a constant factor of all scores, which a temperature or a softmax leaves open, changes nothing


def test_the_reference_is_measured_as_the_endpoint_measures(support_model: Path, tmp_path: Path):
    import pandas as pd

    from components.models.inference import Predictor
    from components.monitoring.measuring import Meter

    texts = ["where is my card", "i want my money back", "你好"]
    pd.DataFrame({"text": texts, "label": ["card", "refund", "card"]}).to_parquet(tmp_path / "rows.parquet")
    predictor = Predictor.load(support_model)
    made = make_reference(predictor, support_model, "torch", tmp_path / "rows.parquet", tmp_path / "made")
    assert read_reference(tmp_path / "made") == made
    row = [{"text": texts[0]}]
    windows = predictor.encode(row)
    alone = Meter(predictor).measure(row, windows, predictor.predict(row))
    table = made.table()
    assert table["characters"].tolist() == [16, 20, 2]
    assert "text" not in table
    pd.testing.assert_frame_equal(table_of(alone), table[:1], check_dtype=False, atol=2e-3)


def test_drawn_rows_keep_their_windows_and_answers():
    rows = [{"text": str(number)} for number in range(100)]
    windows = Windows([{"input_ids": [row]} for row in range(100) for _ in range(2)], [row // 2 for row in range(200)])
    drawn = Said(rows, windows, [{"label": str(number)} for number in range(100)]).drawn(10)
    assert len(drawn.rows) == len(drawn.answers) == 10
    assert [row["text"] for row in drawn.rows] == [answer["label"] for answer in drawn.answers]
    assert drawn.windows.rows == [place // 2 for place in range(20)]
    read = [str(features["input_ids"][0]) for features in drawn.windows.features[::2]]
    assert read == [row["text"] for row in drawn.rows]


# --- the log ---------------------------------------------------------------------------------------------------------
def test_the_newest_requests_are_read_whatever_else_is_in_the_log(tmp_path: Path):
    path = write(tmp_path / "requests.jsonl", lines(5, start=10), lines(5, start=20, version=2))
    write(tmp_path / "requests.jsonl.1", lines(10))
    write(tmp_path / "requests.jsonl.2", lines(3, seed=7, start=-10))
    other = [{**line, "page": "/explain"} for line in lines(2, start=40)]
    with path.open("a") as file:
        file.write('{"half a line\n[1]\nnull\n' + "".join(json.dumps(line) + "\n" for line in other))
    found = read_requests([path], version=1)
    assert [request.time for request in found] == sorted(request.time for request in found)
    assert len(found) == 18
    assert len(read_requests([path], version=1, rows=7)) == 7
    assert read_requests([path], version=1, rows=7)[-1].time == found[-1].time
    assert len(read_requests([path], version=1, since=found[14].time)) == 3
    assert [len(read_requests([path], version=v)) for v in (2, 3)] == [5, 0]


def test_a_log_that_was_renamed_while_it_was_read_counts_once(tmp_path: Path):
    path = write(tmp_path / "requests.jsonl", lines(5))
    write(tmp_path / "requests.jsonl.1", lines(5))
    assert len(read_requests([path], version=1)) == 5


def test_batches_count_where_the_run_file_says_so(tmp_path: Path):
    path = write(tmp_path / "requests.jsonl", [{**line, "page": "/batch", "part": 1} for line in lines(4)], lines(3))
    assert [len(read_requests([path], version=1, batches=each)) for each in (False, True)] == [3, 7]


def test_logs_elsewhere_are_found_by_globs(tmp_path: Path):
    for name in ("a", "b"):
        write(tmp_path / name / "requests.jsonl", lines(2, seed=ord(name)))
    logs = find_logs(["*/requests.jsonl"], tmp_path / "own", tmp_path)
    assert len(read_requests(logs, version=1)) == 4
    with pytest.raises(ConfigError, match=r"monitor\.log"):
        find_logs(["c/*.jsonl"], tmp_path / "own", tmp_path)


def test_a_window_has_whole_requests_and_no_more_rows_than_asked_for(tmp_path: Path):
    path = write(tmp_path / "requests.jsonl", [{**line, "rows": line["rows"] * 3} for line in lines(10)])
    window = window_of(read_requests([path], version=1), 1, 7)
    assert (len(window.rows), len(window.requests)) == (6, 2)
    assert window.ended == lines(10)[-1]["time"]


# --- what is an alarm ------------------------------------------------------------------------------------------------
def test_traffic_like_the_reference_is_ok(subject):
    found, memory = judged(subject(lines(400)))
    assert found.verdict == "ok"
    assert {each.severity for each in found.findings} == {"ok"}
    assert (memory.windows, memory.until) == (1, lines(400)[-1]["time"])


@pytest.mark.parametrize(
    ("measure", "changed"),
    [
        ("labels", {"label": "card"}),
        ("confidence", {"confidence": lambda g: round(float(g.beta(4, 3)), 4)}),
        ("entropy", {"entropy": lambda g: round(float(g.beta(4, 3)), 4)}),
        ("length", {"characters": lambda g: int(g.integers(50, 110))}),
        ("unknown_tokens", {"unknown": lambda g: round(float(g.choice([0, 0.3])), 3)}),
        ("scripts", {"script": lambda g: str(g.choice(["Latin", "Han"], p=[0.8, 0.2]))}),
        ("texts", {"projection": lambda g: [round(float(v), 3) for v in g.normal(0.5, 1, size=16)]}),
    ],
)
def test_each_kind_of_change_is_an_alarm_about_itself(subject, measure, changed):
    found, _ = judged(subject(lines(400, **changed)))
    assert found.verdict == "alarm"
    alarmed = {each.measure for each in found.findings if each.severity == "alarm"}
    assert alarmed == {measure}
    assert found.reason.startswith("Changed: ")


def test_a_sure_change_that_is_small_is_no_alarm(subject):
    """Severity is by the effect: with many rows a small change is as sure as a large one."""
    changed = {"characters": lambda g: int(g.integers(24, 84))}
    found, _ = judged(subject(lines(6000, **changed), rows=6000))
    [length] = [each for each in found.findings if each.measure == "length"]
    assert length.corrected < 0.001
    assert (length.severity, found.verdict) == ("ok", "ok")


def test_half_of_the_threshold_is_watched(subject):
    changed = {"script": lambda g: str(g.choice(["Latin", "Han"], p=[0.93, 0.07]))}
    found, memory = judged(subject(lines(1000, **changed)))
    assert found.verdict == "watch"
    assert memory.episodes == {}


def test_a_large_effect_of_few_rows_is_no_alarm(subject):
    changed = {"script": lambda g: str(g.choice(["Latin", "Han"], p=[0.9, 0.1]))}
    found, _ = judged(subject(lines(100, start=3, **changed), known=None))
    assert found.verdict == "ok"


def test_p_values_are_corrected_for_all_tests_of_the_window(subject):
    found, _ = judged(subject(lines(400)))
    for each in found.findings:
        assert each.corrected >= min(1.0, each.p_value)
    smallest = min(found.findings, key=lambda each: each.p_value)
    assert smallest.corrected == pytest.approx(min(1.0, len(found.findings) * smallest.p_value))


def test_latency_and_errors_are_compared_with_the_first_good_window(subject):
    usual = lines(300)
    _, memory = judged(subject(usual))
    slow, failed = lines(300, start=400, ms=6), lines(30, seed=5, start=400, status=503)
    found, _ = judged(subject(usual, slow, failed), memory)
    by_measure = {each.measure: each for each in found.findings if each.severity == "alarm"}
    assert set(by_measure) == {"latency", "errors"}
    assert by_measure["latency"].effect == pytest.approx(1, abs=0.15)
    assert by_measure["errors"].against == "first good window"
    assert "30 of 330 requests" in by_measure["errors"].sentence


def test_requests_that_are_wrong_themselves_are_no_errors(subject):
    found, _ = judged(subject(lines(300), lines(60, seed=5, start=400, status=422)))
    assert found.verdict == "ok"


def test_an_endpoint_that_answers_nothing_is_an_alarm_from_its_first_window(subject):
    found, _ = judged(subject(lines(150, status=500)))
    assert found.verdict == "alarm"
    assert severities(found) == {("errors", "no errors"): "alarm"}


def test_the_last_good_window_is_a_baseline_and_a_bad_one_is_not(subject):
    first = lines(300, label=lambda g: str(g.choice(["card", "fee"])))
    _, memory = judged(subject(first, known=None))
    bad = lines(300, start=400, label="refund")
    found, memory = judged(subject(first, bad, known=None), memory)
    assert severities(found)["labels", "last good window"] == "alarm"
    again, _ = judged(subject(first, bad, lines(300, start=800, label="refund"), known=None), memory)
    assert severities(again)["labels", "last good window"] == "alarm"


def test_a_window_is_judged_once_and_too_few_new_texts_wait(subject):
    _, memory = judged(subject(lines(300)))
    found, same = look(subject(lines(300), lines(99, start=400)), memory), memory
    assert (found.verdict, found.reason) == (None, "99 new answered texts; monitor.min_rows is 100.")
    assert same == memory
    assert look(subject(lines(300), lines(100, start=400)), memory).window.rows.shape[0] == 100


def test_a_window_that_is_named_is_looked_at_again(subject):
    watched = subject(lines(300))
    _, memory = judged(watched)
    assert len(look(watched, memory, rows=120).window.rows) == 120
    assert len(look(watched, memory, since=lines(300)[249]["time"]).window.rows) == 50


def test_without_a_log_it_says_why(subject, tmp_path: Path):
    watched = subject([])
    watched.logs[0].unlink()
    assert "There is no request log" in look(watched, Memory(1)).reason


# --- accuracy --------------------------------------------------------------------------------------------------------
def test_feedback_is_about_the_answer_to_its_request_or_text(tmp_path: Path):
    path = write(tmp_path / "requests.jsonl", lines(3))
    rows = [{**line, "rows": [{**line["rows"][0], "hash": hash_texts([f"text {n}"], SALT)}]} for n, line in
            enumerate(lines(3, label="card"))]  # fmt: skip
    write(path, rows)
    said = [
        {"time": "2026-11-02T1", "version": 1, "request": "0-0", "text": "text 0", "label": "card"},
        {"time": "2026-11-02T2", "version": 1, "text": "text 1", "label": "fee"},
        {"time": "2026-11-02T3", "version": 1, "text": "text 1", "label": "card"},  # corrected again
        {"time": "2026-11-02T4", "version": 1, "text": "never asked", "label": "fee"},
        {"time": "2026-11-02T5", "version": 2, "text": "text 2", "label": "fee"},
    ]
    feedback = write(tmp_path / "feedback.jsonl", said)
    kind, requests = find_task_type("text_classification"), read_requests([path], version=1)
    found = read_judgements(feedback, requests, kind, SALT, version=1, since="")
    assert [each.right for each in found] == [True, True]
    assert read_judgements(feedback, requests, kind, SALT, version=1, since="2026-11-02T1") == found[1:]


def _with_feedback(tmp_path: Path, right: int, wrong: int) -> list[Line]:
    texts = [f"text {number}" for number in range(right + wrong)]
    asked = lines(len(texts), label="card")
    for line, text in zip(asked, texts, strict=True):
        line["rows"][0]["hash"] = hash_texts([text], SALT)
    said = [
        {"time": f"2026-11-02T{n:05}", "version": 1, "text": text, "label": "fee" if n % len(texts) < wrong else "card"}
        for n, text in enumerate(texts)
    ]
    write(tmp_path / "feedback.jsonl", said)
    return asked


def test_a_drop_of_the_accuracy_of_a_sample_retrains(subject, tmp_path: Path):
    asked = _with_feedback(tmp_path, right=150, wrong=150)
    found, memory = judged(subject(asked, known=subject([]).reference, feedback="sample"))
    [accuracy] = [each for each in found.findings if each.measure == "accuracy"]
    assert (found.verdict, accuracy.severity) == ("retrain", "alarm")
    assert accuracy.effect == pytest.approx(0.4)
    assert (memory.evidence.right, memory.evidence.wrong) == (150, 150)
    assert "50.0% of 300 answers were right" in accuracy.sentence


def test_an_accuracy_as_on_the_frozen_rows_is_no_alarm(subject, tmp_path: Path):
    found, _ = judged(subject(_with_feedback(tmp_path, right=270, wrong=30), feedback="sample"))
    [accuracy] = [each for each in found.findings if each.measure == "accuracy"]
    assert accuracy.severity == "ok"


def test_corrections_are_reported_and_not_taken_for_the_accuracy(subject, tmp_path: Path):
    found, _ = judged(subject(_with_feedback(tmp_path, right=0, wrong=200)))
    assert "accuracy" not in {each.measure for each in found.findings}
    assert "They are not judged" in report_in_words(found)


def test_corrections_are_no_evidence_once_a_sample_is_sent(subject, tmp_path: Path):
    asked = _with_feedback(tmp_path, right=0, wrong=200)
    _, memory = judged(subject(asked))
    assert memory.evidence.wrong == 200
    found, _ = judged(subject(asked, lines(300, start=400), feedback="sample"), memory)
    assert "accuracy" not in {each.measure for each in found.findings}


def test_without_a_reference_a_sample_is_not_judged_and_the_report_says_why(subject, tmp_path: Path):
    found, _ = judged(subject(_with_feedback(tmp_path, right=100, wrong=100), known=None, feedback="sample"))
    words = report_in_words(found)
    assert "They are not judged: there is no training reference" in words
    assert "set monitor.feedback" not in words


def test_feedback_alone_can_be_an_alarm_and_leaves_the_window_open(subject, tmp_path: Path):
    asked = _with_feedback(tmp_path, right=10, wrong=60)
    found, memory = judged(subject(asked, feedback="sample"))
    assert (found.verdict, found.whole) == ("retrain", False)
    assert (memory.windows, memory.until) == (0, "")
    assert list(memory.episodes) == ["accuracy"]


# --- what is remembered ----------------------------------------------------------------------------------------------
def test_an_alarm_is_one_event_until_it_has_been_calm_for_some_windows(subject):
    bad, good = (judged(subject(lines(300, **changed)))[0].findings for changed in ({"label": "card"}, {}))
    memory = Memory(1).after(bad, "t1")
    assert memory.untold() == ["labels"]
    event = memory.event(["labels"])
    memory = memory.told(["labels"])
    for ended, findings in (("t2", bad), ("t3", good), ("t4", bad), *((f"t{5 + n}", good) for n in range(CALM - 1))):
        memory = memory.after(findings, ended)
        assert memory.untold() == []
        assert memory.event(["labels"]) == event
    assert memory.after(good, "t9").episodes == {}
    assert memory.after(good, "t9").after(bad, "t10").untold() == ["labels"]


def test_what_was_not_told_is_told_the_next_time(subject):
    bad = judged(subject(lines(300, label="card")))[0].findings
    memory = Memory(1).after(bad, "t1").after(bad, "t2")
    assert memory.untold() == ["labels"]
    assert memory.event(["labels"]) == "version 1: labels since t1"


def test_a_new_version_begins_anew_and_damage_is_nothing(tmp_path: Path):
    evidence = add_judgements(Evidence(), [Judgement(f"t{number:02}", True) for number in range(60)])
    memory = Memory(3, "t", 7, {"labels": Episode("t", 1, True)}, evidence)
    remember(tmp_path, memory)
    assert recall(tmp_path, 3) == memory
    assert recall(tmp_path, 4) == Memory(4)
    (tmp_path / "state.json").write_text('{"version": 3')
    assert recall(tmp_path, 3) == Memory(3)


def test_the_verdict_is_the_gravest_finding(subject):
    bad = judged(subject(lines(300, label="card")))[0].findings
    assert verdict_of(bad, ["accuracy"]) == "alarm"
    assert verdict_of(bad, ["labels"]) == "retrain"
    assert verdict_of([], ["labels"]) == "ok"


def test_a_report_is_complete_in_words_as_json_and_in_pictures(subject, tmp_path: Path):
    _, memory = judged(subject(lines(300)))
    found, _ = judged(subject(lines(300), lines(300, start=400, label="card", ms=9)), memory)
    words = report_in_words(found, "Somebody was told.")
    assert words.startswith("# shop version 1: alarm")
    assert "| **alarm** | share of labels | training reference (1,500) |" in words
    assert "**Somebody was told.**" in words
    assert "Window 2: 300 answered texts in 300 requests" in words
    content = json.loads(json.dumps(report_content(found)))
    assert content["verdict"] == "alarm"
    assert {each["measure"] for each in content["findings"]} >= {"labels", "latency", "errors", "texts"}
    drawn = draw_look(found, tmp_path / "drawn")
    assert [path.name for path in drawn] == ["effects.png", "distributions.png", "labels.png"]
    shown = pictures_in_markdown(drawn)
    assert shown.count("](data:image/png;base64,iVBOR") == 3  # a PNG begins so
    assert len(shown) < 400_000


def test_a_window_without_anything_in_common_with_its_baseline_is_no_crash(subject):
    watched = subject(lines(300))
    requests = read_requests(watched.logs, version=1)
    window = window_of(requests, 1, 300)
    assert compare(window, Baselines(), Monitor())[0].measure == "errors"
    assert compare(window, Baselines(reference=window.rows[["tokens"]]), Monitor())[0].measure == "errors"


@pytest.mark.parametrize(
    ("task_type", "monitor", "why"),
    [
        ("text_classification", {}, "judged only with monitor.feedback: sample"),
        ("token_classification", {"feedback": "sample"}, "models of the type token_classification have none"),
        ("text_classification", {"feedback": "sample"}, ""),
        ("text_classification", {"retrain_on": ["accuracy", "texts"]}, ""),
        ("text_classification", {"retrain_on": []}, ""),
        ("text_classification", {"every_hours": None}, ""),
    ],
)
def test_a_monitor_that_can_never_retrain_is_said_when_the_run_is_planned(task_type, monitor, why):
    section = Monitor(**{"every_hours": 24, **monitor})
    found = why_no_retraining(tiny_config().model_copy(update={"task_type": task_type, "monitor": section}))
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cron": "0 6 * * *", "every_hours": 24}, "exclude each other"),
        ({"retrain_on": ["latency"]}, "no training mends latency"),
        ({"min_rows": 500, "rows": 300}, "min_rows must not be more than rows"),
        ({"thresholds": {"lables": 1}}, "lables"),
        *(({"thresholds": {name: 0}}, "greater than 0") for name in Thresholds.model_fields),
    ],
)
def test_a_wrong_section_is_one_sentence(wrong, why):
    with pytest.raises(ValidationError, match=why):
        Monitor(**wrong)
