"""A process that loads the two LoRA files of `figures/lora.py` and says what that cost.

Arguments: ComfyUI's folder, the pack's, the folder of the files, size of the base model, loader, runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swd_dev.tiny.comfyui import use_comfyui

COMFYUI, PACK, FOLDER, SIZE, LOADER = sys.argv[1:6]
RUNS = int(sys.argv[6])
logging.getLogger().setLevel(logging.ERROR)
use_comfyui(Path(COMFYUI))

import folder_paths  # noqa: E402
import torch  # noqa: E402

import nodes  # noqa: E402
from bench.architectures import ARCHITECTURES  # noqa: E402
from bench.models import build  # noqa: E402


def main() -> None:
    folder_paths.add_model_folder_path("loras", FOLDER)
    asyncio.run(nodes.load_custom_node(PACK))
    model = build(ARCHITECTURES[SIZE]["flux"], torch.device("meta"), torch.bfloat16)
    reports: list[str] = []

    def ours() -> Any:
        loader = nodes.NODE_CLASS_MAPPINGS["SWDLoraLoader"]
        loaded, report = loader.execute(model=model, lora_name="swd.safetensors", strength_model=1.0).result
        reports.append(report)
        return loaded

    def theirs() -> Any:
        # A fresh node: this one keeps the file that it read last.
        return nodes.LoraLoaderModelOnly().load_lora_model_only(model, "comfyui.safetensors", 1.0)[0]

    jobs = {"ours": ours, "theirs": theirs}
    chosen = {name: job for name, job in jobs.items() if LOADER in ("both", name)}
    before = _peak()
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(RUNS):
        for name, job in chosen.items():
            times[name].append(_timed(job))
    print(json.dumps({**times, "peak": _peak() - before, "report": reports[-1] if reports else ""}))


def _timed(job: Callable[[], Any]) -> float:
    start = time.perf_counter()
    loaded = job()
    spent = time.perf_counter() - start
    assert len(loaded.patches) > 0, "the file was not loaded"
    del loaded
    gc.collect()
    return spent


def _peak() -> int:
    """The most bytes that this process has held."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux lets a process begin with the ru_maxrss of the one that started it.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
