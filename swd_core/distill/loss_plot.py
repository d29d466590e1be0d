"""A picture of the losses of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from ..plot import FAINT, INK, PAPER, font
from .objective import TOTAL

_WIDTH, _PANEL, _MARGIN, _LEFT = 960, 190, 40, 110
_RAW, _SMOOTH = (70, 92, 108), (170, 205, 120)


def draw_losses(history: Sequence[Mapping[str, float]], title: str) -> Image.Image:
    """Draw one curve for each loss, on a logarithmic scale where all values are above 0.

    The thin line has every step, the thick one an average over about a twentieth of the run. Returns an RGB picture 960
    pixels wide; with no steps yet, only the title.
    """
    names = [name for name in dict.fromkeys(key for losses in history for key in losses) if name != TOTAL]
    picture = Image.new("RGB", (_WIDTH, 100 + _PANEL * max(1, len(names))), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, 28), title, INK, font(30))
    for row, name in enumerate(names):
        points = [
            (step, losses[name]) for step, losses in enumerate(history) if math.isfinite(losses.get(name, math.nan))
        ]
        if points:
            _draw_curve(draw, name, points, 100 + row * _PANEL, len(history))
    return picture


def _draw_curve(
    draw: ImageDraw.ImageDraw, name: str, points: Sequence[tuple[int, float]], top: float, steps: int
) -> None:
    logarithmic = min(value for _, value in points) > 0
    values = [math.log10(value) if logarithmic else value for _, value in points]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    bottom, room = top + _PANEL - 30, _PANEL - 70
    across = (_WIDTH - _LEFT - _MARGIN) / max(1, steps - 1)

    def place(step: int, value: float) -> tuple[float, float]:
        return _LEFT + step * across, bottom - room * (value - low) / span

    draw.text((_LEFT, top), f"{name}, last {points[-1][1]:.4g}", INK, font(20))
    for value, height in ((high, bottom - room), (low, bottom)):
        draw.text((_LEFT - 12, height), f"{10**value if logarithmic else value:.3g}", FAINT, font(16), anchor="rm")
        draw.line((_LEFT, height, _WIDTH - _MARGIN, height), (52, 60, 72))
    steps_of = [step for step, _ in points]
    _line(draw, [place(*point) for point in zip(steps_of, values, strict=True)], _RAW, 1)
    _line(draw, [place(*point) for point in zip(steps_of, _smooth(values, steps), strict=True)], _SMOOTH, 3)


def _smooth(values: Sequence[float], steps: int) -> list[float]:
    keep = 1 - 1 / max(1.0, steps / 20)
    result: list[float] = []
    for value in values:
        result.append(value if not result else keep * result[-1] + (1 - keep) * value)
    return result


def _line(
    draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: int
) -> None:
    if len(points) > 1:
        draw.line(points, colour, width)
    else:
        x, y = points[0]
        draw.ellipse((x - width, y - width, x + width, y + width), colour)
