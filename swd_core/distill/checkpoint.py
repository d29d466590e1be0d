"""Checkpoints: all that a run needs to go on as if it had never stopped, in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path

from .files import read_tensors, write_tensors
from .trainer import Trainer

NAME = "checkpoint.safetensors"


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Write the checkpoint of a run; the one before stays until the new one is whole."""
    metadata = {
        "step": str(trainer.step),
        "history": json.dumps(trainer.history),
        "settings": json.dumps(trainer.settings.to_dict()),
    }
    write_tensors(folder / NAME, trainer.tensors(), metadata)


def load_checkpoint(trainer: Trainer, folder: Path) -> bool:
    """Go on from the checkpoint in a folder; False if there is none.

    Raises:
        InputError: it belongs to a run of another rank, other layers or other losses.
    """
    path = folder / NAME
    if not path.is_file():
        return False
    tensors, metadata = read_tensors(path)
    trainer.load(tensors, int(metadata["step"]), json.loads(metadata["history"]))
    return True
