"""Ctrl-C, and a polite kill, as one KeyboardInterrupt, so that clean-up runs once and is not itself interrupted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside the block the first stop signal raises KeyboardInterrupt and later ones are ignored."""
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            raise KeyboardInterrupt

    numbers = [number for name in NAMES if (number := getattr(signal, name, None)) is not None]
    # A hang-up that nohup made ignored stays so. A shell ignores Ctrl-C for background jobs: that is undone.
    numbers = [n for n in numbers if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
