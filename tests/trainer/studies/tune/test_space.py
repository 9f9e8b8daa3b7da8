import pytest

from schemas.errors import SettingsError
from trainer.config import FitConfig, TrainConfig
from trainer.studies.tune.space import Choice, Range, default_space, read_space

PLAIN = TrainConfig()
BPR_MAX = TrainConfig(FitConfig(loss="bpr-max"))


def test_ranges_lists_and_names_alone() -> None:
    space = read_space(["learning_rate=0.01..0.2", "hidden=64..256", "samples=128|512", "momentum"], PLAIN)
    assert space == {
        "learning-rate": Range(0.01, 0.2),
        "hidden": Range(64, 256),
        "samples": Choice((128, 512)),
        "momentum": default_space(PLAIN)["momentum"],
    }
    assert read_space(["loss=bpr|top1"], PLAIN) == {"loss": Choice(("bpr", "top1"))}


def test_whole_ends_of_a_share_are_no_whole_numbers() -> None:
    space = read_space(["sample-alpha=0..1"], PLAIN)
    assert isinstance(space["sample-alpha"], Range)
    assert isinstance(space["sample-alpha"].high, float)
    assert 0.5 in space["sample-alpha"]
    assert 2 not in space["sample-alpha"]


def test_the_usual_space_is_what_loss_optimiser_and_input_use() -> None:
    assert "logq" in default_space(PLAIN)
    assert "bpreg" not in default_space(PLAIN)
    assert {"bpreg", "elu"} <= set(default_space(BPR_MAX))
    assert "logq" not in default_space(BPR_MAX)
    assert "logq" not in default_space(TrainConfig(FitConfig(top_negatives=100)))
    assert "dropout-embedding" not in default_space(TrainConfig(input="one-hot"))
    assert "momentum" not in default_space(TrainConfig(FitConfig(optimizer="adam")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate=1..2", "--search rate=1..2: 'rate' cannot be searched: choose from loss, batch-size"),
        ("epochs=1..9", "'epochs' cannot be searched"),
        ("bpreg=0..1", "'bpreg' cannot be searched"),
        ("hidden", "say which values, hidden=LOW..HIGH or hidden=A|B|C"),
        ("samples=1.5..9", "samples = 1.5: "),
        ("samples=9..1", "a range goes from a lower number to a higher one; write samples=LOW..HIGH"),
        ("samples=1..2..3", "write samples=LOW..HIGH"),
        ("loss=bpr|hinge", "loss = 'hinge'"),
        ("loss=bpr..top1", "a range goes from a lower number to a higher one"),
        ("momentum=", "momentum = ''"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_space([text], PLAIN)
    assert message in str(caught.value)
