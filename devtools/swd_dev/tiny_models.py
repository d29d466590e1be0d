"""The tiny model files, made once for each state of their source and kept in the cache."""

from pathlib import Path

from .environment import Settings
from .errors import DevError
from .folders import wipe
from .host import STARTED, Host
from .lock import FileLock
from .paths import CONSTRAINTS, DEVTOOLS, cache_root, short_hash
from .process import Command, run_logged
from .progress import say

SOURCE = DEVTOOLS / "swd_dev" / "tiny"


def ensure_tiny_models(host: Host, remake: bool = False) -> Path:
    """Return a folder laid out like ComfyUI's models/ that holds the tiny models; makes them where absent.

    Raises DevError if their maker fails.
    """
    files = sorted(SOURCE.rglob("*.py"))
    if not files:
        raise DevError(f"{SOURCE} has no source of the tiny models; restore it from git.")
    key = short_hash(file.read_text(encoding="utf-8") for file in [CONSTRAINTS, *files])
    folder = cache_root() / f"tiny-{key}"
    if folder.exists() and not remake:
        return folder
    with FileLock(cache_root() / "tiny.lock", "another process makes the tiny models; waiting for it ...") as lock:
        if remake and folder.exists() and folder.stat().st_mtime < STARTED:
            wipe(folder)
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            wipe(partial)
            # Always with the host's own ComfyUI: the files must not depend on a user's tree.
            env = Settings(host.comfyui, host.python, None).child_env()
            command: Command = [host.python, "-m", "swd_dev.tiny", "--out", partial, "--comfyui", host.comfyui]
            run_logged("making the tiny models", command, cache_root() / "tiny.log", env, DEVTOOLS, lock.fd)
            partial.rename(folder)
            for other in sorted(set(folder.parent.glob("tiny-*")) - {folder}):
                say(f"{other} belongs to another state of their source; delete it if no checkout needs it")
    return folder
