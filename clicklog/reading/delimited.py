"""A delimited file as columns of texts. Every row of the file is a row of the table, or the file is refused.

A quote sign may enclose a field, as RFC 4180 says, or be a part of a text, such as `monitor 32"`. Read the wrong way,
rows vanish inside a field that never ends. Where a file has quote signs, a reading is taken only if every line has as
many fields as the header.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile, islice
from pathlib import Path

import polars as pl

from clicklog.reading.form import QUOTE, FileForm
from clicklog.reading.numbers import is_number_column, number_of, with_numbers
from clicklog.reading.quotes import check_quotes, without_quotes
from schemas.errors import ClicksError

_SEPARATORS = (",", ";", "\t", "|")
_FIELD, _FIELDS = "field {} of the file", r"^field \d+ of the file$"
_SHOWN = 120
_CHUNK = 1 << 20

ROW = "row of the file"
"""The column with a row's number in the file, from 0, the header left out."""


def is_blank(rows: pl.LazyFrame) -> pl.Expr:
    """Whether all fields of a row are empty: then it is no row, but a blank line."""
    names = (name for name in rows.collect_schema().names() if name != ROW and not is_number_column(name))
    return pl.all_horizontal(pl.col(name).is_null() for name in names)


@dataclass
class Delimited:
    """A delimited file.

    Attributes:
        path: the file as the user named it.
        text: the same file as plain UTF-8.
        separator: between fields.
        names: of the columns.
        header: whether the first line names the columns.
        form: what the user says about the file.
        enclosing: the sign that encloses fields, once the rows were read; None if there is none.
        signs_are_text: whether the rows were read with quote signs as a part of the texts, without being told so.
    """

    path: Path
    text: Path
    separator: str
    names: tuple[str, ...]
    header: bool
    form: FileForm
    enclosing: str | None = None
    signs_are_text: bool = False

    def table(self, columns: Sequence[str], numeric: Sequence[str]) -> pl.LazyFrame:
        """The columns as texts, null where a field is empty, and the number of each row, in memory.

        Args:
            columns: to read.
            numeric: those of them that may hold numbers, see `with_numbers`.

        Raises:
            ClicksError: as `rows`.
        """
        rows = self._read(columns, numeric, in_memory=True)
        if rows.select(pl.all_horizontal(pl.col(name).is_null() for name in columns).any()).collect().item():
            rows = rows.filter(~is_blank(rows))
        return rows.select(pl.exclude(_FIELDS))

    def rows(self, columns: Sequence[str], numeric: Sequence[str]) -> pl.LazyFrame:
        """As `table`, but read from the file whenever it is collected; with blank lines, and with all other fields.

        Who collects it must collect all columns once: only then too many fields of a row are found.

        Raises:
            ClicksError: the file cannot be read, a row has too many fields, or the quote signs have no sure meaning.
        """
        return self._read(columns, numeric, in_memory=False)

    def _read(self, columns: Sequence[str], numeric: Sequence[str], *, in_memory: bool) -> pl.LazyFrame:
        if not self._holds_quotes:
            return self._scan(columns, numeric, None, in_memory)
        given = self.form.quote
        for quote in (QUOTE, None) if given is None else (given or None,):
            try:
                rows = self._scan(columns, numeric, quote, in_memory)
                exact = given == "" or self._is_exact(rows, columns, quote)
            except (ClicksError, pl.exceptions.PolarsError):
                if given == "":
                    raise
                continue  # a row has too many fields
            if exact:
                if quote is not None or given is not None:
                    return rows
                self.signs_are_text = True
                return with_numbers(rows.with_columns(without_quotes(name) for name in columns), numeric)
        sign = given or QUOTE
        check_quotes(self._lines, self.path, self.separator, len(self.names), sign, sure=given is not None)
        return self._scan(columns, numeric, sign, in_memory)

    def place(self, row: int) -> str:
        """Where a row begins: `line 7`."""
        with self.text.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return f"line {next(islice(self._begins(file), row + self.header, None), '?')}"

    def _begins(self, file: Iterable[str]) -> Iterator[int]:
        """The number of every line that a row begins in."""
        inside = False
        lines = dropwhile(lambda numbered: not numbered[1].strip("\r\n"), enumerate(file, start=1))
        for number, line in lines:
            if not inside:
                yield number
            if self.enclosing is not None and line.count(self.enclosing) % 2:
                inside = not inside

    def unreadable(self, error: Exception) -> ClicksError:
        """The error for a file that polars cannot parse, with the line at fault."""
        if "utf-8" in str(error).lower():
            return self._not_utf8(error)
        if self.enclosing is None:
            longest = pl.col("text").str.count_matches(self.separator, literal=True) >= len(self.names)
            lines = self._lines.with_row_index().filter(longest).head(1).collect(engine="streaming")
            if len(lines):
                row, text = lines.row(0)
                return ClicksError(
                    f"{self.path}, line {row + 1}: {text[:_SHOWN]!r} has more fields than the {len(self.names)} of the "
                    f"first line, parted by {self.separator!r}: mend the line, or enclose the field by quote signs"
                )
        reason = str(error).strip().splitlines()
        return ClicksError(f"{self.path} cannot be read: {reason[0] if reason else type(error).__name__}")

    def _not_utf8(self, error: Exception) -> ClicksError:
        with self.text.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    shown = line.decode("windows-1252", errors="replace").strip()[:_SHOWN]
                    return ClicksError(
                        f"{self.path}, line {number} is not UTF-8 (as windows-1252 it is {shown!r}): name the file's "
                        "encoding by --encoding, such as --encoding windows-1252"
                    )
        return ClicksError(f"{self.path} cannot be read: {error}")

    def _scan(self, columns: Sequence[str], numeric: Sequence[str], quote: str | None, in_memory: bool) -> pl.LazyFrame:
        self.enclosing = quote
        rows = pl.scan_csv(
            self.text,
            separator=self.separator,
            quote_char=quote,
            has_header=self.header,
            infer_schema=False,
            new_columns=[_FIELD.format(place) for place in range(len(self.names))],
            row_index_name=ROW,
            glob=False,
        )
        rows = rows.rename({_FIELD.format(self.names.index(name)): name for name in columns})
        try:
            rows = with_numbers(rows, numeric)
            return rows.collect().lazy() if in_memory else rows
        except pl.exceptions.PolarsError as error:
            raise self.unreadable(error) from error

    def _is_exact(self, rows: pl.LazyFrame, columns: Sequence[str], quote: str | None) -> bool:
        """Whether no row has too few fields, and, where quote signs count, no row spans lines or has one inside."""
        fields = [name for name in rows.collect_schema().names() if name != ROW and not is_number_column(name)]
        texts = (pl.col(name).filter(number_of(rows, name).is_null()) for name in columns)
        inner = [text.str.contains(QUOTE, literal=True).any() for text in texts]
        counts = rows.select(
            pl.len().alias("rows"),
            pl.col(fields[-1]).null_count().alias("short"),
            pl.any_horizontal(inner).alias("inner"),
            pl.any_horizontal(pl.col(fields).is_null().any()).alias("all fields are read"),
        )
        count, short, inside, _ = counts.collect(engine="streaming").row(0)
        if quote is None:
            return not short or self._lines_are_rows()
        return not short and not inside and self._line_count() == count + self.header

    def _lines_are_rows(self) -> bool:
        """Whether every line that is not empty has as many separators as the first."""
        separators = pl.col("text").str.count_matches(self.separator, literal=True)
        whole = separators.eq(len(self.names) - 1).fill_null(True).all()
        return bool(self._lines.select(whole).collect(engine="streaming").item())

    def _line_count(self) -> int:
        lines, last = 0, b"\n"
        for piece in self._pieces():
            lines += piece.count(b"\n")
            last = piece
        return lines + (not last.endswith(b"\n"))

    def _pieces(self) -> Iterator[bytes]:
        with self.text.open("rb") as file:
            while piece := file.read(_CHUNK):
                yield piece

    @cached_property
    def _holds_quotes(self) -> bool:
        sign = (self.form.quote or QUOTE).encode()
        return any(sign in piece for piece in self._pieces())

    @property
    def _lines(self) -> pl.LazyFrame:
        """The lines as one column."""
        return pl.scan_csv(
            self.text,
            has_header=False,
            separator="\0",
            quote_char=None,
            schema={"text": pl.String},
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
            glob=False,
        )


