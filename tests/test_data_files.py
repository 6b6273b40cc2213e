"""Files are read strictly: nothing is guessed, shifted or dropped, and what cannot be read says what it is."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data.csv_rows import LONGEST_RECORD_LINES
from components.data.data_files import columns_of, find_files, read_rows
from components.data.rows import BATCH_ROWS, LINE
from components.data.text_lines import guess_encoding
from components.errors import DataError

HEADER = "text,label\n"


def read(path, columns=("text", "label")):
    return read_rows(path, {column: "text" if column == "text" else "word" for column in columns})


def cells(rows, column="text"):
    return rows.table[column].to_pylist()


@pytest.fixture
def csv_file(tmp_path):
    def write(content, name="reviews.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def jsonl_file(csv_file):
    return lambda content: csv_file(content, "reviews.jsonl")


def test_words_that_look_like_nothing_or_numbers_stay_words(csv_file):
    rows = read(csv_file(HEADER + "None,NA\nnull,nan\n007,1.0\n1e3,true\n,\n"))
    assert cells(rows) == ["None", "null", "007", "1e3", ""]
    assert cells(rows, "label") == ["NA", "nan", "1.0", "true", ""]


def test_quoted_cells_keep_commas_quotes_and_line_ends(csv_file):
    rows = read(csv_file(HEADER + '"a, ""b""\nc",x\nd,y\n'))
    assert cells(rows) == ['a, "b"\nc', "d"]
    assert cells(rows, LINE) == [2, 4]


def test_unicode_line_separators_end_no_row(csv_file, jsonl_file):
    assert cells(read(csv_file(HEADER + "a\u2028b\x85c\x0cd,x\n"))) == ["a\u2028b\x85c\x0cd"]
    assert cells(read(jsonl_file('{"text": "a\u2028b\x85c", "label": "x"}\n'))) == ["a\u2028b\x85c"]


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(csv_file):
    rows = read(csv_file(b"\xef\xbb\xbftext,label\r\na,x\r\nb,y\r\n"))
    assert (cells(rows), cells(rows, "label")) == (["a", "b"], ["x", "y"])


@pytest.mark.parametrize(("name", "sign"), [("reviews.tsv", "\t"), ("reviews.csv", ";"), ("reviews.csv", "\t")])
def test_tabs_and_semicolons_separate_too(csv_file, name, sign):
    rows = read(csv_file(f"text{sign}label\na, b{sign}x\n", name))
    assert cells(rows) == ["a, b"]


def test_a_row_with_too_many_or_too_few_cells_is_named_and_shifts_nothing(csv_file):
    rows = read(csv_file(HEADER + "a,x,more\nb\nc,y\n"))
    assert cells(rows) == ["c"]
    assert [(bad.line, bad.reason) for bad in rows.bad] == [
        (2, "3 cells, the header has 2"),
        (3, "1 cell, the header has 2"),
    ]


def test_halves_of_utf16_pairs_are_told_from_other_encodings():
    assert guess_encoding("好 \ud83d half".encode(errors="surrogatepass")) == "CESU-8"
    assert guess_encoding("café, naïve".encode("cp1252")) == "WINDOWS-1252"


def test_an_open_quote_costs_its_own_row_alone(csv_file):
    rows = read(csv_file(HEADER + 'a,x\n"open,x\nb,y\n"c, d",y\ne,x\n'))
    assert cells(rows) == ["a", "b", "c, d", "e"]
    assert [bad.line for bad in rows.bad] == [3]
    assert "not closed" in rows.bad[0].reason


def test_an_open_quote_at_the_end_costs_its_own_row_alone(csv_file):
    rows = read(csv_file(HEADER + 'a,x\n"open,x\nb,y\nc,y'))
    assert cells(rows) == ["a", "b", "c"]


def test_an_open_quote_in_a_long_file_does_not_swallow_it(csv_file):
    count = LONGEST_RECORD_LINES * 3
    rows = read(csv_file(HEADER + '"open,x\n' + "a,y\n" * count))
    assert (len(rows.table), [bad.line for bad in rows.bad]) == (count, [2])


def test_blank_lines_are_no_rows(csv_file, jsonl_file):
    assert cells(read(csv_file(HEADER + "\na,x\n\n\n"))) == ["a"]
    assert cells(read(jsonl_file('\n{"text": "a", "label": "x"}\n  \n'))) == ["a"]


def test_more_rows_than_a_batch_keep_their_order(csv_file):
    count = BATCH_ROWS + 10
    rows = read(csv_file(HEADER + "".join(f"{number},x\n" for number in range(count))))
    assert cells(rows) == [str(number) for number in range(count)]
    assert cells(rows, LINE) == list(range(2, count + 2))


def test_a_cell_of_five_megabytes_is_read_whole(csv_file, jsonl_file):
    text = "long " * 1_000_000
    assert cells(read(csv_file(f'{HEADER}"{text}",x\n'))) == [text]
    assert cells(read(jsonl_file(json.dumps({"text": text, "label": "x"})))) == [text]


def test_lines_that_are_not_utf8_are_named_with_their_byte_and_likely_encoding(csv_file):
    rows = read(csv_file(b"text,label\nfine,x\ncaf\xe9 au lait,y\n"))
    assert cells(rows) == ["fine"]
    assert [(bad.line, bad.kind, bad.reason) for bad in rows.bad] == [
        (3, "encoding", "byte 0xE9 at offset 21 is not UTF-8")
    ]
    assert rows.encoding == "WINDOWS-1252"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("GB18030", "服务很好，房间干净，下次还会再来"),
        ("GB18030", "这个手机的电池不行，用了一天就没有电了"),
        ("BIG5", "服務很好，房間乾淨，下次還會再來的"),
        ("SHIFT_JIS", "とてもよいホテルでした。また来ます"),
        ("EUC-KR", "방이 깨끗하고 직원이 친절했습니다"),
        ("WINDOWS-1252", "très agréable, à bientôt, Größe übrig"),
    ],
)
def test_another_encoding_is_recognised(csv_file, encoding, text):
    line = text.encode(encoding.replace("WINDOWS-", "cp")) + b",x\n"
    assert read(csv_file(b"text,label\n" + line * 5)).encoding == encoding


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (HEADER.encode(), "holds no rows"),
        (HEADER.encode("utf-16"), "not UTF-8 but UTF-16: it starts with the byte order mark FF FE"),
        ((HEADER + "a,x\n").encode("utf-16-le"), "UTF-16LE without a byte order mark: byte 1 is 0"),
        ((HEADER + "a,x\n").encode("utf-32"), "UTF-32"),
        (gzip.compress(HEADER.encode()), "compressed by gzip"),
        (bz2.compress(HEADER.encode()), "compressed by bzip2"),
        (lzma.compress(HEADER.encode()), "compressed by xz"),
        (b"PAR1....", "a Parquet file"),
        (b"%PDF-1.7", "a PDF"),
        (bytes(range(256)) * 8, "binary data"),
        (b" <!DOCTYPE html><html><title>404 Not Found</title>", "a web page or XML titled '404 Not Found'"),
        (b"<?xml version='1.0'?><Error/>", "a web page or XML"),
        (b"text,label\ra,x\rb,y\r", "ends its lines with CR alone"),
        (b"text,text,label\na,b,x\n", "more than one column 'text'"),
        (b"caf\xe9,label\na,x\n", "no readable header: byte 0xE9 at offset 3 is not UTF-8"),
        (b'"text,label\na,x\n', "the header cannot be read"),
        (b"\na,x\n", "its first line is blank"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_csv_says_what_it_is(csv_file, content, said):
    with pytest.raises(DataError) as caught:
        read(csv_file(content))
    assert said in caught.value.problem
    assert caught.value.hint.endswith(".")


def test_an_excel_workbook_says_so(tmp_path):
    path = tmp_path / "reviews.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match="Excel workbook"):
        read(path)


def test_a_missing_column_lists_those_that_are_there_and_the_likely_ones(csv_file):
    with pytest.raises(DataError) as caught:
        read(csv_file("id,sentence,sentiment\n1,a,x\n"))
    assert (
        caught.value.problem == "reviews.csv has no column 'text' and 'label'; it has: 'id', 'sentence', 'sentiment'."
    )
    assert "'sentence' for 'text' and 'sentiment' for 'label'" in caught.value.hint


def test_padded_or_capital_names_are_to_be_renamed(csv_file):
    with pytest.raises(DataError) as caught:
        read(csv_file(' Text,"LABEL "\na,x\n'))
    assert caught.value.hint == "rename ' Text' to 'text' and 'LABEL ' to 'label' (no spaces, same case)."


@pytest.mark.parametrize("row", ["she never lets her character become a caricature,good", "这家酒店的服务非常好,good"])
def test_a_missing_header_is_recognised(csv_file, row):
    with pytest.raises(DataError, match="the header is missing") as caught:
        read(csv_file(f"{row}\nanother,bad\n"))
    assert "text,label" in caught.value.hint


def test_json_lines_that_are_no_objects_are_named_with_a_reason(jsonl_file):
    lines = ['{"text": "a", "label": "x"}', '{"text": "b', "[1]", '"c"', '{"text": "d"} {"text": "e"}', "{text: 1}"]
    lines += ['{"text": "f", "text": "g", "label": "x"}', "[" * 100_000, "7", '{"text": "h", "label": "y"}']
    rows = read(jsonl_file("\n".join(lines)))
    assert cells(rows) == ["a", "h"]
    reasons = {bad.line: bad.reason for bad in rows.bad}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert reasons[2] == "the line is cut off: its JSON does not end"
    assert reasons[3] == "a list, not an object"
    assert reasons[5] == "more than one JSON value in the line, the second at column 15"
    assert reasons[7] == "the key 'text' stands there twice"
    assert reasons[8] == "nested too deeply"


def test_a_value_that_is_no_text_is_kept_apart_and_a_number_as_label_is_its_word(jsonl_file):
    rows = read(
        jsonl_file('{"text": 12, "label": 0}\n{"text": ["a"], "label": true}\n{"label": ["x"]}\n{"text": null}\n')
    )
    assert cells(rows) == [None] * 4
    assert cells(rows, "label") == ["0", "true", None, None]
    odd = [(value.row, value.column, value.kind, value.original) for value in rows.odd]
    assert odd == [
        (0, "text", "a number", 12),
        (1, "text", "a list", ["a"]),
        (2, "label", "a list", ["x"]),
    ]


def test_nan_is_a_missing_value(jsonl_file):
    rows = read(jsonl_file('{"text": NaN, "label": NaN}\n{"text": "NaN", "label": "nan"}\n'))
    assert (cells(rows), cells(rows, "label")) == ([None, "NaN"], [None, "nan"])


def test_half_a_character_is_mended_and_named(jsonl_file):
    rows = read(jsonl_file('{"text": "ok", "label": "x"}\n{"text": "bad \\ud83d", "label": "x"}\n'))
    assert cells(rows) == ["ok", "bad \ufffd"]
    assert [(value.row, value.kind) for value in rows.odd] == [(1, "half a character (a lone surrogate)")]


@pytest.mark.parametrize("content", ['[{"text": "a"},\n{"text": "b"}]', '[\n{"text": "a"}]', '{\n"text": "a"\n}'])
def test_one_json_document_is_told_apart_from_json_lines(jsonl_file, content):
    with pytest.raises(DataError, match="not one object a line"):
        read(jsonl_file(content))


def test_parquet_keeps_words_and_reads_number_labels_as_words(tmp_path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": pa.array(["007", None]).dictionary_encode(), "label": [1, 0]}), path)
    rows = read(path)
    assert (cells(rows), cells(rows, "label"), cells(rows, LINE)) == (["007", None], ["1", "0"], [1, 2])
    assert columns_of(path) == ["text", "label"]


def test_a_parquet_column_of_numbers_is_no_text(tmp_path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": [1.5], "label": ["x"]}), path)
    with pytest.raises(DataError, match="holds double, not text"):
        read(path)


def test_a_torn_parquet_file_is_an_error(tmp_path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"text": ["a"] * 100, "label": ["x"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        read(path)


def test_globs_name_files_once_and_sorted(tmp_path):
    for name in ("b.csv", "a.csv", "c.jsonl"):
        (tmp_path / name).write_text(HEADER)
    found = find_files(["b.csv", "*.csv", "*.jsonl"], tmp_path)
    assert [path.name for path in found] == ["b.csv", "a.csv", "c.jsonl"]


def test_a_name_with_brackets_is_a_file_and_no_glob(tmp_path):
    (tmp_path / "rows[1].csv").write_text(HEADER)
    assert [path.name for path in find_files(["rows[1].csv"], tmp_path)] == ["rows[1].csv"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("review.csv", "did you mean 'reviews.csv'?"),
        ("far/away.csv", "nor its folder"),
        ("*.tsv", "data files there: reviews.csv"),
        ("inner", "is a folder"),
        ("notes.txt", "is of no known kind"),
    ],
)
def test_a_path_that_names_no_data_file_says_what_is_there(tmp_path, pattern, said):
    (tmp_path / "reviews.csv").write_text(HEADER)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError) as caught:
        find_files([pattern], tmp_path)
    assert said in caught.value.problem


def test_a_json_column_keeps_lists_objects_and_numbers_as_json_text(jsonl_file, csv_file, tmp_path):
    lines = '{"tags": ["é", 1]}\n{"tags": {"b": 1, "a": [true]}}\n{"tags": 2.0}\n{"tags": "[1]"}\n{"tags": null}\n'
    words = ['["é", 1]', '{"a": [true], "b": 1}', "2.0", "[1]", None]
    assert cells(read_rows(jsonl_file(lines), {"tags": "json"}), "tags") == words
    assert cells(read_rows(csv_file('tags\n"[""é"",1]"\n'), {"tags": "json"}), "tags") == ['["é",1]']
    pq.write_table(pa.table({"tags": [["é"], None], "span": [{"start": 1}, {"start": 2}]}), tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet", {"tags": "json", "span": "json"})
    assert cells(rows, "tags") == ['["é"]', None]
    assert cells(rows, "span") == ['{"start": 1}', '{"start": 2}']


def test_a_parquet_column_of_dates_is_no_json(tmp_path):
    path = tmp_path / "reviews.parquet"
    pq.write_table(pa.table({"tags": pa.array([[1]], pa.list_(pa.timestamp("s")))}), path)
    with pytest.raises(DataError, match="which is no JSON"):
        read_rows(path, {"tags": "json"})


def squad(**question):
    paragraph = {"context": "Bread is sold at eight.", "qas": [{"id": "a", "question": "When?", **question}]}
    return {"version": "2.0", "data": [{"title": "Shop", "paragraphs": [paragraph]}]}


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ({"answers": [{"text": "eight", "answer_start": 17}]}, '{"answer_start": [17], "text": ["eight"]}'),
        ({"answers": {"text": ["eight"], "answer_start": [17]}}, '{"answer_start": [17], "text": ["eight"]}'),
        ({"answers": [], "is_impossible": True}, '{"answer_start": [], "text": []}'),
        ({}, None),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_squad_document_has_a_row_for_each_question(csv_file, question, answers, indent):
    path = csv_file("\ufeff" + json.dumps(squad(**question), indent=indent), "squad.json")
    assert columns_of(path) == ["id", "context", "question", "answers", "is_impossible"]
    rows = read_rows(path, {"id": "word", "question": "text", "context": "text", "answers": "json"})
    assert cells(rows, "answers") == [answers]
    assert (cells(rows, "question"), cells(rows, "context")) == (["When?"], ["Bread is sold at eight."])
    assert cells(rows, LINE) == [1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:-9], "is not a whole SQuAD document: "),
        (lambda text: text + text, "is not a whole SQuAD document: Extra data"),
        (lambda text: text.replace('"context"', '"kontext"'), "data[0].paragraphs[0] has no text 'context'"),
        (lambda text: text.replace('"qas"', '"questions"'), "data[0].paragraphs[0] has no list 'qas'"),
        (
            lambda text: text.replace('"answer_start"', '"start"'),
            "qas[0] has an answer without 'text' and 'answer_start'",
        ),
    ],
)
def test_a_broken_squad_document_is_one_error(csv_file, spoil, said):
    text = json.dumps(squad(answers=[{"text": "eight", "answer_start": 17}]))
    with pytest.raises(DataError) as caught:
        read_rows(csv_file(spoil(text), "squad.json"), {"question": "text"})
    assert said in caught.value.problem


def test_rows_with_a_column_called_data_are_no_squad_document(jsonl_file):
    rows = read_rows(jsonl_file('{"data": [{"a": 1}], "text": "x"}\n{"data": [], "text": "y"}\n'), {"text": "text"})
    assert cells(rows) == ["x", "y"]
