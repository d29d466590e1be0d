"""The thumbnails of the templates: ComfyUI shows `<title>.jpg` beside `<title>.json`."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from swd_dev.thumbnails.catalogue import LIGHTS, SCALES, thumbnail
from swd_pack.swd_core.presets import PRESETS

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
TITLES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of a channel, from 0 to 255."""
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def saved(title: str) -> Image.Image:
    return Image.open(WORKFLOWS / f"{title}.jpg").convert("RGB")


def test_every_template_has_a_thumbnail_and_none_is_left_over() -> None:
    assert sorted(path.stem for path in WORKFLOWS.glob("*.jpg")) == TITLES


@pytest.mark.parametrize("title", TITLES)
def test_the_thumbnail_is_what_the_code_draws(title: str) -> None:
    path = WORKFLOWS / f"{title}.jpg"
    assert path.stat().st_size < 50_000
    picture = Image.open(path)
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (512, 512))
    drawn = Image.open(io.BytesIO(thumbnail(title).jpeg()))
    # Two versions of Pillow or of its JPEG library may differ by a little.
    assert difference(picture, drawn) < 1.0


def test_no_two_thumbnails_are_alike() -> None:
    pictures = {title: saved(title) for title in TITLES}
    for one, other in itertools.combinations(TITLES, 2):
        assert difference(pictures[one], pictures[other]) > 3.0, (one, other)


def test_the_prints_grow_as_the_schedules_do() -> None:
    scales = {preset.name: preset.scales for preset in PRESETS}
    assert {base: SCALES[base.split(", ")[1]] for base in LIGHTS} == {base: scales[base] for base in LIGHTS}
