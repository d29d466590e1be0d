"""The pictures of the help pages are those that the tool draws today."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops
from swd_dev.help_pictures import draw_all
from swd_pack.swd_core.family import ModelFacts
from swd_pack.swd_core.plot import draw_schedule
from swd_pack.swd_core.presets import PRESETS
from swd_pack.swd_core.schedule import preset_schedule

DOCS = Path(__file__).resolve().parents[2] / "web" / "docs"
DRAWN = draw_all()


def changed_pixels(drawn: Image.Image, committed: Image.Image) -> int:
    """How many pixels differ clearly: shades of the palette and of the edges of letters do not count."""
    assert drawn.size == committed.size
    bands = ImageChops.difference(drawn.convert("RGB"), committed.convert("RGB")).split()
    strongest = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    return sum(strongest.histogram()[64:])


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_what_the_tool_draws(name: str) -> None:
    changed = changed_pixels(DRAWN[name], Image.open(DOCS / name))
    assert changed < 20, "draw them again: python -m swd_dev.help_pictures web/docs"


def test_one_other_number_would_be_noticed() -> None:
    preset = PRESETS[0]
    plan = preset_schedule(preset, ModelFacts(preset.family, 2, 8), lambda t: t)
    assert changed_pixels(draw_schedule(plan, 1024, 1024), Image.open(DOCS / "schedule.png")) < 20
    assert changed_pixels(draw_schedule(plan, 1024, 1025), Image.open(DOCS / "schedule.png")) > 40


def test_the_folder_holds_no_other_picture() -> None:
    assert sorted(path.name for path in DOCS.iterdir() if path.suffix != ".md") == sorted(DRAWN)
