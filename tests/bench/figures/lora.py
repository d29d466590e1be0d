"""Loading a LoRA: our loader on a file as published, ComfyUI's on an equal one in its own names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from swd_dev.tiny.lora import TARGETS

from bench.architectures import ARCHITECTURES
from bench.rows import Bar, Row
from bench.setting import Setting
from bench.twins import flux_module

OF_COMFYUI = Bar(1.1)
RANK = 128
OURS, THEIRS = "swd.safetensors", "comfyui.safetensors"


def measure(setting: Setting) -> Iterator[Row]:
    """Time and peak memory of our loader / ComfyUI's, for FLUX at rank 128; the base model has no memory of its own."""
    if not setting.has_time("LoRA load"):
        return
    with tempfile.TemporaryDirectory(prefix="swd-bench-lora-") as folder:
        size = write_pair(Path(folder), "true", RANK)
        yield from rows(setting, Path(folder), "true", f"FLUX.1-dev, rank {RANK}, {size / 2**20:.0f} MiB")


def rows(setting: Setting, folder: Path, size: str, case: str) -> Iterator[Row]:
    """The two ratios for a folder that `write_pair` filled."""
    both = child(setting, folder, size, "both", setting.runs)
    yield Row(
        "LoRA load, time",
        case,
        min(both["ours"]) / min(both["theirs"]),
        OF_COMFYUI,
        f"SwD LoRA Loader / LoraLoaderModelOnly, best of {setting.runs} in turn; {both['report']}",
        details=both,
    )
    # Growth by less than a MiB is a matter of chance, and may be none at all.
    peaks = {name: max(2**20, child(setting, folder, size, name, 1)["peak"]) for name in ("ours", "theirs")}
    note = f"what a fresh process grew by: {peaks['ours'] / 2**20:.0f} MiB against {peaks['theirs'] / 2**20:.0f} MiB"
    yield Row("LoRA load, memory", case, peaks["ours"] / peaks["theirs"], OF_COMFYUI, note, details={"bytes": peaks})


def write_pair(folder: Path, size: str, rank: int) -> int:
    """The same pairs for all that a training script might have taken, in PEFT's names and in ComfyUI's. Returns bytes
    of a file."""
    config = ARCHITECTURES[size]["flux"].unet_config
    with torch.device("meta"):
        module = flux_module(config)
    pairs = {
        name: (layer.in_features, layer.out_features)
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear) and any(f".{name}".endswith(f".{part}") for part in TARGETS["flux"])
    }
    # One pool of numbers: no loader looks at their values.
    pool = torch.randn(rank * max(max(shape) for shape in pairs.values())).bfloat16()
    tensors: dict[str, torch.Tensor] = {}
    for name, (columns, lines) in pairs.items():
        tensors[f"{name}.lora_A.weight"] = pool[: rank * columns].reshape(rank, columns).clone()
        tensors[f"{name}.lora_B.weight"] = pool[: rank * lines].reshape(lines, rank).clone()
    save_file({f"base_model.model.{name}": value for name, value in tensors.items()}, folder / OURS)
    save_file({f"transformer.{name}": value for name, value in tensors.items()}, folder / THEIRS)
    text = json.dumps({"r": rank, "lora_alpha": rank, "peft_type": "LORA"})
    (folder / "swd.adapter_config.json").write_text(text, encoding="utf-8")
    return (folder / OURS).stat().st_size


def child(setting: Setting, folder: Path, size: str, loader: str, runs: int) -> dict[str, Any]:
    """What `loading.py` measures in a process of its own. `loader`: ours, theirs or both in turn."""
    script = Path(__file__).resolve().parents[1] / "loading.py"
    values = [setting.comfyui, setting.pack, folder, size, loader, runs]
    folders = [setting.pack / part for part in ("tests", "tests/host", "devtools")]
    path = os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), *map(str, values)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
