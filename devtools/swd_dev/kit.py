"""The bench for a Linux machine with a GPU and torch, but without this host or a network: all else in one archive."""

import shutil
import tarfile
import tempfile
from pathlib import Path

from .environment import build_env
from .errors import DevError
from .host import Host
from .paths import CONSTRAINTS
from .process import run_child
from .progress import say

# What ComfyUI and the bench import beside what comes with torchvision, torchaudio, transformers, peft and aiohttp.
PACKAGES = ("av", "comfy-aimdo", "diffusers", "sqlalchemy", "torchsde", "trampoline")
# Its wheel for Linux holds 45 MB of kernels for weights of few bits; this one has those that are written in Python.
PURE_PACKAGES = ("comfy-kitchen",)
LINUX = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64", "any")
# Folders of ComfyUI with what people put there, and what it does not import.
NOT_CARRIED = {"blueprints", "custom_nodes", "input", "models", "output", "temp", "tests", "tests-unit", "user"}


def write_kit(host: Host, comfyui: Path, file: Path, python: str) -> int:
    """Write the archive: a folder `kit` with ComfyUI and `packages` for a Python version, which stand in for a host.

    Raises DevError if pip fails.
    """
    with tempfile.TemporaryDirectory(prefix="swd-kit-") as folder:
        kit = Path(folder) / "kit"
        shutil.copytree(comfyui, kit / "ComfyUI", ignore=lambda place, names: ignored(Path(place) == comfyui, names))
        # ComfyUI looks into it.
        (kit / "ComfyUI" / "custom_nodes").mkdir()
        _install(host, kit / "packages", python, PACKAGES, LINUX, "cp")
        _install(host, kit / "packages", python, PURE_PACKAGES, ("any",), "py")
        say(f"packing {file}")
        with tarfile.open(file, "w:xz") as archive:
            archive.add(kit, "kit")
    say(f"{file.stat().st_size / 2**20:.0f} MiB; docs/speed.md tells how to use it")
    return 0


def ignored(at_the_top: bool, names: list[str]) -> set[str]:
    return {name for name in names if name == "__pycache__" or (at_the_top and name in NOT_CARRIED)}


def _install(
    host: Host, target: Path, python: str, packages: tuple[str, ...], platforms: tuple[str, ...], implementation: str
) -> None:
    options = [
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--no-cache-dir",
        "--only-binary=:all:",
        f"--python-version={python}",
    ]
    options += [f"--implementation={implementation}", *(f"--platform={platform}" for platform in platforms)]
    if implementation == "py":
        options.append("--abi=none")
    pip: list[str | Path] = [host.python, "-m", "pip", "install", "--target", target, "-c", CONSTRAINTS]
    if run_child([*pip, *options, *packages], build_env()):
        raise DevError(f"pip could not fetch {', '.join(packages)} for Python {python}; see above.")
