"""`nextclick`: the command line. Each command is a module in `nextclick/commands/`."""

import sys
from io import TextIOWrapper

import typer
from rich.console import Console

from nextclick.commands import (
    archive,
    breakdown,
    broker,
    compare,
    demo,
    doctor,
    evaluate,
    import_,
    model_history,
    models,
    produce,
    recommendations,
    rejected,
    rekey,
    replay,
    retrain,
    schedule,
    settings,
    simulate,
    split,
    topics,
    train,
    tune,
    watch,
    worker,
)
from nextclick.pipes import ends_with_its_reader
from schemas.errors import NextclickError, printable

app = typer.Typer(
    name="nextclick",
    help="Streaming session-based recommendations: clicks in on Kafka, top-20 next items out.",
    epilog="Settings come from NEXTCLICK_… environment variables or a .env file: `nextclick settings` lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("settings")(settings.settings)
app.command("doctor")(doctor.doctor)
app.command("broker")(broker.broker)
app.command("topics")(topics.topics)
app.command("worker", context_settings=worker.PASSES_OPTIONS)(worker.worker)
app.command("produce")(produce.produce)
app.command("recommendations")(recommendations.recommendations)
app.command("rejected")(rejected.rejected)
app.command("rekey")(rekey.rekey)
app.command("replay")(replay.replay)
app.command("simulate")(simulate.simulate)
app.command("archive")(archive.archive)
app.command("retrain")(retrain.retrain)
app.command("schedule")(schedule.schedule)
app.command("watch")(watch.watch)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("demo")(demo.demo)
app.command("compare")(compare.compare)
app.command("tune")(tune.tune)
app.command("breakdown")(breakdown.breakdown)
app.command("split")(split.split)
app.add_typer(import_.import_, name="import")
app.add_typer(models.models, name="models")
models.models.command("story")(model_history.story)
models.models.command("gc")(model_history.gc)

DEBUG = "--debug"


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed (one line on standard error), 2 wrong usage.

    `--debug`, anywhere on the line, shows the traceback of a failure.
    """
    debug = DEBUG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks is escaped
    try:
        with ends_with_its_reader():
            app(arguments)
    except NextclickError as error:
        if debug:
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        _fail(f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)")


def _fail(message: str) -> None:
    line = printable(message)
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"nextclick: {line}", markup=False, style="red")
    sys.exit(1)
