"""What a bundle says of its network's shape is checked before any memory is taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clicklog.items import ItemIndex
from rankers.bundle import Bundle, read_bundle, write_bundle
from rankers.families import network_family_of
from schemas.errors import BundleError


@pytest.mark.parametrize("family", ["gru4rec", "narm", "stamp", "sasrec"])
def test_a_shape_whose_size_overflows_is_refused(family: str, tmp_path: Path) -> None:
    network = network_family_of(family).untrained({"items": 50, "hidden": 4})
    network.config = replace(network.config, hidden=10**10)
    write_bundle(Bundle("v1", network, ItemIndex(list(range(50)), np.ones(50, dtype=np.int64)), family), tmp_path / "b")
    with pytest.raises(BundleError, match="does not fit together: a network of this shape cannot be built"):
        read_bundle(tmp_path / "b")


def test_a_window_that_fits_into_no_memory_is_refused_before_any_is_taken(tmp_path: Path) -> None:
    network = network_family_of("sasrec").untrained({"items": 50, "hidden": 4})
    network.config = replace(network.config, window=10**12)
    write_bundle(
        Bundle("v1", network, ItemIndex(list(range(50)), np.ones(50, dtype=np.int64)), "sasrec"), tmp_path / "b"
    )
    with pytest.raises(BundleError, match=r"tensor 'positions' is \(20, 4\), .* asks for \(1000000000000, 4\)"):
        read_bundle(tmp_path / "b")
