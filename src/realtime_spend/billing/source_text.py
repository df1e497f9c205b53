"""The text of a file of a bill, packed or not, or one sentence that says why it is none."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_GZIP = b"\x1f\x8b"


class SourceError(ValueError):
    """A source cannot be read; the sentence says why and what to do."""


def source_text(path: Path) -> str:
    """Return the text of the file at `path`.

    Raises:
        SourceError: it cannot be opened, is no text, or is a web page.
    """
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(_GZIP) else data
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise SourceError("its compression is damaged; download it again") from None
    except OSError as error:
        raise SourceError(f"it cannot be read: {error.strerror or error}") from None
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"it is not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None
    if not text.strip():
        raise SourceError("it is empty; download it again")
    if text.lstrip()[:1] == "<":
        raise SourceError("it is a web page and not a bill, as when one is not signed in; download it again")
    return text
