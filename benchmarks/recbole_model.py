"""Trains a model of RecBole and scores prefixes with it. Runs in RecBole's Python, as a script of `benchmarks.recbole`.

It imports nothing of this project, and reads and writes files in its working directory. The first line on standard
input is the job; the answer, on standard output, is how many events it trained in a second of CPU time. Each empty line
after it asks for the scores of `prefixes.npz`, which are written to `scores.npy`.

RecBole's STAMP has a fault: its padding has a vector, random at first and then trained as if it were an item, and the
average and the attention of a short session include it.
"""

import itertools
import json
import os
import sys
import time
from typing import Any

import numpy as np

INTERACTIONS = "clicks/clicks.train.inter"


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # RecBole prints
    job = json.loads(sys.stdin.readline())

    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.data.interaction import Interaction
    from recbole.utils import get_model, get_trainer, init_seed

    torch.set_num_threads(1)
    with np.load("sessions.npz") as sessions:
        write_interactions(sessions["items"], sessions["offsets"], job["window"])
    config = Config(model=job["model"], dataset="clicks", config_dict=settings(job))
    init_seed(job["seed"], reproducibility=True)
    dataset = create_dataset(config)
    clicks, _, _ = data_preparation(config, dataset)
    model = get_model(job["model"])(config, clicks.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], job["model"])(config, model)
    begin = time.process_time()
    trainer.fit(clicks, saved=False, verbose=False)
    print(len(clicks.dataset) * job["epochs"] / (time.process_time() - begin), file=answers)

    model.eval()
    column = np.asarray(dataset.token2id("item_id", [str(row) for row in range(job["items"])]))  # (I,)
    width = dataset.field2seqlen["item_id_list"]
    for _ in sys.stdin:
        with np.load("prefixes.npz") as prefixes:
            padded, length = last_items(column[prefixes["items"]], prefixes["offsets"], width)
        with torch.no_grad():
            scores = model.full_sort_predict(
                Interaction({"item_id_list": torch.from_numpy(padded), "item_length": torch.from_numpy(length)})
            )
        np.save("scores.npy", scores.numpy()[:, column])
        print(file=answers)


def settings(job: dict[str, Any]) -> dict[str, Any]:
    """RecBole's own defaults, but for what the comparison needs."""
    return {
        "data_path": ".",
        "benchmark_filename": ["train"] * 3,  # it wants three parts; only the first is used
        "alias_of_item_id": ["item_id_list"],
        "USER_ID_FIELD": "session_id",
        "load_col": None,
        "MAX_ITEM_LIST_LENGTH": job["window"],
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "train_batch_size": job["batch_size"],
        "learning_rate": job["learning_rate"],
        "hidden_size": job["hidden"],
        "embedding_size": job["hidden"],
        "epochs": job["epochs"],
        "seed": job["seed"],
        "show_progress": False,
        "use_gpu": False,
    }


def write_interactions(items: Any, offsets: Any, window: int) -> None:
    """RecBole's file of a data set: for each click but a session's first, the items before it."""
    os.makedirs(os.path.dirname(INTERACTIONS))
    with open(INTERACTIONS, "w") as file:
        file.write("session_id:token\titem_id_list:token_seq\titem_id:token\n")
        for session, (first, end) in enumerate(itertools.pairwise(offsets)):
            for place in range(first + 1, end):
                before = " ".join(map(str, items[max(first, place - window) : place]))
                file.write(f"{session}\t{before}\t{items[place]}\n")


def last_items(items: Any, offsets: Any, width: int) -> tuple[Any, Any]:
    """The last items of each prefix, padded with 0 behind them: (N, width), and their numbers (N,)."""
    length = np.minimum(np.diff(offsets), width)
    place = np.arange(width)  # (width,)
    inside = place < length[:, None]  # (N, width)
    padded = np.zeros(inside.shape, dtype=np.int64)
    padded[inside] = items[((offsets[1:] - length)[:, None] + place)[inside]]
    return padded, length


if __name__ == "__main__":
    main()
