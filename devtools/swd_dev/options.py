"""Options of the commands that run in the host, shared by dev.py and the modules it starts."""

import argparse
from collections.abc import Callable


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
            if action.option_strings:
                line.append(f"{action.option_strings[0]}={value}")
            else:
                last = ["--", str(value)]
    return line + last
