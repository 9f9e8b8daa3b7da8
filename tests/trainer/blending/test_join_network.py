"""A network that is trained already, joined with neighbours of later clicks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rankers.bundle import read_bundle
from schemas.settings import Settings
from tests.command_line import Command
from trainer.presets import blend_defaults
from trainer.retraining.fitting import warm_start

pytestmark = pytest.mark.usefixtures("compiled_kernel")

DAY = 86_400_000
FEW = ("--epochs", 1, "--samples", 16, "--hidden", 8, "--min-support", 1)


def shop(begin: int, first: int, seed: int) -> pl.DataFrame:
    """200 sessions of a day over 40 items, each followed by the next one."""
    random = np.random.default_rng(seed)
    rows = []
    for session in range(200):
        item = int(random.integers(40))
        for click in range(4):
            name = f"i{first + item}"
            rows.append((f"{seed}-{session}", name, begin + session * 100_000 + click))
            item = (item + 1) % 40
    return pl.DataFrame(rows, schema=["session_id", "item_id", "timestamp"], orient="row")


@pytest.fixture
def network(nextclick: Command, tmp_path: Path) -> Path:
    """Of the items i0 to i39, trained on day 1; day 2 has the items i20 to i59."""
    shop(DAY, 0, 1).write_parquet(tmp_path / "day1.parquet")
    shop(2 * DAY, 20, 2).write_parquet(tmp_path / "day2.parquet")
    assert nextclick("train", "--clicks", "day1.parquet", *FEW, "--out", "network").code == 0
    return tmp_path / "network"


def join(nextclick: Command, *more: object, clicks: str = "day2.parquet", source: str = "network") -> str:
    done = nextclick(
        *("train", "--clicks", clicks, "--family", "blend", "--network-from", source, "--min-support", 1),
        *more,
    )
    if done.code:
        assert done.stderr.splitlines()[-1].startswith("nextclick: ")
        assert done.stderr.count("nextclick: ") == 1
    return done.stderr if done.code else done.stdout + done.stderr


def test_the_network_stays_and_new_items_follow_its_own(nextclick: Command, network: Path, tmp_path: Path) -> None:
    said = join(nextclick, "--out", "joined", "--k", 30)
    assert "of the neighbours and temperature" in said
    assert "counted" in said
    before, after = read_bundle(network), read_bundle(tmp_path / "joined")
    assert after.family == "blend"
    assert list(after.items.ids[:40]) == list(before.items.ids) == list(after.model.network_items)
    assert set(after.items.ids[40:]) == {f"i{item}" for item in range(40, 60)}
    assert after.items.support[list(after.items.ids).index("i3")] == 0, "not clicked on day 2"
    assert after.model.neighbours.config.k == 30
    assert all(
        bool((tensor == after.model.network.state_dict()[name]).all())
        for name, tensor in before.model.state_dict().items()
    )
    assert after.settings["network_from"] == before.version
    assert "hidden" not in after.settings
    assert before.trained_on is not None
    assert after.trained_on is not None
    assert after.trained_on.last != before.trained_on.last
    assert after.trained_on.network_until == after.trained_on.network_seen_until == before.trained_on.last
    settings = Settings(_env_file=None, models_uri=str(tmp_path))
    warm = warm_start(after, replace(blend_defaults("gru4rec"), hidden=8, k=30), settings, print)
    assert warm is not None
    assert warm.seen == before.trained_on.last, "its network goes on from the clicks that it was trained on"
    done = nextclick("evaluate", "--model", "joined", "--clicks", "day2.parquet")
    assert done.code == 0
    shop(3 * DAY, 20, 3).write_parquet(tmp_path / "day3.parquet")
    again = join(nextclick, "--out", "again", clicks="day3.parquet", source="joined")
    assert "of the neighbours and temperature" in again, "the network of a blend can be joined too"
    third = read_bundle(tmp_path / "again")
    assert len(third.model.network_items) == 40
    assert third.trained_on is not None
    assert third.trained_on.network_until == before.trained_on.last


def test_a_network_that_was_trained_on_the_newest_sessions_is_refused(nextclick: Command, network: Path) -> None:
    assert network.exists()
    said = join(nextclick, clicks="day1.parquet")
    assert "was trained on clicks up to 1970-01-02" in said
    assert "give later clicks, or a smaller --validate" in said


def test_what_does_not_go_with_a_trained_network_is_refused(nextclick: Command, network: Path, tmp_path: Path) -> None:
    assert network.exists()
    said = join(nextclick, "--hidden", 50)
    assert "--hidden 50 is for the training of a network, and --network-from takes one that is trained" in said
    assert "--network narm is for the training" in join(nextclick, "--network", "narm")
    assert "validate = 0: a blend fits its weight on the newest sessions" in join(nextclick, "--validate", 0)
    kept = join(nextclick, "--checkpoint", "kept")
    assert "--checkpoint kept keeps the training of a network, and --network-from takes one that is trained" in kept
    assert "is no whole bundle" in join(nextclick, source="nowhere")
    counted = nextclick("train", "--clicks", "day1.parquet", "--family", "stan", "--min-support", 1, "--out", "stan")
    assert counted.code == 0
    assert "is of the family stan, and has no network" in join(nextclick, source="stan")
    preset = join(nextclick, "--preset", "rsc15")
    assert "--preset rsc15 trains a network, and --network-from takes one: give one of them" in preset
    alone = nextclick("train", "--clicks", "day2.parquet", "--network-from", "network")
    assert alone.stderr == "nextclick: --network-from is for blends: give --family blend\n"
    timeless = shop(2 * DAY, 20, 2).with_columns(timestamp=pl.lit(None, pl.Int64))
    timeless.write_parquet(tmp_path / "timeless.parquet")
    assert "without times of the clicks nothing says whether" in join(nextclick, clicks="timeless.parquet")
