"""The pictures: what a caption says, drawn at places and sizes that vary a little with the seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from swd_dev.toy.captions import BACKGROUNDS, Caption, Group

SIDE = 128
# Drawn this many times larger and averaged down: edges get in-between values.
OVERSAMPLING = 4

RGB = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 200, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
}

# All lengths in parts of the side.
RADIUS = (0.095, 0.125)
JITTER = 0.025
ALONG = {1: (0.5,), 2: (0.3, 0.7), 3: (0.2, 0.5, 0.8)}
NEAR, CENTRE, FAR = 0.27, 0.5, 0.73

# Where the first and the second group lie: the axis they share ("row" side by side, "column" one over the other) and
# their positions across it.
LAYOUTS: dict[str, tuple[str, float, float]] = {
    "above": ("row", NEAR, FAR),
    "left of": ("column", NEAR, FAR),
    "in the middle": ("row", CENTRE, CENTRE),
    "at the top": ("row", NEAR, CENTRE),
    "at the bottom": ("row", FAR, CENTRE),
    "on the left": ("column", NEAR, CENTRE),
    "on the right": ("column", FAR, CENTRE),
}


def _polygon(corners: int, radius: float, turn: float) -> list[tuple[float, float]]:
    angles = [turn + 2 * math.pi * corner / corners for corner in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


# Offsets of the outline from the centre, for a radius of 1; about equal areas.
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _polygon(64, 1.0, 0.0),
    "square": _polygon(4, 1.25, math.pi / 4),
    "triangle": [(x, y + 0.2) for x, y in _polygon(3, 1.4, -math.pi / 2)],
}


def draw(caption: Caption, seed: int) -> Image.Image:
    """One picture, SIDE x SIDE RGB; the same for the same caption and seed."""
    place = random.Random(f"{caption.text}/{seed}")
    side = SIDE * OVERSAMPLING
    picture = Image.new("RGB", (side, side), RGB[caption.background])
    axis, first_across, second_across = LAYOUTS[caption.where]
    _draw_group(picture, caption.first, axis, first_across, place)
    if caption.second:
        _draw_group(picture, caption.second, axis, second_across, place)
    return picture.reduce(OVERSAMPLING)


def _draw_group(picture: Image.Image, group: Group, axis: str, across: float, place: random.Random) -> None:
    pen = ImageDraw.Draw(picture)
    radius = place.uniform(*RADIUS)
    for along in ALONG[group.count]:
        centre = [along + place.uniform(-JITTER, JITTER), across + place.uniform(-JITTER, JITTER)]
        x, y = centre if axis == "row" else reversed(centre)
        points = [(x + dx * radius, y + dy * radius) for dx, dy in OUTLINES[group.shape]]
        outline = [(px * picture.width, py * picture.height) for px, py in points]
        pen.polygon(outline, fill=RGB[group.colour])


def to_tensor(pictures: Iterable[Image.Image]) -> Tensor:
    """Pictures as [N, 3, height, width], float32 in [0, 1]."""
    array = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(array).permute(0, 3, 1, 2).float().div(255).contiguous()


def to_pictures(batch: Tensor) -> list[Image.Image]:
    """The way back from [N, 3, height, width] in [0, 1]; values outside are clipped."""
    array = batch.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in array]


def draw_batch(captions: Iterable[Caption], seed: Callable[[int], int] | int = 0) -> Tensor:
    """A picture for each caption as `to_tensor` gives it; `seed` may depend on the position in the batch."""
    seeds = seed if callable(seed) else lambda _: seed
    return to_tensor(draw(caption, seeds(number)) for number, caption in enumerate(captions))


__all__ = ["BACKGROUNDS", "SIDE", "draw", "draw_batch", "to_pictures", "to_tensor"]
