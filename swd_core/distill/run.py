"""A whole run: steps, checkpoints, and what is left when it stops."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .checkpoint import save_checkpoint
from .trainer import Trainer

AfterStep = Callable[[int, dict[str, float]], None]
"""(steps done, losses of the last). May raise to stop the run, which keeps the step."""


def run_training(
    trainer: Trainer, folder: Path | None, write_lora: Callable[[], object], after_step: AfterStep
) -> None:
    """Train to the last step, within `trainer`'s installed network.

    `folder`: where the checkpoint goes; None where another process writes it. However the run ends, the LoRA and the
    checkpoint of its last whole step are written.

    Raises:
        InputError: a loss that is no number any more; what was saved before stays.
    """
    saved = trainer.step

    def save() -> None:
        nonlocal saved
        if folder is not None and trainer.step != saved:
            save_checkpoint(trainer, folder)
            write_lora()
            saved = trainer.step

    every = trainer.settings.save_every
    while trainer.step < trainer.settings.steps:
        try:
            losses = trainer.train_step()
        except BaseException:
            # The adversary may have had updates of the step that broke off, which is better than hours lost. A device
            # that failed cannot be read any more; then what it failed of is what the user should see.
            with contextlib.suppress(Exception):
                save()
            raise
        _check(losses, trainer.step)
        try:
            after_step(trainer.step, losses)
        except BaseException:
            save()
            raise
        if every and trainer.step % every == 0:
            save()
    save()


def _check(losses: dict[str, float], step: int) -> None:
    lost = [name for name, value in losses.items() if not math.isfinite(value)]
    if lost:
        raise InputError(
            f"training: {lost[0]} is no longer finite at step {step}.",
            found=", ".join(f"{name} {value}" for name, value in losses.items()),
            allowed="finite losses",
            remedy="lower the learning rate, or use precision fp32, and start over.",
        )
