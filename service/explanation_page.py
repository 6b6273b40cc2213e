"""An explanation as a page to read: the text with its words coloured by what they added. No script, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STRONGEST = 0.55  # opacity of the colour of the word that weighs most
FOR, AGAINST = "20, 130, 90", "200, 60, 40"  # red, green, blue

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Why {label}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 17px/1.7 system-ui, sans-serif; max-width: 46rem; margin: 2.5rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.35rem; margin-bottom: .2rem }}
.text {{ white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.15rem; margin: 1.2rem 0 }}
.text span {{ border-radius: .25em; padding: .1em .15em }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .15rem .8rem .15rem 0; font-variant-numeric: tabular-nums }}
td.bar {{ width: 40% }}
td.bar div {{ height: .8em; border-radius: .2em }}
small, .note {{ opacity: .75; font-size: .85rem }}
</style>
</head>
<body>
<h1>{label}: {score}</h1>
<p class="note">{model}, version {version}. Without any word it says {baseline}; the words together make the
difference of {difference}.</p>
{texts}
<table><thead><tr><th>words</th><th>weight</th><th></th></tr></thead><tbody>
{rows}
</tbody></table>
<p class="note">Green words speak for it, red ones against. A weight is what the score gains on average when the word
joins the others; all weights add up to the difference. {certainty}</p>
</body>
</html>
"""


def explanation_page(content: Mapping[str, Any], row: Mapping[str, Any], inputs: Sequence[str]) -> bytes:
    """The page of what `POST /explain` answers, for a row with these texts."""
    words: Sequence[Mapping[str, Any]] = content["words"]
    largest = max((abs(word["weight"]) for word in words), default=0.0) or 1.0
    texts = [_text(row[name], [word for word in words if word["input"] == name], largest) for name in inputs]
    ranked = sorted(words, key=lambda word: -abs(word["weight"]))
    page = PAGE.format(
        label=escape(content["label"]),
        score=_number(content["score"]),
        baseline=_number(content["baseline"]),
        difference=_signed(content["score"] - content["baseline"]),
        model=escape(content["model"]),
        version=content["version"],
        texts="\n".join(texts),
        rows="\n".join(_row(word, largest) for word in ranked),
        certainty=_certainty(content),
    )
    return page.encode()


def _text(text: str, words: Sequence[Mapping[str, Any]], largest: float) -> str:
    pieces, place = [], 0
    for word in words:
        pieces.append(escape(text[place : word["start"]]))
        shown, weight = escape(text[word["start"] : word["end"]]), word["weight"]
        style = f"background: {_colour(weight, largest)}"
        pieces.append(f'<span style="{style}" title="{_signed(weight)}">{shown}</span>')
        place = word["end"]
    return f'<p class="text">{"".join(pieces)}{escape(text[place:])}</p>'


def _row(word: Mapping[str, Any], largest: float) -> str:
    width = round(100 * abs(word["weight"]) / largest)
    error = f" <small>± {word['error']:.3f}</small>" if word["error"] else ""
    bar = f'<div style="width: {width}%; background: {_colour(word["weight"], abs(word["weight"]) or 1.0)}"></div>'
    shown = escape(word["text"] if len(word["text"]) <= 60 else f"{word['text'][:58]} …")
    return f'<tr><td>{shown}</td><td>{_signed(word["weight"])}{error}</td><td class="bar">{bar}</td></tr>'


def _colour(weight: float, largest: float) -> str:
    return f"rgba({FOR if weight > 0 else AGAINST}, {STRONGEST * abs(weight) / largest:.3f})"


def _certainty(content: Mapping[str, Any]) -> str:
    if content["exact"]:
        return f"All {content['versions']} versions of the text were asked about."
    return f"Estimated from {content['versions']} versions of the text; ± is one standard error."


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"
