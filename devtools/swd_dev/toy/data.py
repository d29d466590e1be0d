"""What the teacher trains on: encoded pictures at a few sizes and the features of their captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from swd_dev.toy.autoencoder import FACTOR, Autoencoder
from swd_dev.toy.captions import Caption
from swd_dev.toy.pictures import SIDE, draw_batch
from swd_dev.toy.text import Features

FULL_SIDE = SIDE // FACTOR
# Latent sides below the full one, with the share of captions that get a picture there.
SMALL_SIDES = (8, 10, 12)
PICTURES_PER_CAPTION = 2
BATCH = 32


@dataclass(frozen=True)
class Encoded:
    """Latents [N, 16, side, side], float16, and the caption number of each."""

    latents: Tensor
    captions: Tensor


@dataclass(frozen=True)
class TrainingData:
    """`pictures` by latent side. `short` has a row for each caption; `full` one for each caption of `full_captions`;
    `empty` has one row of all tokens, for the caption without a word."""

    pictures: dict[int, Encoded]
    short: Features
    full: Features
    full_captions: Tensor
    empty: Features


def encode_pictures(autoencoder: Autoencoder, captions: Sequence[Caption], side: int, seeds: Sequence[int]) -> Tensor:
    """Draw caption n with seed n, area-resize to `side` latents and encode: [N, 16, side, side], float16."""
    latents = []
    for start in range(0, len(captions), BATCH):
        chunk = slice(start, start + BATCH)
        pictures = draw_batch(captions[chunk], seeds[chunk].__getitem__)
        if side != FULL_SIDE:
            pictures = F.interpolate(pictures, size=(side * FACTOR, side * FACTOR), mode="area")
        with torch.no_grad():
            latents.append(autoencoder.encode(pictures).half().contiguous())
        if start % (40 * BATCH) == 0:
            print(f"pictures at {side}: {start} of {len(captions)}", flush=True)
    return torch.cat(latents)


def make_pictures(path: Path, autoencoder: Autoencoder, captions: Sequence[Caption]) -> None:
    """Write the encoded training pictures of all sides; pictures differ between sides."""
    stored: dict[str, Tensor] = {}
    for side in (FULL_SIDE, *SMALL_SIDES):
        repeats = PICTURES_PER_CAPTION if side == FULL_SIDE else 1
        step = 1 if side == FULL_SIDE else 2
        numbers = [n for n in range(0, len(captions), step) for _ in range(repeats)]
        seeds = [1000 * side + k for k in range(len(numbers))]
        stored[f"latents.{side}"] = encode_pictures(autoencoder, [captions[n] for n in numbers], side, seeds)
        stored[f"captions.{side}"] = torch.tensor(numbers)
    save_file(stored, path)


def load_pictures(path: Path) -> dict[int, Encoded]:
    """The pictures of `make_pictures` by latent side."""
    stored = load_file(path)
    sides = [int(name.partition(".")[2]) for name in stored if name.startswith("latents.")]
    return {side: Encoded(stored[f"latents.{side}"], stored[f"captions.{side}"]) for side in sorted(sides)}
