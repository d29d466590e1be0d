"""`python tests/bench`: what `python dev.py bench` starts, and what runs where there is no development host."""

import logging
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# Not this folder, which Python puts first: its modules are those of the package `bench`.
sys.path = [path for path in sys.path if Path(path).resolve() != TESTS / "bench"]
sys.path[:0] = [str(TESTS), str(TESTS / "host"), str(TESTS.parent / "devtools")]

from bench.cli import main  # noqa: E402 (the paths above come first)

if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    sys.exit(main())
