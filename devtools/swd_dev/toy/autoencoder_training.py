"""Training of the autoencoder on crops of pictures at the sizes that the scale schedule visits."""

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from swd_dev.toy.autoencoder import Autoencoder, save_autoencoder
from swd_dev.toy.captions import split
from swd_dev.toy.pictures import SIDE, draw_batch

STEPS, BATCH, CROP, PEAK_RATE, SEED = 500, 8, 64, 2.5e-3, 11
SIDES = (64, 80, 96, SIDE)
# A decoder that has seen noisy latents forgives a sampler's small errors.
LATENT_NOISE = 0.05
# Weight of the pull of each channel to mean 0 and deviation 1, as the diffusion model expects its latents.
UNIT_WEIGHT = 0.1


def train_autoencoder(path: Path, *, steps: int = STEPS, seed: int = SEED) -> list[float]:
    """Train from scratch, write the TAESD file, return the loss of each step."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    order = random.Random(seed)
    autoencoder = Autoencoder()
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=PEAK_RATE, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses: list[float] = []
    for step in range(steps):
        loss = autoencoder_loss(autoencoder, _crops(order))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 0 or step == steps - 1:
            print(f"autoencoder step {step + 1} of {steps}  loss {losses[-1]:.4f}", flush=True)
    save_autoencoder(autoencoder, path)
    return losses


def autoencoder_loss(autoencoder: Autoencoder, pictures: Tensor) -> Tensor:
    """Absolute and squared error of the pictures, and the distance of the latents' channels from unit variance."""
    latents = autoencoder.encode(pictures)
    decoded = autoencoder.decode(latents + LATENT_NOISE * torch.randn_like(latents))
    spread = latents.std(dim=(0, 2, 3))
    unit = latents.mean(dim=(0, 2, 3)).square().mean() + (spread - 1).square().mean()
    return F.l1_loss(decoded, pictures) + 4 * F.mse_loss(decoded, pictures) + UNIT_WEIGHT * unit


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 30) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _crops(order: random.Random) -> Tensor:
    """[BATCH, 3, CROP, CROP]: random crops of pictures that were area-resized to one of SIDES."""
    pictures = draw_batch(order.choices(split().training, k=BATCH), lambda _: order.randrange(1 << 30))
    side = order.choice(SIDES)
    resized = F.interpolate(pictures, size=(side, side), mode="area")
    crops = []
    for picture in resized:
        top, left = order.randint(0, side - CROP), order.randint(0, side - CROP)
        crops.append(picture[:, top : top + CROP, left : left + CROP])
    return torch.stack(crops)
