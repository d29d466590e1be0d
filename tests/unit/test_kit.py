"""The archive for a GPU without a network: its packages are pinned, and it leaves out only what people put there."""

from __future__ import annotations

import re

from swd_dev.kit import NOT_CARRIED, PACKAGES, PURE_PACKAGES, ignored
from swd_dev.paths import CONSTRAINTS


def test_every_package_has_a_version() -> None:
    pinned = re.findall(r"^([\w.-]+)==", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    assert {*PACKAGES, *PURE_PACKAGES} <= set(pinned)


def test_folders_are_left_out_at_the_top_alone() -> None:
    """comfy/ldm/models is part of ComfyUI, models is not."""
    names = ["comfy", "models", "__pycache__", "output"]
    assert ignored(True, names) == {"models", "__pycache__", "output"}
    assert ignored(False, names) == {"__pycache__"}
    assert "comfy" not in NOT_CARRIED
