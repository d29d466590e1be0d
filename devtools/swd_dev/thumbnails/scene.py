"""A landscape: sky, sun or moon, mountains, forest, a lake that mirrors them, and a sailing boat.

Colours are rows of red, green and blue from 0 to 1; pictures are arrays [height, width, 3] of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float64]
Colour = tuple[float, float, float]

SIDE = 1024
HORIZON = 600
# Outlines of the far and the near mountains, from left to right, and their heights in pixels. The sun has a gap.
_RANGES = (
    ((0.50, 0.42, 0.98, 0.60, 0.72, 0.40, 0.22, 0.45, 0.62), 320.0),
    ((0.80, 0.55, 0.40, 0.55, 0.38, 0.20, 0.16, 0.55, 0.95), 190.0),
)


@dataclass(frozen=True)
class Light:
    """The time of day.

    `sky`: from the zenith to the horizon. `sun_at`: in parts of the side. `sun_radius`: in pixels.
    """

    sky: tuple[Colour, ...]
    sun: Colour
    glow: Colour
    far: Colour
    forest: Colour
    haze: Colour
    sun_at: tuple[float, float] = (0.66, 0.40)
    sun_radius: int = 44
    glow_strength: float = 1.0
    stars: bool = False


def hex_colour(text: str) -> Colour:
    red, green, blue = (int(text[index : index + 2], 16) / 255 for index in (0, 2, 4))
    return red, green, blue


def _sky(*colours: str) -> tuple[Colour, ...]:
    return tuple(hex_colour(colour) for colour in colours)


SUNRISE = Light(
    _sky("2b5a8a", "6f9dbd", "f2c9a0", "ffb36b"), hex_colour("fff4d6"), hex_colour("ff9a4a"), hex_colour("7a6f93"),
    hex_colour("15313c"), hex_colour("ffd9b0"),
)  # fmt: skip
DAY = Light(
    _sky("1d62b0", "4f98d8", "a9d4ef", "d9edf5"), hex_colour("ffffff"), hex_colour("fff3c8"), hex_colour("7f9fbd"),
    hex_colour("1d4a3a"), hex_colour("eaf5fa"), (0.70, 0.22), 38, glow_strength=0.45,
)  # fmt: skip
GOLDEN = Light(
    _sky("5b3a4f", "b5603f", "f0a24a", "ffd27a"), hex_colour("fff6d8"), hex_colour("ffc04a"), hex_colour("8a4f4a"),
    hex_colour("2b2020"), hex_colour("ffcf8a"), (0.62, 0.46), 56,
)  # fmt: skip
DUSK = Light(
    _sky("1f1f4f", "4f3a86", "b4588f", "ff9a86"), hex_colour("ffe3cf"), hex_colour("ff6f86"), hex_colour("54407f"),
    hex_colour("16182f"), hex_colour("e29ab4"), (0.64, 0.47), 50,
)  # fmt: skip
NIGHT = Light(
    _sky("060b22", "0e1d45", "1f3d73", "3f6a96"), hex_colour("f6f4e4"), hex_colour("8fb4e6"), hex_colour("2b4672"),
    hex_colour("07101d"), hex_colour("7da2c8"), (0.68, 0.24), 46, stars=True,
)  # fmt: skip


def landscape(light: Light, boat: bool = True) -> Image.Image:
    """The scene, 1024 x 1024 pixels."""
    random = np.random.default_rng(7)
    land = _heavens(light, random)
    _add_mountains(land, light, random)
    _add_forest(land, light, random)
    picture = _mirrored(land, light)
    image = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    return _with_boat(image, light) if boat else image


def _heavens(light: Light, random: np.random.Generator) -> Pixels:
    rows = np.arange(SIDE) / HORIZON
    stops = np.linspace(0, 1, len(light.sky))
    column = np.stack([np.interp(rows, stops, [colour[channel] for colour in light.sky]) for channel in range(3)], -1)
    picture = np.repeat(column[:, None], SIDE, 1)
    if light.stars:
        for x, y, size in zip(*random.random((3, 260)), strict=True):
            row, left = int(y * HORIZON * 0.9), int(x * (SIDE - 2))
            picture[row : row + 2, left : left + 2] += 0.25 + 0.6 * size**3
    clouds = _cloud_cover(random)[..., None]
    picture += clouds * 0.5 * (np.array(light.haze) - picture) * (1 - rows[:, None, None].clip(0, 1) * 0.6)
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(x - light.sun_at[0] * SIDE, y - light.sun_at[1] * SIDE)[..., None]
    for reach, strength in ((420.0, 0.35), (160.0, 0.45), (70.0, 0.35)):
        halo = light.glow_strength * strength * np.exp(-((distance / reach) ** 2))
        picture += halo * (np.array(light.glow) - picture * 0.4)
    disc = ((light.sun_radius + 1.5 - distance) / 3).clip(0, 1)
    heavens: Pixels = picture.clip(0, 1) * (1 - disc) + np.array(light.sun) * disc
    return heavens


def _cloud_cover(random: np.random.Generator) -> Pixels:
    """Streaks of cloud from 0 to 1: smooth noise of three sizes, wide and flat."""
    cover = np.zeros((SIDE, SIDE))
    for size, weight in ((4, 0.5), (9, 0.3), (20, 0.2)):
        coarse = Image.fromarray(random.random((size * 5, size)).astype(np.float32))
        cover += weight * np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return ((cover - 0.5) * 4).clip(0, 1)


def _ridge(random: np.random.Generator, shape: Sequence[float], height: float) -> Pixels:
    """The row of a mountain line at each of 1024 columns: a rough shape, its midpoints moved by less and less."""
    line = np.array(shape)
    step = 0.5
    while len(line) < SIDE:
        middles = (line[1:] + line[:-1]) / 2 + (random.random(len(line) - 1) - 0.5) * step
        line = np.insert(line, range(1, len(line)), middles)
        step *= 0.52
    return HORIZON - height * line[:SIDE].clip(0.12)


def _add_mountains(picture: Pixels, light: Light, random: np.random.Generator) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    for number, (shape, height) in enumerate(_RANGES):
        ridge = _ridge(random, shape, height)
        below = y - ridge
        inside = (below / 2).clip(0, 1)[..., None]
        depth = (below / (HORIZON - ridge)).clip(0, 1)
        lit = _sunlit(ridge, x, below)
        rock = np.array(light.far) * ((1 - 0.25 * number) * (0.8 + 0.4 * lit))[..., None]
        line = 0.34 + 0.10 * np.sin(x / 17 + 2 * np.sin(x / 41)) + 0.12 * (lit - 0.5)
        snow = ((line - depth) * 14).clip(0, 1)[..., None] * (number == 0)
        snowy = np.array(light.haze) * (0.62 + 0.45 * lit)[..., None] + 0.05
        colour = rock * (1 - snow) + snowy * snow
        colour += (depth[..., None] ** 1.5) * 0.75 * (np.array(light.haze) - colour)
        picture += inside * (colour - picture)


def _sunlit(ridge: Pixels, x: Pixels, below: Pixels) -> Pixels:
    """How much sun a mountain side gets, from 0 to 1: the slope of the ridge, carried down from the nearest peak."""
    side = np.tanh(np.gradient(_smooth(ridge, 60)) * 3)
    facing = 0.5 + 0.5 * np.tanh(np.gradient(_smooth(ridge, 9)) * 1.6)
    away = side[x] * below * 0.45 - np.sin(below / 17) * 4
    lit: Pixels = facing[(x - away).astype(int).clip(0, SIDE - 1)]
    return lit


def _smooth(line: Pixels, reach: int) -> Pixels:
    window = np.hanning(2 * reach + 1)
    smooth: Pixels = np.convolve(np.pad(line, reach, "edge"), window / window.sum(), "valid")
    return smooth


def _add_forest(picture: Pixels, light: Light, random: np.random.Generator) -> None:
    """Two rows of firs on the far shore, the nearer the darker."""
    for number, (tallest, count) in enumerate(((58, 130), (96, 70))):
        mask = Image.new("L", (SIDE, SIDE), 0)
        draw = ImageDraw.Draw(mask)
        for place in np.sort(random.random(count)):
            x = place * SIDE
            # Lower in the middle, so that the sun has a gap to shine through.
            edge = abs(place - 0.62) * 1.5
            height = tallest * (0.35 + 0.65 * min(1.0, edge + 0.25 * random.random())) * (0.75 + 0.25 * random.random())
            _draw_fir(draw, x, HORIZON + 4, height)
        draw.rectangle((0, HORIZON - 12 + 4 * number, SIDE, HORIZON + 4), 255)
        cover = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.8)))[..., None] / 255
        colour = np.array(light.forest) + (0.35 - 0.28 * number) * (np.array(light.haze) - np.array(light.forest))
        picture += cover * (colour - picture)


def _draw_fir(draw: ImageDraw.ImageDraw, x: float, foot: float, height: float) -> None:
    for layer in range(4):
        top = foot - height * (1 - 0.2 * layer)
        bottom = foot - height * (0.62 - 0.2 * layer)
        half = height * (0.10 + 0.055 * layer)
        draw.polygon([(x, top), (x - half, bottom), (x + half, bottom)], 255)


def _mirrored(land: Pixels, light: Light) -> Pixels:
    """The land, and below the horizon its mirror image in ripples that grow towards the viewer."""
    picture = land.copy()
    depth = np.arange(SIDE - HORIZON)
    columns = np.arange(SIDE)
    wave = 1.5 + depth / 22
    for row in depth:
        source = max(0, HORIZON - 1 - int(row * 1.25 + 3 * np.sin(row * 0.9)))
        shift = wave[row] * np.sin(row * 0.55 + 1.3 * np.sin(row * 0.21) + columns / 90)
        picture[HORIZON + row] = land[source, (columns + shift).astype(int).clip(0, SIDE - 1)]
    part = (depth / len(depth))[:, None, None]
    water = picture[HORIZON:]
    water *= 0.90 - 0.42 * part
    water += 0.08 * (np.array(light.sky[1]) - water)
    # The path of the sun on the ripples.
    reach = 26 + depth[:, None] * 0.16
    path = np.exp(-(((columns - light.sun_at[0] * SIDE) / reach) ** 2))
    sparkle = 0.5 + 0.5 * np.sin(depth[:, None] * 0.75 + 2 * np.sin(columns / 31 + depth[:, None] * 0.17))
    water += (path * sparkle**2 * (1 - part[..., 0]) * 0.8)[..., None] * (np.array(light.sun) - water)
    mist = np.exp(-(((np.arange(SIDE) - HORIZON + 6) / 26) ** 2))[:, None, None] * 0.62
    picture += mist * (np.array(light.haze) - picture)
    return picture


def _with_boat(image: Image.Image, light: Light) -> Image.Image:
    """A boat under sail on the left of the lake, with its reflection."""
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    x, y, unit = 330.0, 690.0, 1.25
    hull = tuple(int(255 * channel * 0.75) for channel in light.forest)
    main = tuple(int(255 * (0.55 * channel + 0.45)) for channel in light.sun)
    jib = tuple(int(255 * (0.6 * channel + 0.25)) for channel in light.haze)

    def points(*offsets: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + unit * dx, y + unit * dy) for dx, dy in offsets]

    draw.line(points((0, 0), (0, -150)), (*hull, 255), 4)
    draw.polygon(points((5, -146), (5, -14), (82, -14), (44, -74)), (*main, 255))
    draw.polygon(points((-5, -134), (-5, -14), (-58, -14)), (*jib, 255))
    draw.polygon(points((-74, -8), (92, -8), (68, 20), (-52, 20)), (*hull, 255))
    draw.line(points((-74, -8), (92, -8)), (*main, 255), 4)
    foot = int(y + unit * 20)
    upper = layer.crop((0, 0, SIDE, foot))
    below = upper.transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((SIDE, int(foot * 0.8)))
    below = below.filter(ImageFilter.GaussianBlur(3))
    below.putalpha(below.getchannel("A").point(lambda value: value * 0.45))
    mirror = Image.new("RGBA", image.size, (0, 0, 0, 0))
    mirror.paste(below, (0, foot))
    return Image.alpha_composite(Image.alpha_composite(image.convert("RGBA"), mirror), layer).convert("RGB")
