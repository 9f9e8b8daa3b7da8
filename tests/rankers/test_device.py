import re

import pytest
import torch

from rankers.device import choose_device
from schemas.errors import SettingsError


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


def test_a_gpu_is_taken_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(
        SettingsError, match=re.escape("--device='cuda:2': torch sees 2 GPUs here; use auto or cpu") + "$"
    ):
        choose_device("cuda:2", "--device")


@pytest.mark.parametrize("name", ["tpu", "", "cuda:", "cuda:-1", "mps", "meta", "CPU"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        choose_device(name)
    assert str(refused.value) == f"NEXTCLICK_DEVICE={name!r} is no device: use auto, cpu, cuda or cuda:N"
