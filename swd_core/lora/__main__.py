"""Convert a LoRA file without ComfyUI: `python -m swd_core.lora IN OUT` in the folder of the pack."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .convert import convert_lora
from .file import read_lora

logger = logging.getLogger("swd")


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one file; returns 0, or 2 with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m swd_core.lora", description=__doc__)
    parser.add_argument("source", type=Path, help="the LoRA as published, with adapter_config.json beside it")
    parser.add_argument("out", type=Path, help="the file to write, a .safetensors that does not exist yet")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        # The folder is part of the name: it tells which published LoRA this is.
        name = "/".join(options.source.absolute().parts[-2:])
        logger.info("%s", convert_lora(read_lora(options.source, name), options.out))
    except (InputError, OSError) as error:
        logger.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
