"""The lines of a UTF-8 file, cut at line feeds only, and the first look that tells what a file really is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from components.errors import DataError

LOOK_BYTES = 4096
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
PACKED = {
    b"\x1f\x8b": ("compressed by gzip", "unpack it: gunzip"),
    b"BZh": ("compressed by bzip2", "unpack it: bunzip2"),
    b"\xfd7zXZ\x00": ("compressed by xz", "unpack it: unxz"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it: unzstd"),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "unpack it, or export the sheet as CSV UTF-8:"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "export the sheet as CSV UTF-8:"),
    b"%PDF": ("a PDF", "export the rows as CSV UTF-8:"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV:"),
    b"PAR1": ("a Parquet file", "end its name with .parquet:"),
}
# What gives an encoding away, and the share of the letters from which it does: kana, hangul, the commonest characters.
GUESSES = (
    ("SHIFT_JIS", "[\u3041-\u3096]", 0.25),
    ("EUC-KR", "[\uac00-\ud7a3]", 0.85),
    ("GB18030", "[的一是不了在人有我他这来到大为中你说就要好看很店服务位还们时个没]", 0.1),
    ("BIG5", "[的一是不了在人有我他這來到大為中你說就要好看很店服務位還們時個沒]", 0.1),
)


CESU = "CESU-8"  # writes an emoji as two halves of a UTF-16 pair


class TextLines:
    """Iterates over the lines of a file as text; lines that are not UTF-8 come as blank lines and are kept in `bad`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad: list[tuple[int, str, str]] = []  # line, reason, text as far as it can be read
        self._sample: list[bytes] = []

    def __iter__(self) -> Iterator[str]:
        offset = 0
        with self.path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if number == 1 and raw.startswith(BYTE_ORDER_MARK):
                    offset = len(BYTE_ORDER_MARK)
                    raw = raw[offset:]
                try:
                    yield raw.decode()
                except UnicodeDecodeError as error:
                    self._keep(number, offset + error.start, raw, error.start)
                    yield "\n"
                offset += len(raw)

    def encoding(self) -> str | None:
        """The likely encoding of the lines that are not UTF-8."""
        return guess_encoding(b"".join(self._sample)) if self._sample else None

    def _keep(self, number: int, offset: int, raw: bytes, place: int) -> None:
        reason = f"byte 0x{raw[place]:02X} at offset {offset:,} is not UTF-8"
        self.bad.append((number, reason, raw[:2000].decode(errors="replace")))
        if len(self._sample) < 100:
            self._sample.append(raw[:2000])


def guess_encoding(raw: bytes) -> str:
    """The likely encoding of text that is not UTF-8, by the letters that it would give."""
    if _has_halves(raw):
        return CESU
    letters = sum(byte >= 0x80 for byte in raw) / 2
    for name, telling, share in GUESSES:
        text = raw.decode(name, errors="replace")
        if len(re.findall(telling, text)) >= share * letters and text.count("\ufffd") <= 0.1 * letters:
            return name
    return "WINDOWS-1252"


def _has_halves(raw: bytes) -> bool:
    """Whether nothing but halves of UTF-16 pairs keeps this from being UTF-8."""
    try:
        raw.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def look_at(path: Path) -> None:
    """Refuse what cannot be a file of lines of UTF-8 text.

    Raises:
        DataError: the file is empty, compressed, binary, a web page, or in UTF-16.
    """
    with path.open("rb") as file:
        start = file.read(LOOK_BYTES)
    name = path.name
    if not start.removeprefix(BYTE_ORDER_MARK).strip():
        raise DataError(f"{name} is empty ({path.stat().st_size} bytes).", "deliver a file with rows.")
    for mark, encoding in OTHER_MARKS.items():
        if start.startswith(mark):
            raise _in_utf16(name, f"{encoding}: it starts with the byte order mark {mark.hex(' ').upper()}", encoding)
    for magic, (what, remedy) in PACKED.items():
        if start.startswith(magic):
            raise DataError(f"{name} is {what}, not rows of text.", f"{remedy} {name}.")
    if start.count(0) * 4 > len(start):
        encoding = "UTF-16LE" if start[1::2].count(0) > start[::2].count(0) else "UTF-16BE"
        raise _in_utf16(name, f"{encoding} without a byte order mark: byte {start.index(0)} is 0", encoding)
    _refuse_pages(name, start)
    controls = sum(byte < 0x20 and byte not in b"\t\n\r\x1b" for byte in start)
    if controls * 20 > len(start) and not _is_utf8(start):
        raise DataError(f"{name} holds binary data, not rows of text.", "deliver CSV, JSON lines or Parquet.")


def _is_utf8(start: bytes) -> bool:
    try:
        start[:-4].decode()
    except UnicodeDecodeError:
        return False
    return True


def _in_utf16(name: str, what: str, encoding: str) -> DataError:
    return DataError(
        f"{name} is not UTF-8 but {what}.",
        f"save it as UTF-8, for example: iconv -f {encoding} -t UTF-8 {name} > utf8-{name}.",
    )


def _refuse_pages(name: str, start: bytes) -> None:
    head = start.removeprefix(BYTE_ORDER_MARK).lstrip()
    if re.match(rb"<(!doctype|html|head|body|\?xml|error)\b", head, re.IGNORECASE):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", head, re.IGNORECASE)
        titled = f" titled '{title[1].decode(errors='replace').strip()}'" if title else ""
        raise DataError(
            f"{name} is a web page or XML{titled}, not rows.", "download the file itself; the address gave a page."
        )
