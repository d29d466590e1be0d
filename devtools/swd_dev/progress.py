"""Progress of a long step on the terminal: one line that counts seconds, or a line now and then in a log file."""

import shutil
import sys
import threading
import time

LOG_EVERY_SECONDS = 15.0


def say(text: str) -> None:
    """Print one line at once."""
    print(text, flush=True)


class Step:
    """`with Step("installing"):` shows the title, then the elapsed seconds while the block runs, then their total.

    The block may set `detail`, a few words on what happens now.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.seconds = 0.0
        self._live = sys.stdout.isatty()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Step":
        self._start = time.monotonic()
        if not self._live:
            say(f"{self.title} ...")
        self._thread.start()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._start
        end = "" if kind is None else "stopped after "
        self._line(f"{self.title}: {end}{self.seconds:.1f} s")
        if self._live:
            print(flush=True)

    def _tick(self) -> None:
        while True:
            if self._live:
                self._line(self._state())
            if self._done.wait(1.0 if self._live else LOG_EVERY_SECONDS):
                return
            if not self._live:
                self._line(self._state())

    def _state(self) -> str:
        return f"{self.title} ... {time.monotonic() - self._start:.0f} s  {self.detail}".rstrip()

    def _line(self, text: str) -> None:
        if not self._live:
            say(text)
            return
        width = max(shutil.get_terminal_size().columns - 1, 20)
        print("\r" + text[:width].ljust(width), end="", flush=True)
