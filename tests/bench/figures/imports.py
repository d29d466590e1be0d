"""What loading the pack adds to ComfyUI's start."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench.rows import Bar, Row
from bench.setting import Setting

OF_START = Bar(50.0)
STARTS = 5

# main.py's order: server and built-in nodes first, so that what they import is not counted as ours.
_CHILD = """
import asyncio, json, logging, sys, time
from pathlib import Path
logging.getLogger().setLevel(logging.ERROR)
from swd_dev.tiny.comfyui import use_comfyui
use_comfyui(Path(sys.argv[1]))
import execution, nodes, server
async def start():
    await nodes.init_builtin_extra_nodes()
    before, known = time.perf_counter(), set(sys.modules)
    loaded = await nodes.load_custom_node(sys.argv[2])
    spent = time.perf_counter() - before
    assert loaded and "SWDSampler" in nodes.NODE_CLASS_MAPPINGS
    print(json.dumps([spent, sorted(set(sys.modules) - known)]))
asyncio.run(start())
"""


def measure(setting: Setting) -> Iterator[Row]:
    """Milliseconds of loading the pack, each in a process of its own; the best one, as nothing can make it faster."""
    if not setting.has_time("import"):
        return
    # The very first start of a user compiles the sources; this one, where it does, is not counted.
    start(setting)
    starts = [start(setting) for _ in range(STARTS)]
    spent = [1000 * seconds for seconds, _ in starts]
    foreign = [name for name in starts[0][1] if not name.startswith(str(setting.pack))]
    note = f"best of {STARTS} processes, median {statistics.median(spent):.0f} ms; {len(foreign)} modules that ComfyUI "
    note += "had not loaded"
    yield Row("import", "the pack", min(spent), OF_START, note, "ms", {"ms": spent, "foreign": foreign})


def start(setting: Setting) -> tuple[float, list[str]]:
    """Seconds that one fresh ComfyUI took to load the pack, and the modules that were new to it."""
    command = [sys.executable, "-c", _CHILD, str(setting.comfyui), str(setting.pack)]
    path = os.pathsep.join([str(setting.pack / "devtools"), os.environ.get("PYTHONPATH", "")])
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env={**env, "PYTHONPATH": path}, capture_output=True, encoding="utf-8", check=True)
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    return seconds, modules
