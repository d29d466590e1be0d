"""Options of the commands that run in the host, shared by dev.py and the modules it starts."""

import argparse
from collections.abc import Callable
from pathlib import Path

# In this order: what is quick or matters most comes first, for a GPU that is there for a short time.
FIGURES = ("overhead", "speedup", "stages", "authors", "memory", "growth", "peers", "compiled", "imports", "lora")
SAMPLE = 120
# See STAND_INS in prompts.py: a page gets the template as it is.
STAND_INS_MISSING = "The templates of SDXL and FLUX.1-dev do not run in its page: for them use `demo --template`."


def add_demo_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `demo`."""
    parser.add_argument("prompt", nargs="?", help="the text of the image (default: the workflow's own)")
    parser.add_argument(
        "--template",
        metavar="NAME",
        help="a workflow of workflows/, or part of its name, on tiny random models (default: the toy world)",
    )
    parser.add_argument("--size", metavar="WxH", help="size of the image in pixels")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the noise")
    parser.add_argument("--out", metavar="PATH", help="file to write (default: swd-demo-N.png in this folder)")
    _add_gpu(parser)


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument("--port", type=int, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    _add_gpu(parser)


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    parser.add_argument("--only", action="append", choices=FIGURES, help="measure this figure; may be repeated")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--true-size", action="store_true", help="the real architectures, with random weights")
    parser.add_argument("--side", type=int, help="side of the target in latent pixels (128 is 1024 px)")
    parser.add_argument("--runs", type=int, default=7, help="counted rounds")
    parser.add_argument("--preset", action="append", help="measure this preset; may be repeated")
    parser.add_argument("--minutes", type=float, default=9.0, help="no case begins after this time")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on a CPU")
    parser.add_argument(
        "--torch-attention", action="store_true", help="on a CPU too ComfyUI takes torch's attention, as on NVIDIA GPUs"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")


def add_kit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `kit`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="archive to write, such as kit.tar.xz")
    parser.add_argument("--for-python", default="3.12", metavar="VERSION", help="Python of that machine")


def add_mutate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mutate`."""
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help="how many mutants, over all files")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another sample")
    parser.add_argument("names", nargs="*", metavar="NAME", help="files of swd_core, such as loop or lora/scale")


def _add_gpu(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu", action="store_true", help="let ComfyUI use the graphics card (default: CPU only)")


def as_arguments(options: argparse.Namespace, add: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """Return the command line that gives a parser made by `add` the values in `options`."""
    parser = argparse.ArgumentParser(add_help=False)
    add(parser)
    line: list[str] = []
    last: list[str] = []
    for action in parser._actions:
        value = getattr(options, action.dest)
        if value is True:
            line.append(action.option_strings[0])
        elif value is not None and value is not False:
            values = [str(one) for one in (value if isinstance(value, list) else [value])]
            if action.option_strings:
                line += [f"{action.option_strings[0]}={one}" for one in values]
            else:
                last += values
    return line + (["--", *last] if last else [])
