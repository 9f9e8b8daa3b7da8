"""A delimited file as plain UTF-8: as it is, or as a temporary copy where it is compressed or has another encoding."""

import codecs
import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from schemas.errors import ClicksError

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CHUNK = 1 << 20


@contextmanager
def utf8_text(path: Path, encoding: str | None) -> Iterator[Path]:
    """The path of a plain UTF-8 file with the text of `path`; a temporary copy of it is removed at the end.

    Args:
        path: may be compressed by gzip or zstd.
        encoding: None: UTF-8, or UTF-16 where the first bytes show it.

    Raises:
        ClicksError: the file is damaged, or bytes of it are no text in that encoding.
    """
    start = _first_bytes(path)
    if start.startswith(ZSTD):
        with _copy() as copy:
            _unpack_zstd(path, copy)
            with utf8_text(copy, encoding) as text:
                yield text
        return
    codec = codecs.lookup(encoding or _encoding_of(start)).name
    as_it_is = codec in ("utf-8", "utf-8-sig") and not _has_old_line_ends(path)
    if as_it_is and not _is_gzip(path):
        yield path
        return
    with _copy() as copy:
        try:
            if as_it_is:
                _unpack_gzip(path, copy)
            else:
                _transcode(path, copy, codec)
        except (OSError, EOFError) as error:
            raise ClicksError(f"{path} cannot be read: {error}") from error
        yield copy


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nextclick-") as directory:
        yield Path(directory) / "text.csv"


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if _is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def _first_bytes(path: Path, count: int = 4) -> bytes:
    try:
        with _open(path) as file:
            return file.read(count)
    except (OSError, EOFError) as error:
        raise ClicksError(f"{path} cannot be read: {error}") from error


def _has_old_line_ends(path: Path) -> bool:
    """Whether lines end with a carriage return alone, as old Macs wrote them."""
    start = _first_bytes(path, CHUNK)
    return b"\r" in start and b"\n" not in start


def _encoding_of(start: bytes) -> str:
    """By the byte order mark, or by the zero bytes that UTF-16 has in the letters of a header."""
    if start in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) == 4 and start[0] and start[2] and not start[1] and not start[3]:
        return "utf-16-le"
    if len(start) == 4 and start[1] and start[3] and not start[0] and not start[2]:
        return "utf-16-be"
    return "utf-8"


def _unpack_gzip(path: Path, copy: Path) -> None:
    with gzip.open(path) as packed, copy.open("wb") as plain:
        while piece := packed.read(CHUNK):
            plain.write(piece)


def _unpack_zstd(path: Path, copy: Path) -> None:
    """Polars unpacks it: Python 3.11 has no zstd. Every line is one field, for no text holds a zero byte."""
    try:
        lines = pl.scan_csv(
            path, has_header=False, separator="\0", quote_char=None, schema={"line": pl.String}, glob=False
        )
        lines.sink_csv(copy, include_header=False, quote_style="never")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ClicksError(f"{path} cannot be read: {error}") from error


def _transcode(path: Path, copy: Path, codec: str) -> None:
    decoder = codecs.getincrementaldecoder(codec)()
    lines, old_line_ends = 1, False
    with _open(path) as file, copy.open("w", encoding="utf-8", newline="") as plain:
        while True:
            piece = file.read(CHUNK)
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError as error:
                wrong = error.object[error.start : error.end].hex(" ")
                line = lines + error.object[: error.start].count(b"\n")
                raise ClicksError(
                    f"{path} is not in {codec}: bytes {wrong} near line {line} "
                    "are no text in it: name the file's encoding by --encoding"
                ) from error
            except UnicodeError as error:
                raise ClicksError(f"{path} is not in {codec}: {error}: name its encoding by --encoding") from error
            if lines == 1:
                text = text.removeprefix("\ufeff")
                old_line_ends = "\r" in text and "\n" not in text
            plain.write(text.replace("\r\n", "\n").replace("\r", "\n") if old_line_ends else text)
            lines += text.count("\n")
            if not piece:
                return
