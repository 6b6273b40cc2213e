from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.entities.text_units import LONGEST, borders_keep_words, split_units


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in split_units(text)]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("It's 5pm, OK?", ["It", "'", "s", "5pm", ",", "OK", "?"]),
        ("李开复在G20峰会", ["李", "开", "复", "在", "G20", "峰", "会"]),
        ("ＡＢＣ公司 ３号", ["ＡＢＣ", "公", "司", "３", "号"]),
        ("cafe\u0301 na\u0131\u0308ve", ["cafe\u0301", "na\u0131\u0308ve"]),
        ("👩‍👩‍👧‍👦👍🏽🇨🇳🇩🇪❤️1️⃣", ["👩‍👩‍👧‍👦", "👍🏽", "🇨🇳", "🇩🇪", "❤️", "1️⃣"]),
        ("东京タワー서울 กรุง", ["东", "京", "タ", "ワ", "ー", "서울", "ก", "รุ", "ง"]),
        ("\u200b \ufeff\u3000\n\x00", []),
        ("soft\u00adhyphen می\u200cخواهم", ["soft\u00adhyphen", "می\u200cخواهم"]),
        ("", []),
    ],
)
def test_units_of_many_scripts(text: str, units: list[str]):
    assert words_of(text) == units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("U.S.-based, in the U.S. I.D.E.A.", ["U.S.-based", ",", "in", "the", "U.S.", "I.D.E.A."]),
        ("George W. Bush at AT&T", ["George", "W.", "Bush", "at", "AT&T"]),
        ("O'Brien's don’t", ["O'Brien", "'", "s", "don", "’", "t"]),
        ("3:15, 1,000 a,b and/or", ["3:15", ",", "1,000", "a", ",", "b", "and/or"]),
        ("wait...what (Paris) end.", ["wait", ".", ".", ".", "what", "(", "Paris", ")", "end", "."]),
        ("北京-上海 x - y", ["北", "京", "-", "上", "海", "x", "-", "y"]),
    ],
)
def test_whole_words_keep_the_marks_inside_them(text: str, units: list[str]):
    assert [text[start:end] for start, end in split_units(text, words=True)] == units


@given(st.text(max_size=60) | st.text("aB1.-'’&:,s 中", max_size=60))
def test_whole_words_are_made_of_whole_units(text: str):
    fine, words = split_units(text), split_units(text, words=True)
    assert {start for start, _ in words} <= {start for start, _ in fine}
    assert {end for _, end in words} <= {end for _, end in fine}
    assert "".join(text[slice(*unit)] for unit in words) == "".join(text[slice(*unit)] for unit in fine)
    assert all(end - start <= LONGEST + 1 for start, end in words)


def test_rows_say_whether_entities_keep_words_whole():
    whole = [("in Goma-Bukavu now", [(3, 14, "LOC")])] * 10
    assert borders_keep_words(whole)
    assert not borders_keep_words(whole[1:])  # too few to follow anything from
    assert not borders_keep_words([*whole, ("in Goma-Bukavu now", [(3, 7, "LOC")])])
    assert not borders_keep_words([("in Goma, Zaïre now", [(3, 15, "LOC")])] * 100)  # no word of several units


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("aé\u0301中🏽👍\u200d\u200c 🇨🇳.\ufe0f", max_size=60))
def test_units_are_ordered_and_leave_out_only_what_nobody_sees(text: str):
    units = split_units(text)
    borders = [border for unit in units for border in unit]
    assert borders == sorted(borders)
    assert all(0 < end - start <= 2 * LONGEST for start, end in units)
    covered = {place for start, end in units for place in range(start, end)}
    left = "".join(sign for place, sign in enumerate(text) if place not in covered)
    assert not any(sign.isalnum() for sign in left)


def test_a_hundred_thousand_letters_are_several_units():
    assert len(split_units("a" * 100_000)) == -(-100_000 // LONGEST)
    assert max(end - start for start, end in split_units("é\u0301" + "\u0301" * 10_000)) <= 2 * LONGEST
