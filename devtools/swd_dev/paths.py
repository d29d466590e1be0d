"""Where things are: the checkout, and the cache folder outside it."""

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

DEVTOOLS = Path(__file__).resolve().parents[1]
REPO = DEVTOOLS.parent
EXAMPLE_CLIENT = REPO / "example_client"
CONSTRAINTS = DEVTOOLS / "constraints.txt"
REQUIREMENTS = DEVTOOLS / "requirements.txt"


def cache_root() -> Path:
    """Return the per-user cache folder of the development host ($SWD_DEV_CACHE replaces it), created if absent."""
    chosen = os.environ.get("SWD_DEV_CACHE")
    root = Path(chosen).expanduser().absolute() if chosen else _user_cache() / "swd-dev"
    root.mkdir(parents=True, exist_ok=True)
    return root


def _user_cache() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def venv_program(venv: Path, name: str) -> Path:
    """Return the path of a program inside a virtual environment."""
    return venv / "Scripts" / f"{name}.exe" if sys.platform == "win32" else venv / "bin" / name


def short_hash(parts: Iterable[str]) -> str:
    """Return 10 hex digits that name the given texts, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:10]
