"""Reads clicks from what `--clicks` names: a file, `kafka` (the clicks topic) or `log` (archive and topic)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer

from clicklog.reading.form import DEFAULT_FORM, FileForm
from nextclick.commands.options import read_duration, read_names
from schemas.errors import ClicksError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from clicklog.clicks import Clicks
    from schemas.settings import Settings

KAFKA = "kafka"
LOG = "log"


@dataclass(frozen=True)
class ClickSource:
    """Where clicks come from, and which of them are read.

    Attributes:
        clicks: a file, `kafka` or `log`.
        splits: splits of the file to read.
        since: age of the oldest click to read from topic or log.
        until: age of the newest click to read.
        gap: the silence that ends a session.
        form: how a file is written, and which of its rows are clicks.
    """

    clicks: str
    splits: "Sequence[str]"
    since: "timedelta | None"
    until: "timedelta | None"
    gap: "timedelta | None"
    form: FileForm = DEFAULT_FORM

    @classmethod
    def of(
        cls,
        clicks: str,
        split: str | None,
        since: str | None,
        until: str | None,
        gap: str | None,
        form: FileForm = DEFAULT_FORM,
    ) -> Self:
        """Read --clicks, --split, --since, --until and --session-gap.

        Raises:
            BadParameter: a text is not a duration.
            ClicksError: --until leaves out everything that --since takes.
        """
        return cls(clicks, read_names(split), *_read_span(since, until), read_gap(gap), form)

    def read(self, settings: "Settings") -> "Clicks":
        """The clicks, cut into sessions.

        Raises:
            ClicksError: an option does not go with the source, or there are no clicks.
        """
        if self.clicks in (KAFKA, LOG):
            return self._read_kafka(settings)
        for option, age in (("--since", self.since), ("--until", self.until)):
            if age is not None:
                raise ClicksError(
                    f"{option} chooses clicks of the topic, and they come from {self.clicks}: use --split"
                )
        return read_file(Path(self.clicks), self.splits, self.gap, self.form)

    def _read_kafka(self, settings: "Settings") -> "Clicks":
        import time

        from clicklog.sessions import cut_by_silence
        from clicklog.topic_reader import read_click_topic
        from schemas.durations import milliseconds

        if self.splits:
            raise ClicksError(f"--split {','.join(self.splits)} chooses rows of a file, and the clicks come from Kafka")
        if self.form != DEFAULT_FORM:
            raise ClicksError(
                "--where, --skip-invalid, --quote and --encoding are for files, and the clicks come from Kafka: leave "
                "them out"
            )
        now = time.time_ns() // 1_000_000
        since, until = (None if age is None else now - milliseconds(age) for age in (self.since, self.until))
        read = _read_log if self.clicks == LOG else read_click_topic
        clicks = read(settings, since, until)
        if clicks.skipped:
            typer.echo(f"{clicks.skipped:,} messages are no valid click: skipped", err=True)
        if clicks.repeated:
            typer.echo(f"{clicks.repeated:,} clicks repeat the one before: skipped", err=True)
        gap = self.gap or settings.session_gap
        return replace(clicks, frame=cut_by_silence(clicks.frame, milliseconds(gap)))


def read_file(
    path: Path, splits: "Sequence[str]", gap: "timedelta | None" = None, form: FileForm = DEFAULT_FORM
) -> "Clicks":
    """A file's clicks; with `gap`, a session also ends after a silence that is longer than it.

    What the file's notes say goes to standard error: rows that are left out, times that are not in milliseconds.

    Raises:
        ClicksError: see `read_click_file`.
    """
    from clicklog.click_files import read_click_file
    from clicklog.sessions import cut_file_by_silence
    from schemas.durations import milliseconds

    clicks = read_click_file(path, splits, form)
    for note in clicks.notes:
        typer.echo(note, err=True)
    return clicks if gap is None else cut_file_by_silence(clicks, milliseconds(gap))


def read_gap(text: str | None) -> "timedelta | None":
    """--session-gap as a duration."""
    return None if text is None else read_duration(text, "--session-gap")


def _read_span(since: str | None, until: str | None) -> "tuple[timedelta | None, timedelta | None]":
    """The durations of --since and --until."""
    oldest = None if since is None else read_duration(since, "--since")
    newest = None if until is None else read_duration(until, "--until")
    if oldest is not None and newest is not None and newest >= oldest:
        raise ClicksError(
            f"--until {until} leaves out all that --since {since} takes: "
            "give a shorter one, as in --since 30d --until 1d"
        )
    return oldest, newest


def _read_log(settings: "Settings", since: int | None, until: int | None) -> "Clicks":
    """The clicks of the archive, then of the topic; prints which clicks are in neither any more.

    Raises:
        ClicksError: there is no archive, or no click in that time.
    """
    from clicklog.archive.files import Archive
    from clicklog.log import open_log

    if not Archive(settings.archive_uri, settings.clicks_topic).files():
        raise ClicksError(
            f"NEXTCLICK_ARCHIVE_URI={settings.archive_uri} holds no archive of topic {settings.clicks_topic!r}: "
            "make one by `nextclick archive`, or read the topic alone by --clicks kafka"
        )
    with open_log(settings, since, until) as log:
        for line in log.missing:
            typer.echo(f"missing: {line}", err=True)
        return log.clicks()
