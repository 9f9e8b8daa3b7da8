"""Checkpoints: an interrupted training resumes after its last complete epoch and gives the same result.

Between two epochs the hidden states are zero, so a checkpoint needs only the weights, the optimiser's state and the
position of the random number streams. It is one file, `checkpoint.safetensors`, which is replaced atomically: after a
crash during a write the previous checkpoint is still there.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clicklog.sessions import Sessions
from schemas.errors import TrainingError

FILE = "checkpoint.safetensors"
OLDER, ALL = PARTS = ("older", "all")
"""The fits of a blend, see `trainer.blending.train`: of the older sessions, and of all."""

ADDED = {"family": "gru4rec", "validate": 0.0, "validation": None, "top_negatives": 0}
"""What checkpoints of version 0.1 do not name, with the values of the trainings of that version."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its checkpoint.

    Attributes:
        directory: created if it does not exist.
        training: what must be equal for a training to resume from the checkpoint: settings by name, and the
            `fingerprint` of the clicks. The values must be JSON values.
        replace_others: remove a checkpoint of another training, or a damaged one, instead of raising an error. For
            trainings that run unattended.
        part: which fit of a blend it is of; each has a file of its own.
    """

    directory: Path
    training: Mapping[str, Any]
    replace_others: bool = False
    part: str = ""

    def save(self, losses: list[float], state: Mapping[str, Tensor]) -> None:
        """Save the state after an epoch.

        Args:
            losses: mean loss per event of each finished epoch.
            state: see `trainer.backends.backend.TrainingBackend.state`.

        Raises:
            TrainingError: the file cannot be written.
        """
        about = {"training": json.dumps(dict(self.training)), "losses": json.dumps(losses)}
        scratch = self.directory / f".{self._file.name}.{os.getpid()}"
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, scratch, about)
            with scratch.open("rb+") as file:
                os.fsync(file.fileno())
            scratch.replace(self._file)
        except (OSError, SafetensorError) as error:
            raise self._unwritable(error) from error

    def load(self) -> tuple[list[float], dict[str, Tensor]] | None:
        """Load the losses of the finished epochs and the state after them; None if there is no checkpoint yet.

        Raises:
            TrainingError: the checkpoint is damaged or of another training and `replace_others` is False, or the
                directory cannot be created.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)  # fail now, not after an epoch
        except OSError as error:
            raise self._unwritable(error) from error
        self._check_no_others()
        if not self._file.exists():
            return None
        try:
            return self._read()
        except TrainingError:
            if not self.replace_others:
                raise
            self._file.unlink(missing_ok=True)
            return None

    def _check_no_others(self) -> None:
        """A blend keeps no checkpoint beside that of a network alone: each is removed once the other is trained."""
        for part in PARTS if not self.part else ("",):
            other = replace(self, part=part)._file
            if not other.exists():
                continue
            if not self.replace_others:
                theirs, mine = ("a blend", "no blend") if part else ("no blend", "a blend")
                raise TrainingError(
                    f"the checkpoint {other} is of another training (of {theirs}, and this trains {mine}): train as "
                    "it was, or give another --checkpoint"
                )
            other.unlink(missing_ok=True)

    def _read(self) -> tuple[list[float], dict[str, Tensor]]:
        try:
            with safe_open(self._file, framework="pt") as file:
                about = file.metadata()
                training, losses = ADDED | json.loads(about["training"]), json.loads(about["losses"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"the checkpoint {self._file} is damaged ({error}): remove it") from error
        wanted = ADDED | json.loads(json.dumps(dict(self.training)))
        others = [name for name in sorted({*training, *wanted}) if training.get(name) != wanted.get(name)]
        if others:
            differ = ", ".join(f"{name} {training.get(name)} there and {wanted.get(name)} here" for name in others)
            raise TrainingError(
                f"the checkpoint in {self.directory} is of another training ({differ}): train as it was, or give "
                "another --checkpoint"
            )
        return losses, state

    def remove(self) -> None:
        """Remove the checkpoint, if there is one, and those of the parts of a blend."""
        for part in ("", *PARTS):
            replace(self, part=part)._file.unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> TrainingError:
        return TrainingError(f"the checkpoint cannot be written to {self.directory}: {error}")

    @property
    def _file(self) -> Path:
        return self.directory / (f"{self.part}-{FILE}" if self.part else FILE)


def fingerprint(sessions: Sessions, items: int) -> str:
    """A digest of the training data, 16 hexadecimal digits."""
    digest = hashlib.sha256(str(items).encode())
    digest.update(sessions.items.data)
    digest.update(sessions.offsets.data)
    return digest.hexdigest()[:16]
