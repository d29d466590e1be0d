"""The command line of dev.py."""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from .browser import ensure_browser
from .environment import Settings
from .errors import DevError
from .host import Host, ensure_front_end, ensure_host, ensure_tree
from .kit import write_kit
from .options import (
    STAND_INS_MISSING,
    add_bench_options,
    add_demo_options,
    add_kit_options,
    add_mutate_options,
    add_serve_options,
    as_arguments,
)
from .paths import REPO
from .process import run_child
from .progress import say
from .signals import stop_on_signals
from .testing import CHECKS, run_checks, wants_browser
from .tiny_models import ensure_tiny_models
from .versions import DEFAULT, VERSIONS

BENCH = REPO / "tests" / "bench" / "__main__.py"
INTERRUPTED = 130
DESCRIPTION = "Development host of the pack. The first call builds it (about 3 minutes and 7 GB)."


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: 0 good, 2 a told failure, 130 after Ctrl-C, else the child's."""
    options, extra = _parse(arguments)
    try:
        with stop_on_signals():
            comfyui = _own_comfyui(options.comfyui, options.comfyui_version)
            python = _own_python(options.python)
            host = ensure_host(options.rebuild)
            settings = _settings(host, comfyui, python, options.comfyui_version or DEFAULT)
            return COMMANDS[options.command](host, settings, options, extra)
    except DevError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("stopped")
        return INTERRUPTED


def _parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--comfyui", metavar="PATH", help="use this ComfyUI folder; nothing is written there")
    version = f"use this version of ComfyUI instead of {DEFAULT}: {', '.join(VERSIONS)}"
    common.add_argument("--comfyui-version", choices=VERSIONS, metavar="VERSION", help=version)
    common.add_argument("--python", metavar="PATH", help="run the ComfyUI server with this Python")
    common.add_argument("--rebuild", action="store_true", help="make the cached host and the tiny models anew")
    parser = argparse.ArgumentParser(prog="dev.py", description=DESCRIPTION, parents=[common], allow_abbrev=False)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="demo | test | serve | bench | kit | mutate"
    )

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common], allow_abbrev=False)

    add_demo_options(
        command("demo", "make an image with the trained toy world, or run a template on tiny models, and save it here")
    )
    test = command("test", "ruff, the type checker and pytest; other arguments go to pytest")
    test.add_argument("--only", choices=CHECKS, help="run one of the three")
    serve = command("serve", "run ComfyUI with the pack and the tiny models until Ctrl-C")
    serve.epilog = STAND_INS_MISSING
    add_serve_options(serve)
    add_bench_options(command("bench", "ratios of speed and memory as a table"))
    add_kit_options(command("kit", "the bench as one archive, for a GPU machine without a network"))
    add_mutate_options(command("mutate", "faults put into the core one by one, and whether the unit tests notice"))
    # Defaults go in by a namespace: a subcommand's own would replace what stands before it on the command line.
    defaults = argparse.Namespace(comfyui=None, comfyui_version=None, python=None, rebuild=False)
    options, extra = parser.parse_known_args(arguments, defaults)
    if extra and options.command != "test":
        parser.error(f"{options.command} does not know {' '.join(extra)}")
    return options, extra


def _own_comfyui(path: str | None, version: str | None) -> Path | None:
    if path is None:
        return None
    if version is not None:
        raise DevError(f"--comfyui {path} and --comfyui-version {version} exclude each other; give one of them.")
    folder = Path(path).expanduser().absolute()
    missing = [name for name in ("main.py", "comfyui_version.py") if not (folder / name).is_file()]
    if missing:
        names = " and no ".join(missing)
        raise DevError(f"{folder} is no ComfyUI folder: it has no {names}; give the folder that holds main.py.")
    return folder


def _own_python(path: str | None) -> Path | None:
    if path is None:
        return None
    found = shutil.which(str(Path(path).expanduser()))
    if not found:
        raise DevError(f"{path} is no program that can be started; give --python the path of a Python interpreter.")
    # Not resolved: a virtual environment is known by the path of its link.
    return Path(found).absolute()


def _settings(host: Host, comfyui: Path | None, python: Path | None, version: str) -> Settings:
    if comfyui:
        return Settings(comfyui, python or host.python, None)
    tree = ensure_tree(host, version)
    # A Python of the user's brings the packages of its own ComfyUI.
    return Settings(tree.comfyui, python or host.python, None, None if python else tree.packages)


def _with_tiny(host: Host, settings: Settings, options: argparse.Namespace) -> Settings:
    return replace(settings, tiny_models=ensure_tiny_models(host, options.rebuild))


def _env(host: Host, settings: Settings) -> dict[str, str]:
    env = settings.child_env()
    if host.root not in settings.comfyui.parents:
        # Compiled files would be written beside the sources of the user's ComfyUI.
        env["PYTHONDONTWRITEBYTECODE"] = "1"
    return env


def _demo(host: Host, settings: Settings, options: argparse.Namespace, extra: list[str]) -> int:
    env = _env(host, _with_tiny(host, settings, options))
    return run_child([host.python, "-m", "swd_dev.demo", *as_arguments(options, add_demo_options)], env)


def _serve(host: Host, settings: Settings, options: argparse.Namespace, extra: list[str]) -> int:
    env = _env(host, _with_tiny(host, settings, options))
    return run_child([host.python, "-m", "swd_dev.serve", *as_arguments(options, add_serve_options)], env)


def _test(host: Host, settings: Settings, options: argparse.Namespace, extra: list[str]) -> int:
    checks = (options.only,) if options.only else CHECKS
    if "pytest" in checks:
        settings = _with_tiny(host, settings, options)
        if wants_browser(extra):
            settings = replace(settings, browser=ensure_browser(host), front_end=ensure_front_end(host))
    return run_checks(checks, host, _env(host, settings), extra)


def _bench(host: Host, settings: Settings, options: argparse.Namespace, extra: list[str]) -> int:
    if not BENCH.is_file():
        raise DevError(f"there is no {BENCH}; restore it from git.")
    command: list[str | Path] = [host.python, BENCH, *as_arguments(options, add_bench_options)]
    return run_child(command, _env(host, _with_tiny(host, settings, options)))


def _kit(host: Host, settings: Settings, options: argparse.Namespace, extra: list[str]) -> int:
    return write_kit(host, settings.comfyui, options.file, options.for_python)


def _mutate(host: Host, settings: Settings, options: argparse.Namespace, extra: list[str]) -> int:
    env = {**_env(host, _with_tiny(host, settings, options)), "PYTHONSAFEPATH": "1"}
    return run_child([host.python, "-m", "swd_dev.mutation", *as_arguments(options, add_mutate_options)], env)


COMMANDS: dict[str, Callable[[Host, Settings, argparse.Namespace, list[str]], int]] = {
    "demo": _demo,
    "test": _test,
    "serve": _serve,
    "bench": _bench,
    "kit": _kit,
    "mutate": _mutate,
}
