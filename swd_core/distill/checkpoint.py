"""Checkpoints: all that a run needs to go on as if it had never stopped, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .files import damaged, read_tensors, write_tensors
from .history import pack_history, unpack_history
from .identity import check_identity
from .trainer import Trainer

NAME = "checkpoint.safetensors"
_HISTORY = "history"


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write the checkpoint of a run; the one before stays until the new one is whole."""
    names, history = pack_history(trainer.history)
    metadata = {
        "step": str(trainer.step),
        "rounds": str(trainer.rounds),
        "losses": json.dumps(names),
        "settings": json.dumps(trainer.settings.to_dict()),
        "origin": json.dumps(trainer.origin),
    }
    write_tensors(folder / NAME, {**trainer.tensors(), _HISTORY: history}, metadata)


def load_checkpoint(trainer: Trainer, folder: Path) -> bool:
    """Go on from the checkpoint in a folder; False if there is none.

    Raises:
        InputError: it is damaged or none of a training run, or belongs to another run; see `check_identity`.
    """
    path = folder / NAME
    if not path.is_file():
        return False
    tensors, metadata = read_tensors(path, "checkpoint")
    try:
        # Older checkpoints say less.
        before = {**json.loads(metadata.get("settings", "{}")), **json.loads(metadata.get("origin", "{}"))}
        step, rounds = int(metadata["step"]), int(metadata.get("rounds", "0"))
        history = _history(tensors.pop(_HISTORY, None), metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, "checkpoint", f"a header that is none of a training run ({error})") from error
    check_identity(before, trainer.origin, trainer.settings)
    trainer.load(tensors, step, history, rounds)
    return True


def _history(values: Tensor | None, metadata: Mapping[str, str]) -> list[dict[str, float]]:
    if values is not None:
        return unpack_history(json.loads(metadata["losses"]), values)
    # Until it turned out that a header holds no more than some 400,000 steps.
    history: list[dict[str, float]] = json.loads(metadata[_HISTORY])
    return history
