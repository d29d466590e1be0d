"""The losses of the student and of the fake-score network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .denoiser import Condition, Timesteps, guided, on_device
from .dmd import dmd_loss, fake_score_loss
from .draws import Draws, Purpose
from .gan import Discriminator, discriminator_loss, generator_loss
from .grid import TimestepGrid
from .mmd import make_mmd
from .network import FAKE, STUDENT, TEACHER, Network
from .pairs import Pair
from .settings import DistillSettings

TOTAL = "total"


class Objective:
    """L = w_mmd L_MMD + w_dmd L_DMD + w_gan L_GAN for the student, and what trains its adversary.

    `unconditional`: the condition of one picture without a prompt, for guidance; None where there is none.
    """

    def __init__(
        self,
        network: Network,
        grid: TimestepGrid,
        settings: DistillSettings,
        head: Discriminator | None,
        unconditional: Condition | None,
    ) -> None:
        self._network = network
        self._settings = settings
        self._head = head
        self._unconditional = unconditional
        self._mmd = make_mmd(settings.mmd_kernel, settings.mmd_c, settings.mmd_sigma)
        self._levels = {
            Purpose.MMD: grid.values(settings.mmd_range or grid.mmd),
            Purpose.DMD: grid.values(settings.dmd_range or grid.dmd),
            Purpose.FAKE_SAMPLE: grid.values(),
        }

    def student(self, pair: Pair, draws: Draws) -> dict[str, Tensor]:
        """Every loss of the student by name, and their weighted sum as `total`."""
        settings = self._settings
        sample = self._network.clean(STUDENT, pair.noisy, pair.timesteps, pair.condition)
        losses: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        if settings.dmd or settings.gan:
            timesteps, noise = self._draw(draws, Purpose.DMD, sample)
            noisy = self._network.denoiser.add_noise(sample, noise, timesteps)
            if settings.dmd:
                losses["dmd"] = self._dmd(sample, noisy, timesteps, pair.condition)
                weights["dmd"] = settings.dmd_weight
            if settings.gan:
                losses["gan"] = self._gan(noisy, timesteps, pair.condition)
                weights["gan"] = settings.gan_weight
        if settings.mmd:
            losses["mmd"] = self._compare_features(sample, pair, draws)
            weights["mmd"] = settings.mmd_weight
        return {**losses, TOTAL: _weighted(losses, weights)}

    def fake(self, pair: Pair, draws: Draws) -> dict[str, Tensor]:
        """What trains the fake-score network on the student's samples, and the discriminator on real and generated."""
        network, settings = self._network, self._settings
        with torch.no_grad():
            sample = network.clean(STUDENT, pair.noisy, pair.timesteps, pair.condition, frozen=True)
        timesteps, noise = self._draw(draws, Purpose.FAKE_SAMPLE, sample)
        noisy = network.denoiser.add_noise(sample, noise, timesteps)
        losses: dict[str, Tensor] = {}
        if settings.gan:
            assert self._head is not None
            clean, generated = network.clean_and_features(FAKE, noisy, timesteps, pair.condition)
            noisy_real = network.denoiser.add_noise(pair.target, noise, timesteps)
            real = network.features(FAKE, noisy_real, timesteps, pair.condition)
            losses["discriminator"] = discriminator_loss(self._head(real), self._head(generated))
        else:
            clean = network.clean(FAKE, noisy, timesteps, pair.condition)
        losses["fake score"] = fake_score_loss(sample, clean)
        weights = {"discriminator": settings.discriminator_weight, "fake score": 1.0}
        return {**losses, TOTAL: _weighted(losses, weights)}

    def _draw(self, draws: Draws, purpose: Purpose, like: Tensor) -> tuple[Timesteps, Tensor]:
        noise = on_device(draws.noise(purpose, like.shape[1:]), like.device)
        return draws.levels(purpose, self._levels[purpose]), noise

    def _dmd(self, sample: Tensor, noisy: Tensor, timesteps: Timesteps, condition: Condition) -> Tensor:
        settings = self._settings
        with torch.no_grad():
            real = self._guided(TEACHER, noisy, timesteps, condition, settings.teacher_cfg)
            fake = self._guided(FAKE, noisy, timesteps, condition, settings.fake_cfg)
        return dmd_loss(sample, real, fake)

    def _guided(
        self, role: str | None, noisy: Tensor, timesteps: Timesteps, condition: Condition, scale: float
    ) -> Tensor:
        clean = self._network.clean(role, noisy, timesteps, condition)
        if scale <= 1 or self._unconditional is None:
            return clean
        empty = _repeated(self._unconditional, len(noisy))
        return guided(clean, self._network.clean(role, noisy, timesteps, empty), scale)

    def _gan(self, noisy: Tensor, timesteps: Timesteps, condition: Condition) -> Tensor:
        assert self._head is not None
        features = self._network.features(FAKE, noisy, timesteps, condition, frozen=True)
        self._head.requires_grad_(False)
        try:
            return generator_loss(self._head(features))
        finally:
            self._head.requires_grad_(True)

    def _compare_features(self, sample: Tensor, pair: Pair, draws: Draws) -> Tensor:
        network = self._network
        timesteps, noise = self._draw(draws, Purpose.MMD, sample)
        role = FAKE if self._settings.adversary and self._settings.mmd_network == FAKE else TEACHER
        noisy_fake = network.denoiser.add_noise(sample, noise, timesteps)
        fake = network.features(role, noisy_fake, timesteps, pair.condition, frozen=True)
        with torch.no_grad():
            noisy_real = network.denoiser.add_noise(pair.target, noise, timesteps)
            real = network.features(role, noisy_real, timesteps, pair.condition, frozen=True)
        return self._mmd(real, fake)


def _weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


def _repeated(condition: Condition, size: int) -> dict[str, Tensor]:
    return {name: value.unsqueeze(0).expand(size, *value.shape) for name, value in condition.items()}
