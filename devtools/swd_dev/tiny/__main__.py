"""``python -m swd_dev.tiny --out DIR --comfyui COMFYUI``: write the tiny models."""

from __future__ import annotations

import argparse
from pathlib import Path

from swd_dev.tiny.files import write_all


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(prog="python -m swd_dev.tiny", description="Write tiny seeded model files.")
    parser.add_argument("--out", type=Path, required=True, help="folder laid out like ComfyUI's models folder")
    parser.add_argument("--comfyui", type=Path, required=True, help="folder of an unpacked ComfyUI")
    options = parser.parse_args()
    write_all(options.out, options.comfyui)


if __name__ == "__main__":
    main()
