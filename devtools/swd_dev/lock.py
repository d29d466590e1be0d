"""A lock between processes, on a file that is never deleted. The system frees it when its holder dies."""

import os
import sys
import time
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

POLL_SECONDS = 0.5


class FileLock:
    """Holds `path` locked inside a `with` block; prints `waiting` once if another process has it.

    On Linux and macOS a child started with `pass_fds=(lock.fd,)` shares the lock, so that a child which outlives
    its killed parent still keeps others out.
    """

    def __init__(self, path: Path, waiting: str) -> None:
        self.path = path
        self.waiting = waiting
        self.fd = -1

    def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether this object holds it now."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if sys.platform == "win32":
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd
        return True

    def release(self) -> None:
        """Give the lock back."""
        if sys.platform == "win32":
            msvcrt.locking(self.fd, msvcrt.LK_UNLCK, 1)
        os.close(self.fd)
        self.fd = -1

    def __enter__(self) -> "FileLock":
        told = False
        while not self.try_acquire():
            if not told:
                print(self.waiting, flush=True)
                told = True
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
