"""A model in its three roles: teacher, student and fake-score network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .checkpointing import checkpointed
from .denoiser import Condition, Denoiser, Timesteps
from .features import FeatureTap
from .lora import Adapters

STUDENT = "student"
FAKE = "fake"
TEACHER: str | None = None


@dataclass
class Network:
    """One frozen model with a LoRA for each role; the teacher is the model without any.

    `blocks`: what gradient checkpointing works on; empty for none. `precision`: dtype of autocast; None for the model's
    own. `device`: where the model is.
    """

    denoiser: Denoiser
    adapters: Adapters
    tap: FeatureTap
    blocks: Sequence[nn.Module] = ()
    precision: torch.dtype | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Hang all hooks into the model for the time of the context, and take them all away again."""
        with self.adapters.installed(), self.tap.installed(), checkpointed(self.blocks, self.adapters):
            yield

    def clean(
        self, role: str | None, noisy: Tensor, timesteps: Timesteps, condition: Condition, frozen: bool = False
    ) -> Tensor:
        """The clean estimate of a role, in float32."""
        with self.adapters.use(role, frozen), self._autocast():
            return self.denoiser.clean(noisy, timesteps, condition)

    def features(
        self, role: str | None, noisy: Tensor, timesteps: Timesteps, condition: Condition, frozen: bool = False
    ) -> Tensor:
        """The block features [B, tokens, channels] of a role."""
        with self.adapters.use(role, frozen), self._autocast():
            return self.tap.features(lambda: self.denoiser.clean(noisy, timesteps, condition))

    def clean_and_features(
        self, role: str | None, noisy: Tensor, timesteps: Timesteps, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        """Both from one forward pass."""
        with self.adapters.use(role), self._autocast():
            return self.tap.output_and_features(lambda: self.denoiser.clean(noisy, timesteps, condition))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=self.precision or torch.bfloat16, enabled=self.precision is not None
        )
