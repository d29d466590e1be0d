"""``python -m swd_dev.distill FILE``, or ``accelerate launch -m swd_dev.distill FILE`` for several processes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from swd_dev.distill.config import read_training_file
from swd_dev.distill.processes import make_workers
from swd_dev.errors import DevError
from swd_dev.tiny.comfyui import use_comfyui


def main() -> int:
    """Train the LoRA of a training file; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m swd_dev.distill", description="Train an SwD LoRA.")
    parser.add_argument("file", type=Path, help="training file, TOML or JSON")
    parser.add_argument("--comfyui", type=Path, required=True, help="ComfyUI's source folder")
    parser.add_argument("--cpu", action="store_true", help="train on the CPU")
    options = parser.parse_args()
    try:
        file = read_training_file(options.file)
        workers = make_workers(options.cpu)
        use_comfyui(options.comfyui, cpu=options.cpu)
        # ComfyUI must be on the path before these load.
        from swd_dev.distill.training import train_file

        train_file(file, workers)
    except (DevError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
