"""The archive that the Registry would get from this working tree, made by comfy-cli itself."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .environment import OFFLINE, clean_env
from .errors import DevError

# What a user's git settings may change in the files, or leave out.
GIT_SETTINGS = ("-c", "core.autocrlf=false", "-c", "core.excludesFile=", "-c", "core.safecrlf=false")


def copy_of_tree(repo: Path, folder: Path) -> Path:
    """Make a git repository in `folder` that tracks all that `repo` does not ignore, committed there or not.

    Raises DevError if git is absent or fails.
    """
    _run(["git", "init", "--quiet", str(folder)], folder.parent)
    index = ["git", *GIT_SETTINGS, f"--git-dir={folder / '.git'}"]
    _run([*index, f"--work-tree={repo}", "add", "--all"], repo)
    _run([*index, f"--work-tree={folder}", "checkout-index", "--all"], folder)
    return folder


def validate(folder: Path) -> str:
    """Return what `comfy node validate` prints on a node pack; its exit code says nothing."""
    return _comfy(folder, "validate")


def pack(folder: Path) -> Path:
    """Run `comfy node pack` on a git repository and return the archive. Raises DevError if it makes none."""
    said = _comfy(folder, "pack")
    archive = folder / "node.zip"
    if not archive.is_file():
        raise DevError(f"`comfy node pack` made no archive; it said:\n{said}")
    return archive


def _comfy(folder: Path, command: str) -> str:
    return _run([sys.executable, "-m", "comfy_cli", "--skip-prompt", "node", command], folder)


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, env={**clean_env(), **OFFLINE}, capture_output=True, encoding="utf-8", check=False
        )
    except FileNotFoundError as error:
        raise DevError(f"{command[0]} is not installed; the archive is made of what git tracks.") from error
    said = done.stdout + done.stderr
    if done.returncode:
        raise DevError(f"`{' '.join(command)}` ended with exit code {done.returncode}:\n{said}")
    return said
