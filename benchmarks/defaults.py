"""The basis of the defaults of `nextclick train`: settings compared on validation parts of all data sets.

    python -m benchmarks.defaults --data DIRECTORY [--json FILE] [--only TEXT]

DIRECTORY holds rsc15_100k.parquet, rsc15_apr_2days.parquet and diginetica.parquet. Models are judged on the newest
tenth of the training sessions; the test split is not used. One seed, 10 epochs, or those of the family's defaults. The
number of epochs is a setting too: the best Recall@20 of all epochs is printed, with its MRR@20 and its epoch.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks.arguments import add_data, parser_for
from clicklog.click_files import read_click_file
from clicklog.sessions import sessions_of
from rankers.families import network_family_of
from trainer.config import FitConfig, TrainConfig
from trainer.evaluation.full_ranking import evaluate
from trainer.fit import fit
from trainer.presets import DEFAULT, FAMILY_DEFAULTS, PUBLISHED
from trainer.validation import hold_out_newest

SHARE = 0.1
DATA = {"rsc15_100k": ["train", "valid"], "rsc15_apr_2days": ["train"], "diginetica": ["train"]}
PAIRWISE = FitConfig(loss="bpr-max", sample_alpha=0.3, bpreg=0.9, elu=1.0, momentum=0.15, dropout_hidden=0.3)
SASREC = FAMILY_DEFAULTS["sasrec"]
SETTINGS = {
    "published for RSC15": PUBLISHED,
    "the defaults": DEFAULT,
    "learning rate .1": TrainConfig(FitConfig(learning_rate=0.1)),
    "512 samples": TrainConfig(FitConfig(samples=512)),
    "embedding dropout .1": TrainConfig(FitConfig(dropout_embedding=0.1)),
    "200 units": TrainConfig(hidden=200),
    "200 units, embedding dropout .25": TrainConfig(FitConfig(dropout_embedding=0.25), hidden=200),
    "bpr-max, 100 units, embedding dropout .25": TrainConfig(replace(PAIRWISE, dropout_embedding=0.25)),
    "bpr-max, 200 units, embedding dropout .5": TrainConfig(replace(PAIRWISE, dropout_embedding=0.5), hidden=200),
    "narm, the defaults": FAMILY_DEFAULTS["narm"],
    "stamp, the defaults": FAMILY_DEFAULTS["stamp"],
    "sasrec, the defaults": SASREC,
    "sasrec, B 128, learning rate .05": replace(SASREC, fit=replace(SASREC.fit, batch_size=128, learning_rate=0.05)),
    "sasrec, adam .001": replace(SASREC, fit=replace(SASREC.fit, optimizer="adam", learning_rate=0.001)),
}


def main() -> None:
    parser = parser_for(__doc__)
    add_data(parser)
    parser.add_argument("--json", type=Path, help="write every epoch's figures to this file")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'Recall@20 / MRR@20 after so many epochs':44}" + "".join(f"{data:>22}" for data in DATA))
    figures = []
    for name, config in SETTINGS.items():
        if arguments.only not in name:
            continue
        print(f"{name:44}", end="", flush=True)
        for data, splits in DATA.items():
            found = judge(arguments.data / f"{data}.parquet", splits, config)
            epoch, (recall, mrr) = max(enumerate(found, 1), key=lambda pair: pair[1])
            print(f"{recall:9.4f} / {mrr:.4f} {epoch:3}", end="", flush=True)
            figures.append({"name": name, "data": data, "settings": asdict(config), "recall_mrr": found})
        print()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1))


def judge(clicks: Path, splits: list[str], config: TrainConfig) -> list[tuple[float, float]]:
    """Recall@20 and MRR@20 on the newest sessions after each epoch of training on the other sessions."""
    frame = read_click_file(clicks, splits).frame
    parts = hold_out_newest(frame, SHARE, config.min_support, config.min_length)
    index = parts.index
    torch.manual_seed(config.fit.seed)
    family = network_family_of(config.family)
    network = family.untrained(config.shape(len(index)))
    figures = []

    def after_epoch(_: int) -> None:
        evaluation = evaluate(family.ranker(network, index, torch.device("cpu"), "exact"), parts.valid)
        figures.append((evaluation.recall[20], evaluation.mrr[20]))

    fit(network, sessions_of(parts.train, index), index.support, config.fit, after_epoch=after_epoch)
    return figures


if __name__ == "__main__":
    main()
