from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

torch.set_num_threads(1)  # two threads on a busy core wait for each other


@pytest.fixture(scope="session")
def shop_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 sessions over 40 items, each item followed by the next or by itself; the last 60 are the test split."""
    random = np.random.default_rng(0)
    rows = []
    for session in range(300):
        item = int(random.integers(40))
        for click in range(5):
            rows.append((session, item, session * 1000 + click, "train" if session < 240 else "test"))
            item = (item + int(random.random() < 0.8)) % 40
    path = tmp_path_factory.mktemp("shop") / "shop.parquet"
    pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp", "split"], orient="row").write_parquet(path)
    return path
