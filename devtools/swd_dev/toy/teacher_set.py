"""The student's training set: latents that the teacher makes, as upstream trains on teacher-made pictures alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from swd_dev.toy.captions import split
from swd_dev.toy.sampling import Velocity, sample_euler
from swd_dev.toy.text import Features

COUNT, BATCH, SEED = 1280, 32, 70_000
# Captions are visited at this stride, so that any beginning of the set is a fair sample of them.
STRIDE = 7


@dataclass(frozen=True)
class TeacherSet:
    """Latents [N, 16, 16, 16] that the teacher made, and their captions. Decode them for pictures of 128 x 128."""

    latents: Tensor
    captions: list[str]


def load_teacher_set(path: Path) -> TeacherSet:
    """What `make_teacher_set` has written so far."""
    stored = load_file(path)
    return TeacherSet(stored["latents"].float(), bytes(stored["captions"].tolist()).decode().split("\n"))


def make_teacher_set(
    path: Path, velocity: Velocity, encode: Callable[[list[str]], Features], count: int = COUNT
) -> None:
    """Sample a latent for each of `count` training captions; goes on where a file at `path` ends."""
    made = load_teacher_set(path) if path.is_file() else TeacherSet(torch.empty(0), [])
    parts, captions = [made.latents] if made.captions else [], list(made.captions)
    training = [caption.text for caption in split().training]
    while len(captions) < count:
        start = len(captions)
        names = [training[STRIDE * number % len(training)] for number in range(start, min(start + BATCH, count))]
        parts.append(sample_euler(velocity, encode(names).padded(), SEED + start))
        captions += names
        tensors = {
            "latents": torch.cat(parts).half(),
            "captions": torch.tensor(list("\n".join(captions).encode()), dtype=torch.uint8),
        }
        partial = path.with_suffix(".partial")
        save_file(tensors, partial)
        partial.rename(path)
        print(f"teacher set {len(captions)} of {count}", flush=True)
