"""Development host of the pack: `python dev.py demo | test | serve | bench`. Standard library only."""

import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 (an older Python reads this far)
    sys.exit(f"dev.py needs Python 3.10 or newer and runs on {sys.version.split()[0]}; start it with a newer python.")

# The checkout leaves sys.path: its folder `nodes/` would hide ComfyUI's module of that name.
sys.path[0] = str(Path(__file__).resolve().parent / "devtools")

from swd_dev.cli import main  # noqa: E402 (the path above comes first)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
