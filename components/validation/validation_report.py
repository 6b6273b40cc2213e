"""The report of a validation for people and programs: `validation.md`, `validation.html`, `validation.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from components.config import RunConfig
from components.digests import canonical
from components.records import SPLITS, CheckResult, as_json
from components.step_store import write_whole
from components.validation.checks import either
from components.validation.feedback_words import feedback_in_words

SHOWN_LABELS = 50
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d2733;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.4rem .6rem;
border-bottom:1px solid #e3e8ee;overflow-wrap:anywhere}th{font-weight:600;color:#5b6876}
.verdict{padding:.6rem 1rem;border-radius:.4rem;background:#e7f6ec}.verdict.bad{background:#fdeaea}
.mark{white-space:nowrap;font-weight:600}.passed{color:#1a7f43}.stop{color:#c02626}.quarantine{color:#a15c00}
.warn{color:#7a6500}.hint{color:#5b6876}.bar{background:#7aa7d9;height:.7rem;border-radius:.2rem}
td.number{text-align:right;white-space:nowrap}td:first-child,th{white-space:nowrap;overflow-wrap:normal}
@media(prefers-color-scheme:dark){body{background:#14191f;color:#dbe2ea}td,th{border-color:#2b343f}
.verdict{background:#15301f}.verdict.bad{background:#3a1a1a}.passed{color:#5fd08a}.stop{color:#ff8080}
.quarantine,.warn{color:#e5b567}}
"""


@dataclass(frozen=True, slots=True)
class Content:
    """What is reported beside the checks.

    `rows` are the usable rows by split, empty if they could not be divided; `labels` those of each label by split,
    empty also where there is no set of labels. `aside` counts rows that do not go on, `failing` names the failing rows
    of each check as `file:line`, `digests` has the SHA-256 of each data file. `feedback` counts the corrections by what
    became of them, empty where none were asked for.
    """

    rows: Mapping[str, int]
    labels: Sequence[Counter[str]]
    aside: int
    failing: Mapping[str, Sequence[str]]
    digests: Mapping[str, str]
    feedback: Mapping[str, int] = field(default_factory=dict)


def write_report(config: RunConfig, results: Sequence[CheckResult], content: Content, folder: Path) -> None:
    """Write the three forms of the report; `results` are the checks, failed ones first."""
    whole = {
        "name": config.name,
        "accepted": not _stopped(results),
        "rows": dict(content.rows),
        "quarantined_rows": content.aside,
        "labels": {split: dict(count) for split, count in zip(SPLITS, content.labels, strict=False)},
        "feedback": dict(content.feedback),
        "sources": dict(content.digests),
        "checks": [as_json(result) | {"failing": list(content.failing.get(result.name, ()))} for result in results],
    }
    write_whole(folder / "validation.json", canonical(whole))
    write_whole(folder / "validation.md", _markdown(config.name, results, content))
    write_whole(folder / "validation.html", _html(config.name, results, content))


def _stopped(results: Sequence[CheckResult]) -> bool:
    return any(not result.passed and result.severity == "stop" for result in results)


def _verdict(results: Sequence[CheckResult]) -> str:
    failed = Counter(result.severity for result in results if not result.passed)
    if failed["stop"]:
        names = ", ".join(each.name for each in results if not each.passed and each.severity == "stop")
        stop = either(failed["stop"], "stops", "stop")
        return f"Rejected: {failed['stop']} of {len(results)} checks {stop} it: {names}."
    notes = f", {failed['warn']} with a warning" if failed["warn"] else ""
    return f"Accepted: {sum(result.passed for result in results)} of {len(results)} checks passed{notes}."


def _mark(result: CheckResult) -> str:
    if result.passed:
        return "passed"
    return f"{result.severity}, not evaluated" if result.errored else result.severity


def _size(content: Content) -> str:
    usable = ", ".join(f"{count:,} {split}" for split, count in content.rows.items()) or "not known"
    return f"Usable rows: {usable}. Set aside: {content.aside:,} (quarantine.jsonl). {_feedback(content)}".rstrip()


def _feedback(content: Content) -> str:
    sentence = feedback_in_words(content.feedback)
    return f"{sentence[:-1]} (feedback.jsonl)." if sentence else ""


def _markdown(name: str, results: Sequence[CheckResult], content: Content) -> str:
    lines = [f"# Validation of {name}", "", f"**{_verdict(results)}** {_size(content)}", ""]
    lines += ["| check | result | rows | finding | to do |", "|---|---|---:|---|---|"]
    lines += [
        f"| {_cell(each.name)} | {_mark(each)} | {each.rows:,} | {_cell(each.sentence)} | {_cell(each.hint)} |"
        for each in results
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text from data inside a Markdown table: no cell, markup or link may begin in it."""
    plain = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "|*_`[]\\" else sign for sign in plain)


def _html(name: str, results: Sequence[CheckResult], content: Content) -> str:
    bad = " bad" if _stopped(results) else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Validation of {escape(name)}</title><style>{STYLE}</style></head><body>
<h1>Validation of {escape(name)}</h1>
<p class="verdict{bad}"><strong>{escape(_verdict(results))}</strong> {escape(_size(content))}</p>
<h2>Checks</h2>
<table><tr><th>check</th><th>result</th><th>rows</th><th>finding</th></tr>
{"".join(map(_check_row, results))}</table>
{_label_table(content.labels)}</body></html>
"""


def _check_row(result: CheckResult) -> str:
    kind = "passed" if result.passed else result.severity
    hint = f'<div class="hint">To do: {escape(result.hint)}</div>' if result.hint else ""
    return (
        f'<tr><td>{escape(result.name)}</td><td class="mark {kind}">{escape(_mark(result))}</td>'
        f'<td class="number">{result.rows:,}</td><td>{escape(result.sentence)}{hint}</td></tr>\n'
    )


def _label_table(counts: Sequence[Counter[str]]) -> str:
    if not counts or not counts[0]:
        return ""
    most = max(counts[0].values())
    shown = counts[0].most_common(SHOWN_LABELS)
    rows = "".join(
        f"<tr><td>{escape(label)}</td>"
        + "".join(f'<td class="number">{count[label]:,}</td>' for count in counts)
        + f'<td style="width:40%"><div class="bar" style="width:{100 * number / most:.1f}%"></div></td></tr>\n'
        for label, number in shown
    )
    heads = "".join(f"<th>{split}</th>" for split in SPLITS)
    rest = f"<p>and {len(counts[0]) - SHOWN_LABELS} more labels</p>" if len(counts[0]) > SHOWN_LABELS else ""
    return f"<h2>Labels</h2>\n<table><tr><th>label</th>{heads}<th></th></tr>\n{rows}</table>{rest}\n"
