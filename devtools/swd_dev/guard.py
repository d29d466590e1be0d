"""Runs a command and ends it, with all its children, once standard input closes.

The server of a demo or a test runs under this guard, so that nothing is left running however its owner ends, a hard
kill included: the system then closes the owner's end of the pipe. Started as `python -m swd_dev.guard COMMAND ...`.
"""

import sys
import threading

from .environment import clean_env
from .process import start_group, stop_tree
from .signals import stop_on_signals

POLL_SECONDS = 0.2


def main(command: list[str]) -> int:
    """Run `command` until it ends, standard input closes or a signal arrives; return its exit code."""
    closed = threading.Event()
    with stop_on_signals():
        process = start_group(command, clean_env())
        try:
            threading.Thread(target=_wait_for_end, args=(closed,), daemon=True).start()
            while process.poll() is None and not closed.wait(POLL_SECONDS):
                pass
        except KeyboardInterrupt:
            pass
        finally:
            stop_tree(process)
    return abs(int(process.returncode))


def _wait_for_end(closed: threading.Event) -> None:
    # The unbuffered file: a lock of the buffered one would be held when the interpreter shuts down.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as pipe:
        pipe.read()
    closed.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
