"""Checkpoints: a training that was interrupted goes on from its last whole epoch, to the same result.

Between two epochs the hidden states are zero, so the weights, the optimiser's state and how far the random numbers are
make up everything. One file, `checkpoint.safetensors`, replaced in one go: a crash while it is written leaves the
one before.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clicklog.sessions import Sessions
from schemas.errors import TrainingError

FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its checkpoint.

    Attributes:
        directory: made where it is not there.
        training: what must be the same for a training to go on from it: settings by name, and what `fingerprint` says
            of the clicks. Values that JSON can hold.
        earlier: the same as an earlier version wrote it, where a training may go on from its checkpoint.
        replace_others: a checkpoint of another training, or a damaged one, is removed instead of refused: nobody
            watches this training.
    """

    directory: Path
    training: Mapping[str, Any]
    earlier: Mapping[str, Any] | None = None
    replace_others: bool = False

    def save(self, losses: list[float], state: Mapping[str, Tensor]) -> None:
        """Keep the state after an epoch.

        Args:
            losses: of the epochs done.
            state: see `trainer.backends.backend.TrainingBackend.state`.

        Raises:
            TrainingError: the directory cannot be written.
        """
        about = {"training": json.dumps(dict(self.training)), "losses": json.dumps(losses)}
        scratch = self.directory / f".{FILE}.{os.getpid()}"
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, scratch, about)
            with scratch.open("rb+") as file:
                os.fsync(file.fileno())
            scratch.replace(self._file)
        except (OSError, SafetensorError) as error:
            raise self._unwritable(error) from error

    def load(self) -> tuple[list[float], dict[str, Tensor]] | None:
        """The losses of the epochs done and the state after them; None where there is no checkpoint yet.

        Raises:
            TrainingError: it is another training's or damaged, and is not to be replaced; or there can be none.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)  # now, and not after an epoch
        except OSError as error:
            raise self._unwritable(error) from error
        if not self._file.exists():
            return None
        try:
            return self._read()
        except TrainingError:
            if not self.replace_others:
                raise
            self.remove()
            return None

    def _read(self) -> tuple[list[float], dict[str, Tensor]]:
        try:
            with safe_open(self._file, framework="pt") as file:
                about = file.metadata()
                training, losses = json.loads(about["training"]), json.loads(about["losses"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"the checkpoint {self._file} is damaged ({error}): remove it") from error
        wanted = json.loads(json.dumps(dict(self.training)))
        others = [name for name in sorted({*training, *wanted}) if training.get(name) != wanted.get(name)]
        if others and training != self.earlier:
            differ = ", ".join(f"{name} {training.get(name)} there and {wanted.get(name)} here" for name in others)
            raise TrainingError(
                f"the checkpoint in {self.directory} is of another training ({differ}): train as it was, or give "
                "another --checkpoint"
            )
        return losses, state

    def remove(self) -> None:
        """Forget the training; its result is elsewhere now."""
        self._file.unlink(missing_ok=True)

    def _unwritable(self, error: Exception) -> TrainingError:
        return TrainingError(f"the checkpoint cannot be written to {self.directory}: {error}")

    @property
    def _file(self) -> Path:
        return self.directory / FILE


def fingerprint(sessions: Sessions, items: int) -> str:
    """A short digest of what is trained on."""
    digest = hashlib.sha256(str(items).encode())
    digest.update(sessions.items.data)
    digest.update(sessions.offsets.data)
    return digest.hexdigest()[:16]
