"""Folders of the cache that are whole only once their stamp, written last, is there."""

import shutil
from pathlib import Path

from .errors import DevError

STAMP = "complete.json"


def wipe(folder: Path) -> None:
    """Delete a folder of the cache; raises DevError if something in it is in use."""
    try:
        # Without its stamp a half-deleted folder does not pass for a whole one.
        (folder / STAMP).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise DevError(f"cannot delete {folder} ({error}); stop what uses it and try again.") from error
