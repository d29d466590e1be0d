"""What the user sees of a run while it lasts, and how it is stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
from PIL import Image
from torch import Tensor

from ..progress import announce
from .session import Session

_PREVIEW_SIDE = 512
# A tiny model has more passes a second than anybody can read.
_SECONDS_BETWEEN_LINES = 0.5


class DatasetProgress:
    """Progress of a dataset, with each new picture as the preview."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, done: int, total: int, picture: Tensor | None) -> None:
        self._bar = self._bar or comfy.utils.ProgressBar(total)
        preview = None
        if picture is not None:
            announce(f"picture {done} of {total}")
            preview = ("JPEG", _image(picture), _PREVIEW_SIDE)
        self._bar.update_absolute(done, total, preview)
        comfy.model_management.throw_exception_if_processing_interrupted()


class TrainingProgress:
    """Progress of a training run, with a picture of the student as the preview every `preview_every` steps."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._told = time.monotonic()

    def within_step(self, step: int, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told > _SECONDS_BETWEEN_LINES:
            self._told = now
            announce(f"training step {step}: picture {done} of {total}")
        # A step of a large model takes minutes.
        comfy.model_management.throw_exception_if_processing_interrupted()

    def after_step(self, session: Session, losses: dict[str, float]) -> None:
        settings, step = session.settings, session.trainer.step
        self._bar = self._bar or comfy.utils.ProgressBar(settings.steps)
        announce(f"training step {step} of {settings.steps}, loss {losses['total']:.4g}")
        every = settings.preview_every
        preview = _student_preview(session) if every and (step % every == 0 or step == settings.steps) else None
        self._bar.update_absolute(step, settings.steps, preview)
        comfy.model_management.throw_exception_if_processing_interrupted()


@contextmanager
def stop_announced() -> Iterator[None]:
    """Say in the node that a run which the user stopped is not lost; ComfyUI calls it a failed job."""
    try:
        yield
    except comfy.model_management.InterruptProcessingException:
        announce("stopped: what is done is kept, and the next run goes on from there")
        raise


def _student_preview(session: Session) -> tuple[str, Image.Image, int] | None:
    previewer = latent_preview.get_previewer(session.model.load_device, session.model.model.latent_format)
    if previewer is None:
        return None
    preview: tuple[str, Image.Image, int] = previewer.decode_latent_to_preview_image("JPEG", session.preview())
    return preview


def _image(picture: Tensor) -> Image.Image:
    values = (picture.clamp(0, 1) * 255).round().byte().cpu().contiguous()
    return Image.frombytes("RGB", (values.shape[1], values.shape[0]), values.numpy().tobytes())
