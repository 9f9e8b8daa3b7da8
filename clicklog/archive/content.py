"""The content of an archive file: Parquet with ids as texts, so that other engines read all files as one table.

Up to 0.2 an id column was Int64 in files whose ids were all numbers. Such files are read, too.
"""

from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import polars as pl

from clicklog.clicks import IDS, exact_numbers

COLUMNS = (*IDS, "timestamp", "offset")

SKIPPED = "nextclick.skipped"
"""Key in a file's metadata: the number of messages in its range that are not valid clicks."""

NUMBERS = "nextclick.numbers"
"""Key in a file's metadata: the id columns whose texts are all numbers, such as `session_id,item_id`."""


class StoredClicks(NamedTuple):
    """A file that was opened.

    Attributes:
        frame: `COLUMNS`, by offset. An id column is Int64 if all its ids are numbers, else String.
        skipped: number of messages in the file's range that are not valid clicks.
        texts: whether the ids in the file itself are texts.
    """

    frame: pl.LazyFrame
    skipped: int
    texts: bool


def encode(clicks: pl.DataFrame, skipped: int, log: str = "") -> BytesIO:
    """The content of a file.

    Args:
        clicks: `COLUMNS`; an id column is Int64 or String.
        skipped: number of messages in the file's range that are not valid clicks.
        log: incarnation of the topic, for other engines a column beside the offset.
    """
    numbers = ",".join(name for name in IDS if exact_numbers(clicks[name]).dtype == pl.Int64)
    content = BytesIO()
    texts = clicks.with_columns(pl.col(IDS).cast(pl.String), pl.lit(log, pl.String).alias("log"))
    texts.write_parquet(content, compression="zstd", metadata={SKIPPED: str(skipped), NUMBERS: numbers})
    return content


def open_file(path: Path, *, kept_open: bool = True) -> StoredClicks:
    """Open a file.

    Args:
        path: on this machine.
        kept_open: hold a file descriptor as long as the frame exists, so that the archiver may replace or delete the
            file before the frame is collected.

    Raises:
        FileNotFoundError: it does not exist.
    """
    with path.open("rb") as file:
        frame = pl.scan_parquet(file if kept_open else path, glob=False)  # polars duplicates the descriptor
        schema = frame.collect_schema()
        metadata = pl.read_parquet_metadata(path)
    numbers = metadata.get(NUMBERS, "").split(",")
    return StoredClicks(
        frame.select(pl.col(name).cast(pl.Int64) if name in numbers else pl.col(name) for name in COLUMNS),
        int(metadata.get(SKIPPED, 0)),
        all(schema[name] == pl.String for name in IDS),
    )
