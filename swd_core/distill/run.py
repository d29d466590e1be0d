"""A whole run: steps, checkpoints, and what is left when it stops."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .checkpoint import save_checkpoint
from .trainer import Trainer

logger = logging.getLogger("swd")

_REMEDY = (
    "lower the learning rate, or use precision fp32, and run again, which goes on from the last checkpoint; or start "
    "over."
)

AfterStep = Callable[[int, dict[str, float]], None]
"""(steps done, losses of the last). May raise to stop the run, which keeps the step."""


def run_training(
    trainer: Trainer, folder: Path | None, write_lora: Callable[[], object], after_step: AfterStep
) -> None:
    """Train to the last step, within `trainer`'s installed network.

    `folder`: where the checkpoint goes; None where another process writes it. However the run ends, the LoRA of its
    last whole step is written, and a checkpoint from which it goes on as if it had not stopped.

    Raises:
        InputError: losses or weights that are no numbers any more, or a file that cannot be written; what was saved
        before stays.
    """
    saved = trainer.step, trainer.rounds

    def save() -> None:
        nonlocal saved
        now = trainer.step, trainer.rounds
        if folder is None or now == saved:
            return
        if trainer.rounds:
            _check_adversary(trainer)
        save_checkpoint(trainer, folder)
        if trainer.step != saved[0]:
            write_lora()
        saved = now

    every = trainer.settings.save_every
    while trainer.step < trainer.settings.steps:
        try:
            losses = trainer.train_step()
        except BaseException:
            # A device that failed cannot be read any more; then what it failed of is what the user should see. A disk
            # that takes nothing is another matter: a stop would say that all is kept.
            try:
                save()
            except InputError:
                raise
            except Exception as error:
                logger.warning("SwD: training stopped, and its steps after %d could not be saved: %s", saved[0], error)
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
            remedy=_REMEDY,
        )


def _check_adversary(trainer: Trainer) -> None:
    # Losses are read at the end of a step, so a step that broke off may have lost it unseen, and the checkpoint of
    # before with it.
    if not trainer.is_finite():
        raise InputError(
            f"training: the second LoRA is no longer finite in step {trainer.step + 1}.",
            found="NaN or infinity",
            allowed="finite weights",
            remedy=_REMEDY,
        )
