"""Which run a checkpoint belongs to: what a run may change when it goes on, and what makes it another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .settings import DistillSettings

# How long, how fast and how exactly is trained, and what is written; all other settings make another run.
_MAY_CHANGE = (
    *("steps", "batch_size", "micro_batch", "fake_steps", "precision", "gradient_checkpointing"),
    *("learning_rate", "fake_learning_rate", "warmup", "decay"),
    *("beta1", "beta2", "weight_decay", "epsilon", "max_grad_norm"),
    *("ema", "lora_dtype", "save_every", "preview_every"),
)
# Settings that mean nothing where a loss is off.
_SETTINGS_OF = {
    "mmd": ("mmd_weight", "mmd_kernel", "mmd_c", "mmd_sigma", "mmd_range", "mmd_network"),
    "dmd": ("dmd_weight", "teacher_cfg", "fake_cfg"),
    "gan": ("gan_weight", "discriminator_weight", "discriminator_layers"),
}
# What the user knows it by, where that is not its own name.
_INPUTS = {
    "family": "model",
    "sizes": "dataset (sizes)",
    "scales": "schedule (scales)",
    "timesteps": "schedule (timesteps)",
    "seed": "training_seed",
}


def check_identity(before: Mapping[str, Any], origin: Mapping[str, Any], settings: DistillSettings) -> None:
    """Refuse to go on from the checkpoint of another run.

    `before`: what the checkpoint says of its run, as JSON gave it back; what it does not say is not compared. `origin`:
    what the run at hand is made from beside its settings.

    Raises:
        InputError: it names all that differs, with what it was and what it is.
    """
    off = [name for loss, names in _SETTINGS_OF.items() if not getattr(settings, loss) for name in names]
    chosen = {name: value for name, value in settings.to_dict().items() if name not in (*_MAY_CHANGE, *off)}
    # As JSON gives it back, a tuple is a list.
    now = json.loads(json.dumps({**origin, **chosen}))
    changed = [name for name, value in now.items() if before.get(name, value) != value]
    if changed:
        raise InputError(
            "checkpoint: it belongs to another run.",
            found="; ".join(
                f"{_INPUTS.get(name, name)} was {_show(before[name])}, is now {_show(now[name])}" for name in changed
            ),
            allowed="what the run began with; steps, batch size, learning rate, precision, ema and what is saved may "
            "change",
            remedy="set it back, choose another name, or start over.",
        )


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    return f"{value:.9g}" if isinstance(value, float) else str(value)