def open_delimited(
    path: Path, text: Path, form: FileForm, columns: Sequence[str], separator: str | None = None
) -> Delimited:
    """A delimited file with a header.

    Args:
        path: the file as the user named it.
        text: the same file as plain UTF-8.
        form: what the user says about the file.
        columns: the columns that it must have.
        separator: between fields; None: the one by which the header has these columns, a comma if there is none.

    Raises:
        ClicksError: the file is empty, or names a column twice.
    """
    with text.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        start = file.readline(1 << 20)
        while start and not start.strip("\r\n"):
            start = file.readline(1 << 20)
    if not start:
        raise ClicksError(f"{path} cannot be read: it is empty")
    if "\0" in start:
        raise ClicksError(f"{path} is no text file: its first line has zero bytes; give Parquet, CSV or .csv.gz")
    headers = {sign: _fields(start, sign, form) for sign in ([separator] if separator else _SEPARATORS)}
    fitting = [sign for sign, names in headers.items() if set(columns) <= set(names)]
    chosen = fitting[0] if fitting else next(iter(headers))
    names = headers[chosen]
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise ClicksError(f"{path} has two columns {twice[0]}: name one of them otherwise")
    return Delimited(path, text, chosen, tuple(names), True, form)


def _fields(line: str, separator: str, form: FileForm) -> list[str]:
    quote = QUOTE if form.quote is None else form.quote
    style = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    return [name.strip() for name in next(csv.reader([line], delimiter=separator, **style), [])]
