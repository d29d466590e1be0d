"""On which front ends and renderers a test runs."""

from __future__ import annotations

import comfyui_version
import pytest
from swd_dev.versions import DEFAULT


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


VERSION = _number(comfyui_version.__version__)
# A front end much newer than its ComfyUI is a pair that nobody runs.
FRONT_ENDS = ("own front end", "newer front end") if _number(DEFAULT) <= VERSION else ("own front end",)

# For what does not depend on how nodes are drawn.
one_renderer = pytest.mark.parametrize("renderer", ["classic"], indirect=True)
# Search, help, errors, apps and saved workflows stood elsewhere on older pages, where they existed.
present_page = pytest.mark.skipif(VERSION < (0, 24), reason="this part of the page was another one before 0.24")
