"""The frame that all thumbnails share: a dark backdrop in the colours of its scene, framed prints, a title below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 1024
SAVED_SIDE = 512
MARGIN = 44
# The prints stand above this row, the words below.
PRINTS_BOTTOM = 700
WHITE = (255, 255, 255)
PALE = (212, 221, 232)
_BACK = (12, 16, 26)

Box = tuple[float, float, float, float]


class Card:
    """A thumbnail under construction, 1024 x 1024 pixels; saved at half of that. Boxes are left, top, right, bottom."""

    def __init__(self, scene: Image.Image) -> None:
        blurred = scene.resize((48, 48), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(7))
        self.picture = blurred.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        self.picture = Image.blend(self.picture, Image.new("RGB", self.picture.size, _BACK), 0.70)

    @property
    def draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.picture)

    def print(self, image: Image.Image, left: int, top: int, width: int, height: int | None = None) -> None:
        """A picture in a thin white frame, with a shadow."""
        height = height or width
        shadow = Image.new("L", self.picture.size, 0)
        ImageDraw.Draw(shadow).rectangle((left - 6, top + 6, left + width + 6, top + height + 16), 165)
        self.picture.paste((0, 0, 0), (0, 0), shadow.filter(ImageFilter.GaussianBlur(13)))
        self.picture.paste(image.resize((width, height), Image.Resampling.LANCZOS), (left, top))
        self.draw.rectangle((left - 1, top - 1, left + width, top + height), outline=WHITE, width=3)

    def words(self, title: str, below: str) -> None:
        self.draw.text((MARGIN, 772), title, WHITE, font(88), stroke_width=1, stroke_fill=WHITE)
        self.draw.text((MARGIN + 2, 890), below, PALE, font(52))

    def chip(self, middle: tuple[float, float], text: str, size: int = 44) -> None:
        """A word on a dark pill."""
        half = self.draw.textlength(text, font(size)) / 2 + size * 0.55
        x, y = middle
        self.shade((x - half, y - size * 0.78, x + half, y + size * 0.78), (*_BACK, 205), radius=size * 0.78)
        self.draw.text(middle, text, WHITE, font(size), anchor="mm")

    def shade(self, box: Box, colour: tuple[int, int, int, int], radius: float = 0) -> None:
        """A translucent box."""
        layer = Image.new("RGBA", self.picture.size, (0, 0, 0, 0))
        ImageDraw.Draw(layer).rounded_rectangle(box, radius, colour)
        self.picture = Image.alpha_composite(self.picture.convert("RGBA"), layer).convert("RGB")

    def arrow(self, middle: tuple[float, float], radius: float = 52) -> None:
        """An arrow to the right in a disc."""
        x, y = middle
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), WHITE)
        reach = radius * 0.5
        self.draw.line((x - reach, y, x + reach * 0.7, y), _BACK, 11)
        head = [(x + reach * 1.1, y), (x + reach * 0.25, y - reach * 0.72), (x + reach * 0.25, y + reach * 0.72)]
        self.draw.polygon(head, _BACK)

    def dashes(self, points: Sequence[tuple[float, float]], width: int = 6, dash: float = 20) -> None:
        """A dashed line through points."""
        for (x0, y0), (x1, y1) in pairwise(points):
            length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
            count = max(1, round(length / (2 * dash)))
            for number in range(count):
                start, end = number / count, (number + 0.5) / count
                ends = [(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part) for part in (start, end)]
                self.draw.line(ends, WHITE, width)

    def jpeg(self) -> bytes:
        file = io.BytesIO()
        self.picture.resize((SAVED_SIDE, SAVED_SIDE), Image.Resampling.LANCZOS).save(
            file, "JPEG", quality=84, optimize=True
        )
        return file.getvalue()


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that Pillow brings, the same on every system."""
    return ImageFont.load_default(size)


def coarse(image: Image.Image, cells: int, side: int) -> Image.Image:
    """The picture in `cells` x `cells` squares of one colour each."""
    return image.resize((cells, cells), Image.Resampling.BOX).resize((side, side), Image.Resampling.NEAREST)
