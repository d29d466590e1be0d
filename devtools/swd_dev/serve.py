"""`dev.py serve`: ComfyUI with the pack and the tiny models, web UI included, until Ctrl-C."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from .environment import Settings
from .errors import DevError
from .lock import FileLock
from .options import STAND_INS_MISSING, add_serve_options
from .paths import REPO, cache_root
from .progress import Step, say
from .server import ComfyServer
from .signals import stop_on_signals


def main(arguments: Sequence[str]) -> int:
    """Run the server; exit code 130 after Ctrl-C, 2 with one sentence on standard error if it cannot run."""
    parser = argparse.ArgumentParser(prog="dev.py serve", description=__doc__)
    add_serve_options(parser)
    options = parser.parse_args(arguments)
    try:
        with stop_on_signals():
            _serve(options)
    except DevError as error:
        print(f"serve: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def _serve(options: argparse.Namespace) -> None:
    settings = Settings.read()
    if settings.tiny_models is None:
        raise DevError("SWD_TINY_MODELS is not set; start the server through `python dev.py serve`.")
    base = cache_root() / "serve"
    lock = FileLock(cache_root() / "serve.lock", "")
    if not lock.try_acquire():
        raise DevError(f"another `dev.py serve` uses {base}; stop it, or set SWD_DEV_CACHE to another folder.")
    with ExitStack() as stack:
        stack.callback(lock.release)
        with Step("starting ComfyUI"):
            models = settings.tiny_models
            server = ComfyServer(
                settings.comfyui, settings.server_python, REPO, models, base, cpu=not options.gpu, port=options.port
            )
            stack.enter_context(server)
        say(f"ComfyUI runs at {server.url}  (log: {server.log_path}; Ctrl-C stops it)")
        say(STAND_INS_MISSING)
        server.process.wait()
        raise DevError(f"ComfyUI ended by itself; its log ends with:\n{server.log_tail()}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
