"""Quality and speed of `nextclick train` on public data, against the reference implementation's published figures.

    python benchmarks/quality.py --data DIRECTORY [--seeds 3] [--only rsc15_100k]

DIRECTORY holds rsc15_100k.parquet and rsc15_apr_2days.parquet, samples of RecSys Challenge 2015, and
diginetica.parquet, CIKM Cup 2016; each with a column split. The reference was trained on all of diginetica's items,
hence --min-support 1 there. Rows that take an hour per seed run only if --only names them.
Each row is `nextclick train` and then `nextclick evaluate` on the test split (full ranking, conservative ties), as a
user would run them; the table has the mean over the seeds. Speed is that of one thread on this machine. The reference
of NARM, STAMP and SASRec is RecBole. Blends, which the presets are as well, have none: docs/comparing.md has what they
reached.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.arguments import add_data, parser_for


@dataclass(frozen=True)
class Row:
    name: str
    data: str
    split: str
    options: str
    reference: tuple[float, float] | None  # Recall@20, MRR@20 of the reference implementation
    reference_speed: str  # its events per second of one thread
    slow: bool = False


RSC15 = "--batch-size 32 --samples 2048 --learning-rate 0.2"
"""The options that the reference's authors publish for RSC15."""

RECBOLE = {
    ("rsc15_100k", "sasrec"): (0.7240, 0.3898),
    ("rsc15_apr_2days", "narm"): (0.7260, 0.3832),
    ("rsc15_apr_2days", "stamp"): (0.7105, 0.3819),
    ("rsc15_apr_2days", "sasrec"): (0.7394, 0.3957),
}
"""What the models of RecBole 1.2.1 reach on the same test events with a full softmax, one seed."""

ROWS = [
    Row(
        "rsc15_100k, plain",
        "rsc15_100k",
        "train,valid",
        "--batch-size 32 --samples 512 --learning-rate 0.1 --momentum 0 --dropout-hidden 0 --sample-alpha 0.75 "
        "--epochs 5",
        (0.6920, 0.3642),
        "8.8k",
    ),
    Row("rsc15_apr_2days, RSC15", "rsc15_apr_2days", "train", RSC15, (0.7164, 0.3808), "4.1-4.9k"),
    Row(
        "rsc15_apr_2days, B 128",
        "rsc15_apr_2days",
        "train",
        "--batch-size 128 --samples 512 --learning-rate 0.05",
        (0.7301, 0.3970),
        "17.0k",
    ),
    Row(
        "diginetica, RSC15, 5 epochs",
        "diginetica",
        "train",
        f"{RSC15} --epochs 5 --min-support 1",
        (0.5040, 0.1677),
        "3.3-3.6k",
    ),
    Row(
        "diginetica, B 128",
        "diginetica",
        "train",
        "--batch-size 128 --samples 2048 --learning-rate 0.1 --epochs 5 --min-support 1",
        (0.5198, 0.1757),
        "10.2k",
    ),
    Row(
        "diginetica, tuned",
        "diginetica",
        "train",
        "--hidden 128 --learning-rate 0.06 --dropout-embedding 0.1 --epochs 6 --min-support 1",
        None,
        "",
    ),
    Row(
        "diginetica, BPR-max 512",
        "diginetica",
        "train",
        "--loss bpr-max --hidden 512 --learning-rate 0.05 --momentum 0.15 --sample-alpha 0.3 --bpreg 0.9 --elu 1 "
        "--dropout-embedding 0.5 --dropout-hidden 0.3 --min-support 1",
        None,
        "",
        slow=True,
    ),
    *(
        Row(f"{data}, {family}", data, split, f"--family {family} {options}", RECBOLE.get((data, family)), "")
        for data, split, options in (
            ("rsc15_100k", "train,valid", ""),
            ("rsc15_apr_2days", "train", ""),
            ("diginetica", "train", "--min-support 1 --epochs 4"),
        )
        for family in ("narm", "stamp", "sasrec")
    ),
    *(
        Row(f"{data}, {name}", data, split, options, None, "")
        for data, split in (("rsc15_100k", "train,valid"), ("rsc15_apr_2days", "train"))
        for name, options in (
            ("preset rsc15", "--preset rsc15"),
            ("gru4rec and vs-knn", "--family blend --network gru4rec --neighbours vs-knn"),
        )
    ),
    Row("diginetica, preset diginetica", "diginetica", "train", "--preset diginetica", None, ""),
]


def main() -> None:
    parser = parser_for(__doc__)
    add_data(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    arguments = parser.parse_args()
    print(f"{'':36}{'seeds':>6}{'Recall@20':>11}{'MRR@20':>8}{'events/s':>10}   reference")
    for row in ROWS:
        if arguments.only in row.name and (arguments.only or not row.slow):
            runs = [run(row, arguments.data / f"{row.data}.parquet", seed) for seed in range(1, arguments.seeds + 1)]
            recall, mrr, speed = (mean(values) for values in zip(*runs, strict=True))
            reference = f"{row.reference[0]:.4f} {row.reference[1]:.4f} {row.reference_speed}" if row.reference else ""
            print(f"{row.name:36}{len(runs):6}{recall:11.4f}{mrr:8.4f}{speed:10,.0f}   {reference}", flush=True)


def run(row: Row, clicks: Path, seed: int) -> tuple[float, float, float]:
    """Recall@20, MRR@20 and training events per second, for one seed."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle, figures = Path(scratch) / "bundle", Path(scratch) / "figures.json"
        trained = command(
            f"train --clicks {clicks} --split {row.split} --seed {seed} --out {bundle} --device cpu {row.options}"
        )
        command(f"evaluate --model {bundle} --clicks {clicks} --split test --json {figures} --device cpu")
        result = json.loads(figures.read_text())
    speed = re.search(r"\(([\d,]+) events/s\)", trained)
    assert speed is not None, trained
    return result["recall"]["20"], result["mrr"]["20"], float(speed[1].replace(",", ""))


def command(line: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["nextclick", *line.split()], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    main()
