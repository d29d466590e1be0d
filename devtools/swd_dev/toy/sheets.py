"""Pictures in rows with a label, as one file to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

GAP, LABEL_HEIGHT, MAGNIFY = 4, 14, 1


def save_sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]], path: Path) -> None:
    """Write rows of equally large pictures, each under its label."""
    side = rows[0][1][0].width * MAGNIFY
    columns = max(len(pictures) for _, pictures in rows)
    height = side + LABEL_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * (side + GAP) + GAP, len(rows) * height + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (label, pictures) in enumerate(rows):
        top = number * height + GAP
        pen.text((GAP, top), label, fill="black")
        for column, picture in enumerate(pictures):
            sheet.paste(picture.resize((side, side)), (GAP + column * (side + GAP), top + LABEL_HEIGHT))
    sheet.save(path)
