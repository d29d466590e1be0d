"""The pack's own sampler, schedules and LoRA loader, under the package name that the tests use too.

The repository's root stays off `sys.path`: its `nodes` would hide ComfyUI's. ComfyUI must be importable.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from swd_dev.paths import REPO

_package = types.ModuleType("swd_pack")
_package.__path__ = [str(REPO)]
sys.modules.setdefault("swd_pack", _package)


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"swd_pack.swd_core.{module}"), name)


ScaleWiseSampler = _of("host.sampler", "ScaleWiseSampler")
schedule_from_text = _of("host.schedules", "schedule_from_text")
sigmas_tensor = _of("host.schedules", "sigmas_tensor")
load_lora = _of("host.lora", "load_lora")
StageNoise = _of("noise", "StageNoise")
resize = _of("resize", "resize")
