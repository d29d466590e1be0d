"""Training of the teacher: flow matching, resumable with an identical continuation."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from swd_dev.toy.data import FULL_SIDE, TrainingData
from swd_dev.toy.model import DEPTH, TIMESTEPS, make_trainee
from swd_dev.toy.text import Features
from swd_dev.toy.text_start import whiten_text_layers

SHIFT = 3.0
EMA_DECAY = 0.998


@dataclass(frozen=True)
class Settings:
    """`full_from`, `decay_from`: parts of `steps` after which every second batch has captions of all 77 tokens, and
    the rate falls to zero. Before, captions end after 16 tokens, which is nearly twice as fast.

    Then come `guidance_steps`, in which `unconditional` of the captions are empty, for classifier-free guidance (Ho and
    Salimans 2022); the rate starts again at the part `restart` and falls to zero.
    """

    steps: int = 4500
    guidance_steps: int = 5000
    depth: int = DEPTH
    batch: int = 32
    rate: float = 3e-3
    warmup: int = 50
    seed: int = 5
    small_every: int = 8
    full_from: float = 0.75
    decay_from: float = 0.7
    unconditional: float = 0.1
    restart: float = 0.5
    checkpoint_every: int = 100

    @property
    def all_steps(self) -> int:
        return self.steps + self.guidance_steps


@dataclass(frozen=True)
class Batch:
    """Clean latents [B, 16, side, side] and their features."""

    latents: Tensor
    features: Features


class TeacherTraining:
    """The state of a training run. A step draws from a generator of its own number, so a resumed run is identical."""

    def __init__(self, data: TrainingData, settings: Settings) -> None:
        self._data, self._settings = data, settings
        self.model: Any = make_trainee(settings.depth, settings.seed)
        whiten_text_layers(self.model, data.short, data.full, settings.seed)
        self.average: dict[str, Tensor] = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.step = 0

    def train_step(self) -> dict[str, float]:
        """One update; returns what belongs in the log."""
        start = time.monotonic()
        generator = torch.Generator("cpu").manual_seed(self._settings.seed * 1_000_003 + self.step)
        batch = self._draw(generator)
        rate = learning_rate(self.step, self._settings)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = flow_matching_loss(self.model, batch, generator)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        self._follow()
        return {
            "step": self.step,
            "loss": round(loss.item(), 5),
            "rate": rate,
            "side": batch.latents.shape[-1],
            "tokens": batch.features.context.shape[1],
            "seconds": round(time.monotonic() - start, 3),
        }

    def _draw(self, generator: torch.Generator) -> Batch:
        settings, data = self._settings, self._data
        small = [side for side in data.pictures if side != FULL_SIDE]
        if small and self.step % settings.small_every == settings.small_every - 1:
            pictures = data.pictures[small[self.step // settings.small_every % len(small)]]
        else:
            pictures = data.pictures[FULL_SIDE]
        if self.step % 2 == 0 and self.step >= settings.full_from * settings.steps:
            rows = torch.isin(pictures.captions, data.full_captions).nonzero()[:, 0]
            chosen = rows[torch.randint(len(rows), (settings.batch,), generator=generator)]
            features = data.full.at(torch.searchsorted(data.full_captions, pictures.captions[chosen]))
        else:
            chosen = torch.randint(len(pictures.latents), (settings.batch,), generator=generator)
            features = data.short.at(pictures.captions[chosen])
        features = Features(features.context.float(), features.pooled.float())
        if self.step >= settings.steps:
            rows = torch.rand(settings.batch, generator=generator) < settings.unconditional
            features = _without(features, rows, data.empty)
        return Batch(pictures.latents[chosen].float(), features)

    def _follow(self) -> None:
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        state = self.model.state_dict()
        torch._foreach_lerp_(list(self.average.values()), [state[name] for name in self.average], 1 - decay)

    def save(self, path: Path) -> None:
        """Write everything that a continuation needs."""
        partial = path.with_suffix(".partial")
        state = {"step": self.step, "model": self.model.state_dict(), "average": self.average}
        torch.save({**state, "optimizer": self._optimizer.state_dict()}, partial)
        partial.rename(path)

    def resume(self, path: Path) -> None:
        """Take up a run that `save` has written."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.average, self.step = state["average"], state["step"]


def _without(features: Features, rows: Tensor, empty: Features) -> Features:
    """The same features with those of the empty caption in some rows, a boolean [N]."""
    context = empty.context[:, : features.context.shape[1]].float()
    return Features(
        torch.where(rows[:, None, None], context, features.context),
        torch.where(rows[:, None], empty.pooled.float(), features.pooled),
    )


def flow_matching_loss(model: Any, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squared error of the velocity noise - clean, at SD3's shifted logit-normal times, spread evenly in the batch."""
    clean = batch.latents
    noise = torch.randn(clean.shape, generator=generator)
    even = (torch.arange(len(clean)) + torch.rand(len(clean), generator=generator)) / len(clean)
    logistic = torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)).sigmoid()
    sigma = (SHIFT * logistic / (1 + (SHIFT - 1) * logistic))[:, None, None, None]
    noised = (1 - sigma) * clean + sigma * noise
    velocity = model(noised, batch.features.context, batch.features.pooled, sigma.flatten() * TIMESTEPS).sample
    return F.mse_loss(velocity, noise - clean)


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, level, half a cosine down to zero; then half a cosine from a smaller rate."""
    if step >= settings.steps:
        done = (step - settings.steps) / settings.guidance_steps
        return settings.rate * settings.restart * 0.5 * (1 + math.cos(math.pi * done))
    decay_start = settings.decay_from * settings.steps
    down = max(0.0, (step - decay_start) / (settings.steps - decay_start))
    return settings.rate * min(1.0, (step + 1) / settings.warmup) * 0.5 * (1 + math.cos(math.pi * down))


def run_training(training: TeacherTraining, settings: Settings, folder: Path, on_save: Callable[[], None]) -> None:
    """Train to the last step from where the folder's checkpoint ends; log to teacher.jsonl."""
    checkpoint = folder / "teacher.pt"
    if checkpoint.is_file():
        training.resume(checkpoint)
    while training.step < settings.all_steps:
        line = training.train_step()
        with (folder / "teacher.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if training.step % settings.checkpoint_every == 0 or training.step == settings.all_steps:
            training.save(checkpoint)
            on_save()
