"""A file of a bill, made ready for DuckDB: its compression, its encoding, its header and what parts its columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from realtime_spend.billing.columns import Layout, layout_of
from realtime_spend.core.reconciliation.bills import BillProblem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PEEKED = 256 * 1024
_CHUNK = 1024 * 1024
_GZIP, _PARQUET, _ZIP = b"\x1f\x8b", b"PAR1", b"PK\x03\x04"
_DELIMITERS = ",;\t|"
# Old exports have a title and blank lines above their header.
_MOST_LINES_ABOVE = 20
_DECIMAL_COMMA = re.compile(r"-?\d{1,3}(?:\.?\d{3})*,\d+").fullmatch
_LINE_END = re.compile(r"\r\n|\n|\r")
_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype|html|head|body)", re.IGNORECASE | re.DOTALL)
# What of a file no other encoding explains is read as Windows writes Western European text.
_FALLBACK = "cp1252"


class NotReadableError(Exception):
    """Nothing of a file can be read; the message says why, in words that follow its name."""


@dataclass(slots=True, kw_only=True)
class Sheet:
    """A table in a file: `path` is what DuckDB reads, which is a copy where the file itself is not plain UTF-8."""

    file: str
    path: Path
    layout: Layout
    is_parquet: bool = False
    is_gzip: bool = False
    delimiter: str = ","
    lines_above: int = 0
    has_decimal_comma: bool = False
    problems: list[BillProblem] = field(default_factory=list)


def text_start(path: Path) -> str:
    """Return the beginning of a file's text, unpacked; an empty text where the file has none, or is a table of bytes.

    Raises:
        NotReadableError: it cannot be opened, or is an archive.
    """
    start, _ = _start(path)
    if not start or start.startswith(_PARQUET):
        return ""
    return start.decode(_encoding(start), "replace")


def is_parquet(path: Path) -> bool:
    """Whether a file says in its first bytes that it is Parquet.

    Raises:
        NotReadableError: it does, and does not end as such a file: what its columns are stands there.
    """
    if not _start(path)[0].startswith(_PARQUET):
        return False
    with path.open("rb") as source:
        source.seek(max(path.stat().st_size - len(_PARQUET), len(_PARQUET)))
        if source.read() != _PARQUET:
            raise NotReadableError("breaks off, and of a Parquet file nothing can be read then; download it again")
    return True


def open_sheet(path: Path, folder: Path) -> Sheet:
    """Return the table in a text file; copies of what DuckDB cannot read as it is go into `folder`.

    Raises:
        NotReadableError: there is none.
    """
    start, is_gzip = _start(path)
    encoding = _encoding(start)
    text = start.decode(encoding, "replace")
    if not text.strip():
        raise NotReadableError("is empty; download it again")
    if _HTML.match(text):
        raise NotReadableError("is a web page and no bill; a sign-in or a download may have failed; download it again")
    sheet = _parted(path, text)
    sheet.is_gzip = is_gzip
    if encoding not in {"utf-8", "utf-8-sig"}:
        sheet.problems.append(_other_encoding(path, encoding))
        return rewritten(sheet, folder, encoding)
    return sheet


def rewritten(sheet: Sheet, folder: Path, encoding: str = "utf-8-sig") -> Sheet:
    """Give the sheet a plain UTF-8 copy of its file with one kind of line ends, of as much as can be unpacked."""
    decoder = io.IncrementalNewlineDecoder(
        codecs.getincrementaldecoder(encoding)(errors="spend_fallback"), translate=True
    )
    copy = _copy(folder)
    with _opened(sheet.path, is_gzip=sheet.is_gzip) as source, copy.open("w", encoding="utf-8", newline="") as target:
        while chunk := _next(source):
            target.write(decoder.decode(chunk))
        target.write(decoder.decode(b"", final=True))
        if _is_cut(source):
            message = "the file breaks off, its compression is damaged; what is before that was read"
            sheet.problems.append(BillProblem(message=message, file=sheet.file))
    sheet.path, sheet.is_gzip = copy, False
    return sheet


def without_open_quotes(sheet: Sheet, folder: Path) -> list[int]:
    """Give the sheet a copy without the lines that open a quote and do not close it; return their numbers, from 1.

    Such a quote makes one cell of all that follows. Cells of several lines are lost with it, and said to be.
    """
    copy, left = _copy(folder), []
    with _opened(sheet.path, is_gzip=sheet.is_gzip) as source, copy.open("wb") as target:
        for number, line in enumerate(source, start=1):
            if line.count(b'"') % 2:
                left.append(number)
                # An empty line is no row, and those below keep their numbers.
                line = line[len(line.rstrip(b"\r\n")) :]  # noqa: PLW2901 - it is what is written in its place
            target.write(line)
    sheet.path, sheet.is_gzip = copy, False
    return left


def _copy(folder: Path) -> Path:
    return folder / f"{len(list(folder.iterdir()))}.csv"


def _next(source: IO[bytes]) -> bytes:
    """Return the next of what can be unpacked; a file that is cut ends there."""
    try:
        return source.read(_CHUNK)
    except (EOFError, OSError, zlib.error):
        return b""


def _opened(path: Path, *, is_gzip: bool) -> IO[bytes]:
    if is_gzip:
        # One byte at a time would be slow; a buffer hands on all that was unpacked before a file breaks off.
        return io.BufferedReader(_Whole(path))
    return path.open("rb")


def _is_cut(source: IO[bytes]) -> bool:
    return isinstance(raw := getattr(source, "raw", None), _Whole) and raw.is_cut


class _Whole(io.RawIOBase):
    """What a gzip file holds up to where it is damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self.is_cut = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        room, unpacked = len(buffer), b""
        while not unpacked:
            packed = self._unpack.unconsumed_tail or self._unpack.unused_data or self._file.read(_CHUNK)
            if not packed:
                self.is_cut = not self._unpack.eof
                return 0
            if self._unpack.eof:
                # Files that were joined follow each other as they are.
                self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                unpacked = self._unpack.decompress(packed, room)
            except zlib.error:
                self.is_cut = True
                return 0
        buffer[: len(unpacked)] = unpacked
        return len(unpacked)

    def close(self) -> None:
        self._file.close()
        super().close()


