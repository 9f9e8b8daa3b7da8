"""How a file of clicks is written and which of its rows are clicks, as the options of a command say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from schemas.conditions import Condition, read_conditions
from schemas.errors import ClicksError

QUOTE = '"'


@dataclass(frozen=True)
class FileForm:
    """What the file does not say itself.

    Attributes:
        quote: the sign around fields of a delimited file, "" if there is none; None: found out from the file.
        encoding: of a delimited file; None: UTF-8, or what the byte order mark says.
        where: conditions that a row must meet to be a click.
        skip_invalid: leave out rows that are no valid click, and count them, instead of refusing the file.
    """

    quote: str | None = None
    encoding: str | None = None
    where: tuple[Condition, ...] = ()
    skip_invalid: bool = False

    @classmethod
    def of(cls, quote: str | None, encoding: str | None, where: Sequence[str], skip_invalid: bool) -> Self:
        """Read --quote, --encoding, --where and --skip-invalid.

        Raises:
            ClicksError: an option has no meaning.
        """
        sign = "" if quote is not None and quote.lower() == "none" else quote
        if sign is not None and (len(sign) > 1 or not sign.isascii() or sign.isalnum() or sign.isspace()):
            raise ClicksError(f"--quote {quote}: give the sign around fields, such as '\"', or none")
        if encoding is not None:
            try:
                "".encode(encoding)
            except (LookupError, UnicodeError) as error:
                raise ClicksError(
                    f"--encoding {encoding} is not known: give utf-8, windows-1252, utf-16, latin-1 or another name "
                    "of a Python codec"
                ) from error
        try:
            conditions = read_conditions(where)
        except ValueError as error:
            raise ClicksError(f"--where: {error}") from error
        return cls(sign, encoding, conditions, skip_invalid)

    @property
    def rows_chosen(self) -> dict[str, object]:
        """The choices that decide which rows are clicks, for records of a run; empty if there are none."""
        chosen: dict[str, object] = {"where": [str(condition) for condition in self.where]} if self.where else {}
        return chosen | ({"skip-invalid": True} if self.skip_invalid else {})


DEFAULT_FORM = FileForm()
