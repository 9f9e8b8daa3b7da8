"""Command-line options that several benchmarks share."""

import argparse
from pathlib import Path


def parser_for(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring, unchanged."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Add --clicks, --model and --items: the clicks to send, and what `benchmarks.stage.model_for` takes."""
    parser.add_argument("--clicks", type=Path, required=True, help="file of clicks to make the load from")
    parser.add_argument("--model", type=Path, help="bundle to serve with; by default one is trained quickly")
    parser.add_argument("--items", type=int, help="serve with random weights for so many items instead")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add --data."""
    parser.add_argument("--data", type=Path, required=True, help="directory of the click files")
