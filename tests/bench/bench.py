"""Ratios that anyone can measure again: `python dev.py bench`.

One process, interleaved runs, medians. The timer runs around `guider.sample`: model loading, text encoding and VAE are
outside. On the tiny models of the tests the model's share is small, so the figures show the cost of everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[2]
TINY = Path(os.environ["SWD_TINY_MODELS"])
sys.path[:0] = [str(PACK / "devtools"), str(PACK / "tests/host")]

from swd_dev.tiny.comfyui import use_comfyui  # noqa: E402

use_comfyui(Path(os.environ["COMFYUI_PATH"]))

import comfy.samplers  # noqa: E402
import comfyui_version  # noqa: E402
import torch  # noqa: E402
from reference import CHANNELS, make_text  # noqa: E402
from running import conditioning, schedule_of  # noqa: E402
from swd_dev.tiny.loading import load_model  # noqa: E402

import nodes as comfy_nodes  # noqa: E402

FAMILIES = {
    "SD3.5 Medium, 6 steps": "sd35_medium",
    "SD3.5 Medium, 4 steps": "sd35_medium",
    "SD3.5 Large, 4 steps": "sd35_large",
    "FLUX.1-dev, 4 steps": "flux",
    "SDXL, 4 steps": "sdxl",
}


@dataclass
class Times:
    """Seconds of each run, and of the model's forward passes within it."""

    run: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)

    def overhead_ms(self, steps: int) -> float:
        return 1000 * statistics.median(a - b for a, b in zip(self.run, self.model, strict=True)) / steps


def timed_model(model: Any) -> tuple[Any, list[float]]:
    """A clone that adds up the seconds of its forward passes."""
    spent = [0.0]

    def forward(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
        start = time.perf_counter()
        result = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        spent[0] += time.perf_counter() - start
        return result

    clone = model.clone()
    clone.set_model_unet_function_wrapper(forward)
    return clone, spent


def run_once(times: Times, spent: list[float], guider: Any, sampler: Any, sigmas: Any, latent: torch.Tensor) -> None:
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    spent[0] = 0.0
    start = time.perf_counter()
    guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=0)
    times.run.append(time.perf_counter() - start)
    times.model.append(spent[0])


def measure(swd: dict[str, Any], preset: str, side: int, runs: int) -> tuple[Times, Times, int]:
    """SwD and ComfyUI's lcm at full size with as many steps, in turn. `side`: target in latent pixels."""
    family = FAMILIES[preset]
    model, spent = timed_model(load_model(family, TINY))
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": conditioning(family, make_text(family, length=77))})
    schedule, sigmas = schedule_of(swd, model, preset)
    swd_sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    latent = torch.zeros(1, CHANNELS[family], side, side)
    ours, lcm = Times(), Times()
    for _ in range(runs + 1):
        run_once(ours, spent, guider, swd_sampler, sigmas, latent)
        run_once(lcm, spent, guider, comfy.samplers.sampler_object("lcm"), sigmas, latent)
    for times in (ours, lcm):
        # The first run of each warms up.
        del times.run[0], times.model[0]
    return ours, lcm, len(sigmas) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each kind")
    parser.add_argument("--side", type=int, default=64, help="side of the target in latent pixels (128 is 1024 px)")
    options = parser.parse_args()
    before = set(comfy_nodes.NODE_CLASS_MAPPINGS)
    asyncio.run(comfy_nodes.load_custom_node(str(PACK)))
    swd = {name: comfy_nodes.NODE_CLASS_MAPPINGS[name] for name in set(comfy_nodes.NODE_CLASS_MAPPINGS) - before}
    threads = torch.get_num_threads()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}, {threads} threads, float32")
    print(f"ComfyUI {comfyui_version.__version__}, tiny models, {options.side} x {options.side} latent pixels, batch 1")
    print(f"median of {options.runs} interleaved runs after one warm-up; timer around guider.sample\n")
    print("| preset | lcm at full size / SwD | outside the model, SwD | outside the model, lcm |")
    print("|---|---|---|---|")
    for preset in FAMILIES:
        ours, lcm, steps = measure(swd, preset, options.side, options.runs)
        ratio = statistics.median(b / a for a, b in zip(ours.run, lcm.run, strict=True))
        outside = [f"{times.overhead_ms(steps):.2f} ms a step" for times in (ours, lcm)]
        print(f"| {preset} | {ratio:.2f}x | {outside[0]} | {outside[1]} |", flush=True)


if __name__ == "__main__":
    main()
