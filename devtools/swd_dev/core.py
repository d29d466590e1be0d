"""The core of the pack, for the development tools."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from .paths import REPO

_PACKAGE = "swd_pack"


def import_core(module: str) -> Any:
    """Import a module of `swd_core` that needs no ComfyUI, such as "plot".

    The pack imports relative to its root and may lie in a folder of any name, so it gets a package name of its own.
    """
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [str(REPO)]
    sys.modules.setdefault(_PACKAGE, package)
    return importlib.import_module(f"{_PACKAGE}.swd_core.{module}")
