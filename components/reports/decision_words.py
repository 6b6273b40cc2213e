"""The decision as a person reads it: `decision.md`, and what `rebert explain` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST_SLICES = 20  # in the table; all of them are in decision.json
MANY_DECISIONS = 20  # on one set of frozen rows


def decision_in_words(content: Mapping[str, Any]) -> str:
    """The decision as markdown, from the content of `decision.json`."""
    rows = [
        f"# {'Promoted' if content['promote'] else 'Refused'}",
        "",
        content["reason"],
        "",
        *(_both(content) if content["champion_version"] else [f"Scored on {content['rows']:,} frozen rows."]),
        *_sight(content),
        *_holdout(content),
        "",
        "| rule | | numbers |",
        "|---|---|---|",
        *(f"| {r['name']} | {'passed' if r['passed'] else '**failed**'} | {r['sentence']} |" for r in content["rules"]),
        *_slices(content),
        *_gaps(content),
        *_behaviour(content),
        *_engines(content),
    ]
    return "\n".join(rows) + "\n"


def _both(content: Mapping[str, Any]) -> list[str]:
    return [
        f"| | candidate | champion (version {content['champion_version']}) |",
        "|---|---|---|",
        f"| {content['metric']} | {content['candidate_score']:.4f} | {_number(content['champion_score'])} |",
        f"| better than the other on rows | {_number(content['better_rows'])} | {_number(content['worse_rows'])} |",
        "",
        f"Scored on {content['rows']:,} frozen rows; the two differ on {content['disagreements']:,} of them "
        "(`disagreements.csv`).",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _sight(content: Mapping[str, Any]) -> Iterator[str]:
    """What these rows could have shown, so that "not shown" is not read as "equal"."""
    if content.get("detectable") is None:
        return
    seen, power = content["detectable"], content["power"]
    yield ""
    yield (
        f"At {1 - content['alpha']:.3g} confidence the true difference is above {content['lowest']:+.4f}. With these "
        f"rows a candidate passes {power:.0%} of the time if its true difference is {seen:+.4f}; smaller ones are "
        "overlooked more often. Not shown to be better does not mean equal."
    )
    needed = content.get("rows_needed")
    if needed and needed > content["rows"] and not content["promote"]:
        yield (
            f"A true difference as large as the one that was found, {content['difference']:+.4f}, would take about "
            f"{needed:,} frozen rows to show."
        )


def _holdout(content: Mapping[str, Any]) -> Iterator[str]:
    """How often these rows have decided: each time, what they say of the models that they chose is worth less."""
    earlier = content.get("earlier_decisions")
    if earlier is None or (content["champion_version"] is None and not earlier):
        return  # a first model, or a decision from before they were counted
    yield ""
    yield f"These frozen rows have decided {earlier:,} times before."
    meant = content.get("decisions_per_holdout")
    if meant:
        yield f"They were meant for {meant:,} decisions, and each of them has p-values up to {content['alpha']:.3g}."
    elif earlier >= MANY_DECISIONS:
        yield "That is often: the champion was chosen by them and looks too good on them. Renew them (data.test)."


def _slices(content: Mapping[str, Any]) -> Iterator[str]:
    found = sorted(content.get("slices", ()), key=lambda each: -1.0 if each["p_value"] is None else each["p_value"])
    if not found:
        return
    yield from ("", f"The slices, those that look worst first{_of(found)}:", "")
    yield from ("| slice | rows | candidate | champion | p of worse | after Holm |", "|---|---|---|---|---|---|")
    for each in found[:MOST_SLICES]:
        values = (each["candidate"], each["champion"], each["p_value"], each["adjusted"])
        yield f"| {each['name']} | {each['rows']} | {' | '.join(map(_number, values))} |"


def _of(found: list[Mapping[str, Any]]) -> str:
    return f" ({MOST_SLICES} of {len(found)})" if len(found) > MOST_SLICES else ""


def _gaps(content: Mapping[str, Any]) -> Iterator[str]:
    found = content.get("gaps", ())
    if not found:
        return
    yield from ("", f"How far apart the candidate's slices are, in {content['metric']} and in equalised odds:", "")
    yield from ("| sliced by | metric | odds |", "|---|---|---|")
    yield from (f"| {each['column']} | {each['metric']:.4f} | {_number(each['odds'])} |" for each in found)


def _behaviour(content: Mapping[str, Any]) -> Iterator[str]:
    found = content.get("behaviour", ())
    if not found:
        return
    yield from (
        "",
        "Behaviour, by what the model must be capable of (`evaluation/behaviour.parquet` has every case):",
        "",
    )
    yield from ("| capability | cases | failed | champion failed | p of worse, after Holm |", "|---|---|---|---|---|")
    for each in found:
        values = (each["capability"], each["cases"], each["failures"])
        templates = each.get("templates")
        few = templates is not None and 0.5**templates > 1 - content["confidence"]
        tested = f"too few templates to test: {templates}" if few else _number(each["adjusted"])
        yield f"| {' | '.join(map(str, values))} | {_number(each['champion_failures'])} | {tested} |"


def _engines(content: Mapping[str, Any]) -> Iterator[str]:
    found = content.get("engines", ())
    if not found:
        return
    yield from ("", "The engines that were tried to serve it:", "")
    yield from (f"| engine | | MB | ms a text | {content['metric']} | loss |", "|---|---|---|---|---|---|")
    for each in found:
        numbers = f"{each['megabytes']:.1f} | {each['milliseconds']:.2f} | {each['score']:.4f} | {each['loss']:+.4f}"
        yield f"| {each['engine']} | {'taken' if each['accepted'] else each['reason']} | {numbers} |"
