"""What each kind of template shows in its thumbnail."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import cos, pi, sin

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from swd_dev.thumbnails.card import MARGIN, PRINTS_BOTTOM, SIDE, WHITE, Card, coarse
from swd_dev.thumbnails.scene import DAY, DUSK, GOLDEN, SUNRISE, Light, landscape

WIDE = SIDE - 2 * MARGIN
TOP = 76
TALL = PRINTS_BOTTOM - TOP


@cache
def scene(light: Light, boat: bool = True) -> Image.Image:
    return landscape(light, boat)


def growing(light: Light, scales: Sequence[int], title: str, below: str) -> Card:
    """Prints of one picture, each as large as its step and sharper than the one before."""
    card = Card(scene(light))
    largest = 584
    way = SIDE - 2 * MARGIN - largest
    for number, scale in enumerate(scales):
        side = round(largest * scale / scales[-1])
        part = number / (len(scales) - 1)
        cells = side if part == 1 else round(9 + 40 * part**1.6)
        # The prints come closer, so the gaps between them grow as well.
        card.print(
            coarse(scene(light), cells, side), MARGIN + round(way * part**1.25), TOP + (largest - side) // 2, side
        )
    card.words(title, below)
    return card


def image_to_image(title: str, below: str) -> Card:
    """A photograph becomes a painting."""
    card = Card(scene(GOLDEN))
    card.print(scene(DAY), MARGIN, 210, 400)
    card.print(_painted(scene(GOLDEN)), SIDE - MARGIN - 520, 130, 520)
    card.arrow((MARGIN + 430, 410))
    card.words(title, below)
    return card


def _painted(image: Image.Image) -> Image.Image:
    small = image.resize((420, 420), Image.Resampling.LANCZOS)
    strokes = small.filter(ImageFilter.ModeFilter(11)).filter(ImageFilter.EDGE_ENHANCE)
    return ImageEnhance.Color(strokes).enhance(1.25).resize(image.size, Image.Resampling.BICUBIC)


def inpaint(title: str, below: str) -> Card:
    """A balloon appears inside a masked part of the sky."""
    card = Card(scene(SUNRISE))
    card.print(_wide(_with_balloon(scene(SUNRISE))), MARGIN, TOP, WIDE, TALL)
    (x, y), radius = (MARGIN + 776, TOP + 158), 144
    card.shade((x - radius, y - radius, x + radius, y + radius), (255, 255, 255, 46), radius)
    card.dashes([(x + radius * cos(angle), y + radius * sin(angle)) for angle in _turn(48)], 7, 10)
    card.words(title, below)
    return card


def _turn(steps: int) -> list[float]:
    """Angles of a full turn, the first and the last the same."""
    return [2 * pi * step / steps for step in range(steps + 1)]


def _with_balloon(image: Image.Image) -> Image.Image:
    picture = image.copy()
    draw = ImageDraw.Draw(picture)
    x, y, radius = 849, 248, 78
    draw.polygon([(x - 62, y + 48), (x + 62, y + 48), (x + 19, y + 112), (x - 19, y + 112)], (150, 28, 34))
    for half, colour in ((radius, (206, 42, 46)), (44, (228, 74, 64)), (15, (240, 128, 104))):
        draw.ellipse((x - half, y - radius, x + half, y + radius), colour)
    for side in (-1, 1):
        draw.line((x + 19 * side, y + 112, x + 14 * side, y + 134), (70, 40, 30), 4)
    draw.rounded_rectangle((x - 18, y + 132, x + 18, y + 158), 6, (92, 58, 38))
    return picture


def _wide(image: Image.Image) -> Image.Image:
    """The part of a scene that fits the wide print, from the sky to the boat."""
    return image.crop((0, 120, SIDE, 120 + round(SIDE * TALL / WIDE)))


def regions(title: str, below: str) -> Card:
    """One prompt for each half of the picture."""
    card = Card(scene(GOLDEN, False))
    card.print(_wide(_with_castle_and_flowers(scene(GOLDEN, False))), MARGIN, TOP, WIDE, TALL)
    middle = MARGIN + WIDE / 2
    card.dashes([(middle, TOP + 16), (middle, PRINTS_BOTTOM - 8)], 7, 16)
    card.chip((MARGIN + WIDE * 0.25, PRINTS_BOTTOM), "castle")
    card.chip((MARGIN + WIDE * 0.75, PRINTS_BOTTOM), "sunflowers")
    card.words(title, below)
    return card


def _with_castle_and_flowers(image: Image.Image) -> Image.Image:
    picture = image.copy()
    draw = ImageDraw.Draw(picture)
    _draw_castle(draw)
    draw.ellipse((560, 600, 1300, 1200), (44, 52, 26))
    for row, radius, count in ((640, 26, 9), (700, 38, 7), (780, 56, 5)):
        for number in range(count):
            x = 560 + (number + 0.5 + 0.3 * sin(5 * number + row)) * 470 / count
            y = row + 12 * sin(3 * number + row) + 60 * (1 - (x - 540) / 480)
            _draw_sunflower(draw, x, y, radius)
    return picture


def _draw_castle(draw: ImageDraw.ImageDraw) -> None:
    """A wall with battlements and a gate, and three towers, on a hill."""
    stone, roof, window, gate = (58, 44, 50), (112, 44, 42), (255, 210, 120), (24, 18, 22)
    draw.ellipse((-260, 520, 470, 1200), (38, 30, 34))
    draw.rectangle((60, 430, 330, 560), stone)
    for x in range(60, 330, 36):
        draw.rectangle((x, 412, x + 18, 430), stone)
    for left, right, top in ((84, 140, 330), (176, 236, 270), (266, 318, 350)):
        middle = (left + right) / 2
        draw.rectangle((left, top, right, 560), stone)
        draw.polygon([(left - 10, top), (right + 10, top), (middle, top - 84)], roof)
        draw.rectangle((middle - 6, top + 26, middle + 6, top + 54), window)
    draw.pieslice((176, 480, 236, 600), 180, 360, gate)


def _draw_sunflower(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    draw.line((x, y, x + radius * 0.2, y + radius * 3), (52, 84, 34), max(3, round(radius / 7)))
    for step, angle in enumerate(_turn(14)):
        tip = (x + radius * cos(angle), y + radius * sin(angle))
        side = radius * 0.42
        base = [(x + side * cos(angle + turn), y + side * sin(angle + turn)) for turn in (-0.45, 0.45)]
        draw.polygon([tip, *base], (250, 190, 40) if step % 2 else (236, 160, 26))
    draw.ellipse((x - radius * 0.46, y - radius * 0.46, x + radius * 0.46, y + radius * 0.46), (86, 48, 22))


def controlnet(title: str, below: str) -> Card:
    """Edges on the left, the picture made from them on the right."""
    card = Card(scene(DUSK))
    coloured = _wide(scene(DUSK))
    halves = _edges(coloured)
    halves.paste(coloured.crop((SIDE // 2, 0, SIDE, coloured.height)), (SIDE // 2, 0))
    card.print(halves, MARGIN, TOP, WIDE, TALL)
    middle = MARGIN + WIDE // 2
    card.draw.line((middle, TOP, middle, PRINTS_BOTTOM), WHITE, 5)
    card.arrow((middle, TOP + TALL / 2))
    card.words(title, below)
    return card


def _edges(image: Image.Image) -> Image.Image:
    grey = ImageOps.autocontrast(image.convert("L").filter(ImageFilter.GaussianBlur(1.6)))
    lines = grey.filter(ImageFilter.FIND_EDGES).point(lambda value: min(255, max(0, value - 8) * 12))
    lines = ImageChops.lighter(lines, lines.filter(ImageFilter.MaxFilter(3)).point(lambda value: value * 0.6))
    ImageDraw.Draw(lines).rectangle((0, 0, image.width - 1, image.height - 1), outline=0, width=6)
    return ImageOps.colorize(lines, (10, 12, 18), (238, 242, 248))


def upscale(title: str, below: str) -> Card:
    """A small picture becomes a large one."""
    card = Card(scene(DAY))
    small, large = 290, 584
    left, top = SIDE - MARGIN - large, TOP
    card.print(coarse(scene(DAY), 36, small), MARGIN, top + large - small, small)
    card.dashes([(MARGIN, top + large - small), (left, top)], 5, 12)
    card.dashes([(MARGIN + small, top + large), (left, top + large)], 5, 12)
    card.print(scene(DAY), left, top, large)
    card.chip((left + large - 96, top + large - 76), "2x", 64)
    card.words(title, below)
    return card


def app(light: Light, title: str, below: str) -> Card:
    """The picture in a window, beside a form and its button."""
    card = Card(scene(light))
    card.shade((MARGIN, TOP, SIDE - MARGIN, PRINTS_BOTTOM), (20, 24, 34, 255), 22)
    card.print(scene(light), MARGIN + 26, TOP + 26, TALL - 52)
    left, right = MARGIN + TALL, SIDE - MARGIN - 28
    for top, lines in ((TOP + 30, (1.0, 0.85, 0.6)), (TOP + 226, (0.45,)), (TOP + 316, (0.45,)), (TOP + 406, (0.7,))):
        card.shade((left, top, right, top + 22 + 40 * len(lines)), (58, 66, 84, 255), 12)
        for row, length in enumerate(lines):
            y = top + 24 + 40 * row
            card.shade((left + 22, y, left + 22 + (right - left - 44) * length, y + 14), (150, 162, 182, 255), 7)
    card.shade((left, PRINTS_BOTTOM - 106, right, PRINTS_BOTTOM - 30), (36, 132, 236, 255), 14)
    x, y = (left + right) / 2, PRINTS_BOTTOM - 68
    card.draw.polygon([(x - 16, y - 22), (x - 16, y + 22), (x + 24, y)], WHITE)
    card.words(title, below)
    return card


def compare(title: str, below: str) -> Card:
    """One picture made scale by scale, the other at full size all along: what each step works on, under both."""
    card = Card(scene(DAY))
    side = 440
    for left, sides in ((MARGIN, (0.25, 0.4, 0.55, 0.75, 1.0)), (SIDE - MARGIN - side, (1.0,) * 5)):
        card.print(scene(DAY), left, TOP + 10, side)
        room, bottom = side / 5 - 14, PRINTS_BOTTOM + 10
        for step, part in enumerate(sides):
            x, box = left + step * (room + 17), room * part
            card.shade((x, bottom - box, x + box, bottom), (255, 255, 255, 215), 4)
    card.words(title, below)
    return card


def train(title: str, below: str) -> Card:
    """A loss that falls, in front of what is learnt."""
    card = Card(scene(SUNRISE))
    card.print(_wide(scene(SUNRISE)), MARGIN, TOP, WIDE, TALL)
    card.shade((MARGIN, TOP, MARGIN + WIDE, TOP + TALL), (12, 16, 26, 120))
    left, bottom, count = MARGIN + 50, TOP + TALL - 60, 60
    points = [
        (left + (WIDE - 100) * n / count, bottom - 420 * (0.08 + 0.9 / (1 + n / 7)) - 22 * sin(2.4 * n) / (1 + n / 20))
        for n in range(count + 1)
    ]
    card.draw.line((left, bottom, left + WIDE - 100, bottom), WHITE, 4)
    card.draw.line((left, TOP + 60, left, bottom), WHITE, 4)
    card.draw.line(points, (255, 205, 120), 9, joint="curve")
    card.words(title, below)
    return card
