"""A picture of a schedule."""

from __future__ import annotations

import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .cost import has_flops, shares, speed_up
from .schedule import CUSTOM, Schedule

Colour = tuple[int, int, int]

_WIDTH, _HEIGHT, _MARGIN, _GAP = 960, 600, 36, 14
# Dark paper and light ink of their own keep their contrast in ComfyUI's dark and light themes alike.
PAPER: Colour = (24, 28, 36)
INK: Colour = (238, 240, 243)
FAINT: Colour = (168, 176, 188)
_FIRST: Colour = (47, 111, 143)
_LAST: Colour = (170, 205, 120)
_TOP, _BASE, _LINE = 136, 424, 34
_LABEL_WIDTH = 112


def draw_schedule(schedule: Schedule, width: int, height: int) -> Image.Image:
    """Draw what each step of a schedule does for a picture of width x height image pixels.

    One box a step, as large as its latent; below it the size of the latent, its timestep and its share of the work.
    Above all the estimated speed-up against as many full-size steps, from FLOPs where they are known for the family,
    else from tokens. Returns an RGB picture of 960 x 600 pixels.
    """
    pixels = schedule.model.pixels_per_latent
    sizes = schedule.sizes(max(1, round(height / pixels)), max(1, round(width / pixels)))
    family = schedule.model.family
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    unit = "FLOPs" if has_flops(family) else "tokens"
    draw.text((_MARGIN, 28), f"{_title(schedule)}, {width} x {height}", INK, font(34))
    summary = f"about {speed_up(family, sizes):.2f}x as fast as {len(sizes)} full-size steps (estimate from {unit})"
    draw.text((_MARGIN, 78), summary, FAINT, font(26))
    _draw_steps(draw, schedule, sizes, shares(family, sizes))
    draw.text((_MARGIN, _HEIGHT - 44), "latent size, timestep and share of the work of each step", FAINT, font(20))
    return picture


def schedule_image(schedule: Schedule, width: int, height: int) -> Tensor:
    """The drawing of `draw_schedule` as an IMAGE [1, 600, 960, 3] from 0 to 1."""
    return image_of(draw_schedule(schedule, width, height))


def image_of(picture: Image.Image) -> Tensor:
    """An RGB picture as an IMAGE [1, H, W, 3] from 0 to 1."""
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return rearrange(pixels, "(h w c) -> 1 h w c", h=picture.height, c=3).float() / 255


def _title(schedule: Schedule) -> str:
    return f"{schedule.model.family}, custom" if schedule.name == CUSTOM else schedule.name


def _draw_steps(
    draw: ImageDraw.ImageDraw, schedule: Schedule, sizes: list[tuple[int, int]], parts: list[float]
) -> None:
    gap = _gap(len(sizes))
    scale, columns = _fit(sizes, gap)
    labelled = columns[0] >= _LABEL_WIDTH
    left = float(_MARGIN)
    for index, ((h, w), part, column) in enumerate(zip(sizes, parts, columns, strict=True)):
        middle = left + column / 2
        box = (middle - w * scale / 2, _BASE - h * scale, middle + w * scale / 2, _BASE)
        draw.rounded_rectangle(box, 4, _blend(index / max(1, len(sizes) - 1)))
        # Where there is no room for the words of every step, the first and the last must do.
        if labelled or index in (0, len(sizes) - 1):
            place = middle if labelled else (_MARGIN if index == 0 else _WIDTH - _MARGIN)
            anchor = "ma" if labelled else ("la" if index == 0 else "ra")
            lines = ((f"{w} x {h}", INK), (f"t {schedule.timesteps[index]:.4g}", FAINT), (f"{part:.0%}", INK))
            for row, (text, colour) in enumerate(lines):
                draw.text((place, _BASE + 18 + _LINE * row), text, colour, font(24), anchor=anchor)
        left += column + gap


def _gap(steps: int) -> float:
    """Pixels between two boxes; all gaps together take at most half of the plot."""
    return min(_GAP, (_WIDTH - 2 * _MARGIN) / (2 * steps))


def _fit(sizes: list[tuple[int, int]], gap: float) -> tuple[float, list[float]]:
    """The largest scale at which all boxes fit side by side, and the width of each column, in pixels of the plot."""
    room = _WIDTH - 2 * _MARGIN - (len(sizes) - 1) * gap
    least = _LABEL_WIDTH if len(sizes) * _LABEL_WIDTH <= room else 0
    scale = (_BASE - _TOP) / max(h for h, _ in sizes)
    while sum(max(least, w * scale) for _, w in sizes) > room:
        scale *= 0.98
    columns = [max(least, w * scale) for _, w in sizes]
    spare = (room - sum(columns)) / len(sizes)
    return scale, [column + spare for column in columns]


def _blend(part: float) -> Colour:
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(_FIRST, _LAST, strict=True))
    return red, green, blue


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
