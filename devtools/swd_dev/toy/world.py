"""The parts of the toy world as callables, for those who train a student on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swd_dev.toy.autoencoder import Autoencoder, load_autoencoder
from swd_dev.toy.model import TIMESTEPS, load_teacher
from swd_dev.toy.sampling import Velocity, sample_euler, velocity_of
from swd_dev.toy.teacher_set import TeacherSet, load_teacher_set
from swd_dev.toy.text import FULL, SHORT, CaptionCache, Features

__all__ = ["Features", "TeacherSet", "Velocity", "encode_captions", "forward_with_features", "load_autoencoder"]
__all__ += ["Autoencoder", "load_teacher", "load_teacher_set", "sample_euler", "velocity_of"]


def encode_captions(captions: list[str], folder: Path, clip: Path, *, tokens: int = FULL) -> Features:
    """Features of the captions by the seeded CLIP-L in `clip`; kept in the run's folder, so that each is made once.

    `tokens` is 77, as inference has, or 16: the same features, cut after every caption's end. ComfyUI must be
    importable for captions that are not kept yet.
    """
    name = {FULL: "captions-77.safetensors", SHORT: "captions-16.safetensors"}[tokens]
    return CaptionCache(folder / name, clip, tokens).encode(captions)


def forward_with_features(
    model: Any, latents: Tensor, features: Features, sigma: Tensor, block: int | None = None
) -> tuple[Tensor, Tensor]:
    """Velocity [B, 16, h, w], and the image tokens [B, h/2 * w/2, width] after a block (default: the middle one).

    Their mean over the tokens is what the MMD loss compares.
    """
    blocks = model.transformer_blocks
    kept: list[Tensor] = []
    chosen = blocks[len(blocks) // 2 if block is None else block]
    hook = chosen.register_forward_hook(lambda _module, _inputs, output: kept.append(output[1]))
    try:
        velocity = model(latents, features.context, features.pooled, sigma * TIMESTEPS).sample
    finally:
        hook.remove()
    return velocity, kept[0]


def as_inputs(features: Features) -> tuple[Tensor, Tensor]:
    """Context and pooled text as the loaded teacher takes them (padded to SD3's widths), float32."""
    wide = features.padded()
    return wide.context.to(torch.float32), wide.pooled.to(torch.float32)
