"""Models of RecBole beside those of `nextclick train`: quality on the same events, and training speed.

    python -m benchmarks.recbole --data FILE --models sasrec,narm --recbole-python PATH [--epochs 10] [--test]

RecBole pins packages in versions that differ from ours, so PATH is the Python of an environment of its own:

    uv venv --python 3.11 recbole && uv pip install --python recbole/bin/python 'recbole==1.2.1' 'numpy<2' 'pandas<3'

Both train on the same clicks (item support >= --min-support) and are judged by `trainer.evaluation`: after every click
but a session's last, the next item is ranked among all items of the training clicks. RecBole only gives the scores. By
default the newest tenth of the training sessions is held out and judged on; with --test all of them are trained on, and
the split test is judged on. Ours have the defaults of their family. RecBole's have RecBole's defaults, but for the full
softmax cross-entropy and the options --epochs, --batch-size, --learning-rate, --hidden and --window (last clicks that
are read): choose them without --test. Speed is in events per second of CPU time, on one thread: other programs on the
machine change it little. `benchmarks/recbole_model.py` runs in RecBole's Python. core is a model that only RecBole has.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import recbole_model
from benchmarks.arguments import parser_for
from clicklog.click_files import read_click_file
from clicklog.clicks import Clicks
from clicklog.filters import filter_clicks
from clicklog.items import ItemIndex
from clicklog.prefixes import Prefixes
from clicklog.sessions import Sessions, sessions_of
from schemas.errors import NextclickError
from schemas.recommendation import TOP
from trainer.evaluation.full_ranking import evaluate, evaluation_of
from trainer.evaluation.ranks import rank_events
from trainer.presets import FAMILY_DEFAULTS
from trainer.train import train
from trainer.validation import hold_out_newest

MODELS = {"gru4rec": "GRU4Rec", "narm": "NARM", "stamp": "STAMP", "sasrec": "SASRec", "core": "CORE"}
OF_RECBOLE = ("epochs", "batch_size", "learning_rate", "hidden", "window", "seed")
"""Options of RecBole's side; with the seed also of ours."""
HELD_OUT = 0.1


@dataclass(frozen=True)
class Data:
    """Clicks to train on, the items of both sides, and the sessions to train and to judge on."""

    clicks: Clicks
    index: ItemIndex
    sessions: Sessions
    judged: Sessions


@dataclass(frozen=True)
class Figures:
    """Recall@20, MRR@20 and training events per second of CPU time."""

    recall: float
    mrr: float
    speed: float

    def __str__(self) -> str:
        return f"{self.recall:12.4f}{self.mrr:8.4f}{self.speed:10,.0f}"


def main() -> None:
    parser = parser_for(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="file of clicks")
    parser.add_argument("--split", default="train", help="splits to train on")
    parser.add_argument("--models", default="sasrec,narm,stamp", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--recbole-python", default=sys.executable, help="Python that has RecBole; by default this one")
    parser.add_argument("--epochs", type=int, default=10, help="of RecBole's models")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--window", type=int, default=20)
    parser.add_argument("--min-support", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="judge on the split test")
    arguments = parser.parse_args()
    models = arguments.models.split(",")
    if unknown := [model for model in models if model not in MODELS]:
        parser.error(f"--models {unknown[0]} is none of {', '.join(MODELS)}")
    version = installed(arguments.recbole_python)
    torch.set_num_threads(1)
    data = read(arguments.data, arguments.split.split(","), arguments.test, arguments.min_support)
    print(f"{len(data.index):,} items, {data.sessions.pairs:,} training events, {data.judged.pairs:,} judged")
    columns = f"{'Recall@20':>12}{'MRR@20':>8}{'events/s':>10}"
    print(f"{'':10}{'ours':>30}{f'RecBole {version}':>30}\n{'':10}{columns}{columns}{'ratio':>8}")
    job = {name: getattr(arguments, name) for name in OF_RECBOLE}
    for model in models:
        ours = None
        if model in FAMILY_DEFAULTS:
            ours = of_ours(model, data, arguments.min_support, arguments.seed)
        with started(arguments.recbole_python, data, {**job, "model": MODELS[model]}) as recbole:
            theirs = recbole.figures(data)
        ratio = f"{ours.speed / theirs.speed:8.2f}" if ours else ""
        print(f"{model:10}{ours or ''!s:30}{theirs}{ratio}", flush=True)


def installed(python: str) -> str:
    """The version of RecBole that a Python has.

    Raises:
        SystemExit: it has none.
    """
    ask = "import recbole; print(recbole.__version__)"
    try:
        told = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"--recbole-python {python} cannot be run: {error.strerror}")
    if told.returncode:
        sys.exit(
            f"--recbole-python {python} has no RecBole: install recbole==1.2.1 with numpy<2 and pandas<3 in an "
            "environment of its own, and give its Python"
        )
    return told.stdout.strip()


