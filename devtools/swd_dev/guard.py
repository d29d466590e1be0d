"""Runs a command and ends it, with all its children, once standard input closes.

The server of a demo or a test runs under this guard, so that nothing is left running however its owner ends, a hard
kill included: the system then closes the owner's end of the pipe. Started as `python -m swd_dev.guard COMMAND ...`.
"""

import os
import subprocess
import sys
import threading

from .environment import server_env
from .process import kill_group, stop_one
from .signals import stop_on_signals

POLL_SECONDS = 0.2


def main(command: list[str]) -> int:
    """Run `command` until it ends, standard input closes or a signal arrives; return its exit code."""
    closed = threading.Event()
    with stop_on_signals():
        # In this process's own group: the owner ends that group even when the guard itself was killed.
        process = subprocess.Popen(command, env=server_env(), stdin=subprocess.DEVNULL)
        try:
            threading.Thread(target=_wait_for_end, args=(closed,), daemon=True).start()
            while process.poll() is None and not closed.wait(POLL_SECONDS):
                pass
        except KeyboardInterrupt:
            pass
        finally:
            stop_one(process)
    if closed.is_set():
        # The owner may be gone, so what the command started ends here, and this process with it.
        kill_group(os.getpid())
    return abs(int(process.returncode))


def _wait_for_end(closed: threading.Event) -> None:
    # The unbuffered file: a lock of the buffered one would be held when the interpreter shuts down.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as pipe:
        pipe.read()
    closed.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