def _in_fallback(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode(_FALLBACK, "replace"), error.end


codecs.register_error("spend_fallback", _in_fallback)


def _start(path: Path) -> tuple[bytes, bool]:
    try:
        with path.open("rb") as source:
            start = source.read(_PEEKED)
    except OSError as error:
        raise NotReadableError(f"cannot be read: {error.strerror}") from error
    if start.startswith(_ZIP):
        if path.suffix.lower() == ".xlsx":
            raise NotReadableError("is a spreadsheet; save it as CSV")
        raise NotReadableError("is a zip archive; unpack it first")
    if not start.startswith(_GZIP):
        return start, False
    with _opened(path, is_gzip=True) as source:
        unpacked = source.read(_PEEKED)
    if not unpacked:
        raise NotReadableError("is no gzip file that can be unpacked")
    return unpacked, True


def _encoding(start: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if start.startswith(mark):
            return encoding
    # Text of which every second byte is zero is of that kind, if a program has left out the mark.
    for zeros, encoding in ((start[1:64:2], "utf-16-le"), (start[0:64:2], "utf-16-be")):
        if zeros.count(0) > len(zeros) // 2:
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return _FALLBACK
    return "utf-8"


def _other_encoding(path: Path, encoding: str) -> BillProblem:
    name = "Windows-1252" if encoding == _FALLBACK else "UTF-16"
    return BillProblem(message=f"the file is not UTF-8; it was read as {name}", file=str(path), row=1)


def _parted(path: Path, text: str) -> Sheet:
    """Find the header: the line whose names are those of most required columns, however they are parted."""
    # Not `splitlines`, which knows more ends of lines than files of tables have.
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    written = [(number, line) for number, line in enumerate(lines) if line.strip()][:_MOST_LINES_ABOVE]
    # The first line with the fewest missing columns; where all miss as many, the longest is the likeliest header.
    found = [
        (len(layout.missing), -len(layout.header), number, delimiter, layout)
        for delimiter in _DELIMITERS
        for number, line in written
        if (header := _cells(line, delimiter))
        for layout in (layout_of(header),)
    ]
    if not found:
        raise NotReadableError("has no header in its first lines")
    _, _, number, delimiter, layout = min(found, key=lambda entry: entry[:3])
    below = csv.reader(lines[number + 1 :], delimiter=delimiter)
    return Sheet(
        file=str(path),
        path=path,
        layout=layout,
        delimiter=delimiter,
        lines_above=number,
        has_decimal_comma=delimiter != "," and _has_decimal_comma(layout, below),
    )


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _has_decimal_comma(layout: Layout, rows: Iterable[list[str]]) -> bool:
    places = [layout.places[role][0] for role in ("cost", "quantity", "price") if role in layout.places]
    try:
        return any(_DECIMAL_COMMA(row[place]) for row in rows for place in places if place < len(row))
    except csv.Error:
        return False