def read(path: Path, splits: list[str], test: bool, min_support: int) -> Data:
    """Read the clicks, and what to judge on: the split test, or the newest of the training sessions.

    Raises:
        SystemExit: the file cannot be read, has no such split, or nothing is left of it.
    """
    try:
        clicks = read_click_file(path, splits)
        if not test:
            parts = hold_out_newest(clicks.frame, HELD_OUT, min_support, 2)
            kept, index, judged = parts.train, parts.index, parts.valid
        else:
            kept = filter_clicks(clicks.frame, min_support)
            index = ItemIndex.of(kept)
            judged = sessions_of(read_click_file(path, ["test"]).frame, index)
    except NextclickError as error:
        sys.exit(str(error))
    return Data(replace(clicks, frame=kept), index, sessions_of(kept, index), judged)


def of_ours(family: str, data: Data, min_support: int, seed: int) -> Figures:
    """Train with the family's defaults, and rank as in serving."""
    config = FAMILY_DEFAULTS[family]
    config = replace(config, min_support=min_support, device="cpu", fit=replace(config.fit, seed=seed))
    reports: list[tuple[int, float]] = []
    trained = train(data.clicks, config, progress=lambda now: reports.append((now.events, time.process_time())))
    assert trained.bundle.items.ids == data.index.ids
    (first, begin), (last, end) = reports[0], reports[-1]
    found = evaluate(trained.bundle.ranker(torch.device("cpu")), data.judged)
    return Figures(found.recall[TOP], found.mrr[TOP], (last - first) / (end - begin))


class RecBole:
    """A process that trains a model of RecBole, and then scores prefixes."""

    def __init__(self, process: "subprocess.Popen[str]", directory: Path, job: str) -> None:
        self.process = process
        self.directory = directory
        self.speed = float(self._ask(job))

    def figures(self, data: Data) -> Figures:
        ranks = rank_events(self.score, data.judged, len(data.index))
        found = evaluation_of(ranks.rank)
        return Figures(found.recall[TOP], found.mrr[TOP], self.speed)

    def score(self, prefixes: Prefixes) -> NDArray[np.float32]:
        """(N, items), by `full_sort_predict`."""
        np.savez(self.directory / "prefixes.npz", items=prefixes.items, offsets=prefixes.offsets)
        self._ask("")
        scores: NDArray[np.float32] = np.load(self.directory / "scores.npy")
        return scores

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            said = (self.directory / "stderr").read_text().strip().splitlines()
            sys.exit(f"RecBole has failed: {said[-1] if said else 'it said nothing'}")
        return answer


@contextmanager
def started(python: str, data: Data, job: dict[str, object]) -> Iterator[RecBole]:
    """Train in a process of RecBole's Python, with a directory of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        np.savez(directory / "sessions.npz", items=data.sessions.items, offsets=data.sessions.offsets)
        with (
            (directory / "stderr").open("w") as errors,
            subprocess.Popen(
                # -I: the script's directory has a module with RecBole's name
                [python, "-I", recbole_model.__file__],
                cwd=directory,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as process,
        ):
            try:
                yield RecBole(process, directory, json.dumps({**job, "items": len(data.index)}))
            finally:
                process.kill()


if __name__ == "__main__":
    main()
