"""``python -m swd_dev.toy STEP --run FOLDER``: make the toy world, step by step or all at once."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from swd_dev.tiny.comfyui import use_comfyui
from swd_dev.toy.steps import STEPS, Run
from swd_dev.toy.training import Settings


def main() -> None:
    """Parse the command line and run one step, or `all` that are not done yet."""
    parser = argparse.ArgumentParser(prog="python -m swd_dev.toy", description="Train the toy world.")
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--run", type=Path, required=True, help="folder of the results and checkpoints")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="steps of the teacher's training")
    parser.add_argument("--threads", type=int, default=1, help="more than one pays on idle cores only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    use_comfyui(Path(os.environ["COMFYUI_PATH"]))
    options.run.mkdir(parents=True, exist_ok=True)
    clip = Path(os.environ["SWD_TINY_MODELS"]) / "text_encoders" / "clip_l.safetensors"
    run = Run(options.run, clip, Settings(steps=options.steps))
    for name in STEPS if options.step == "all" else [options.step]:
        print(f"step {name}", flush=True)
        STEPS[name](run)


if __name__ == "__main__":
    main()
