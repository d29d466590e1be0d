"""Training of the autoencoder: the encoder is fitted at once, the decoder learns on crops of pictures of many sizes."""

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from swd_dev.toy.autoencoder import Autoencoder, load_autoencoder, save_autoencoder
from swd_dev.toy.captions import split
from swd_dev.toy.encoder import FACTOR, fit_encoder
from swd_dev.toy.pictures import SIDE, draw_batch

STEPS, BATCH, CROP, PEAK_RATE, SEED = 600, 8, 64, 3e-3, 11
# Every so many training captions gives a picture to the encoder's fit.
FIT_EVERY = 4
SIDES = (64, 80, 96, SIDE, SIDE)
# A decoder that has seen noisy latents forgives a sampler's small errors.
LATENT_NOISE = 0.05
SAVE_EVERY = 100


def make_encoder(path: Path) -> None:
    """Fit the encoder and write a file whose decoder is still untrained."""
    torch.manual_seed(SEED)
    pictures = draw_batch(split().training[::FIT_EVERY], lambda number: SEED + number)
    save_autoencoder(Autoencoder(fit_encoder(pictures)), path)


def train_decoder(path: Path, *, steps: int = STEPS, seed: int = SEED) -> list[float]:
    """Train the decoder of the file at `path`, rewrite the file now and then, return the loss of each step."""
    torch.manual_seed(seed)
    order = random.Random(seed)
    autoencoder = load_autoencoder(path)
    decoder = autoencoder.decoder.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=PEAK_RATE, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses: list[float] = []
    for step in range(1, steps + 1):
        loss = decoder_loss(autoencoder, _crops(order))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"decoder step {step} of {steps}  loss {sum(losses[-20:]) / 20:.4f}", flush=True)
        if step % SAVE_EVERY == 0 or step == steps:
            save_autoencoder(autoencoder, path)
    return losses


def decoder_loss(autoencoder: Autoencoder, pictures: Tensor) -> Tensor:
    """Absolute and squared error of pictures [N, 3, H, W] after encoding, a little noise, and decoding."""
    latents = autoencoder.encode(pictures)
    decoded = autoencoder.decode(latents + LATENT_NOISE * torch.randn_like(latents))
    return F.l1_loss(decoded, pictures) + 4 * F.mse_loss(decoded, pictures)


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 20) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _crops(order: random.Random) -> Tensor:
    """[BATCH, 3, CROP, CROP]: random crops, on the grid of latents, of pictures area-resized to one of SIDES."""
    pictures = draw_batch(order.choices(split().training, k=BATCH), lambda _: order.randrange(1 << 30))
    side = order.choice(SIDES)
    resized = F.interpolate(pictures, size=(side, side), mode="area")
    places = (side - CROP) // FACTOR + 1
    crops = []
    for picture in resized:
        top, left = (FACTOR * order.randrange(places) for _ in range(2))
        crops.append(picture[:, top : top + CROP, left : left + CROP])
    return torch.stack(crops)
