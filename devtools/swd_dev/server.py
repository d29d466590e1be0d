"""A ComfyUI server as a child process, for the demo, for `serve` and for tests."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .base_folder import prepare
from .environment import OFFLINE, clean_env
from .errors import DevError
from .paths import DEVTOOLS
from .process import Process, start_group, stop_tree

START_SECONDS = 300.0
STOP_SECONDS = 15.0
DATABASE = "comfyui.db"
POLL_SECONDS = 0.2
PORT_TRIES = 3
TAIL_LINES = 25
BROKEN_PACK = re.compile(r"\(IMPORT FAILED\)|Cannot import .* module for custom nodes")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PORT_TAKEN = re.compile(r"already in use|Errno 98|Errno 48|WinError 10048")


class ComfyServer:
    """`with ComfyServer(...) as server:` runs ComfyUI with the pack on a free port of 127.0.0.1.

    `url`, `base_directory`, `log_path` and `process` are set inside the block; the process is the guard that runs the
    server. Without a base directory the server gets one of its own, deleted at the end; without a pack it takes the
    custom nodes that its base directory holds. Entering raises DevError, with the end of the log, if the server does
    not start or cannot import the pack.
    """

    url: str
    base_directory: Path
    log_path: Path
    process: Process

    def __init__(
        self,
        comfyui: Path,
        python: Path,
        pack: Path | None,
        tiny_models: Path,
        base_directory: Path | None = None,
        extra_args: Sequence[str] = (),
        *,
        cpu: bool = True,
        port: int | None = None,
    ) -> None:
        self.comfyui = comfyui
        self.python = python
        self.pack = pack
        self.tiny_models = tiny_models
        self.extra_args = (*(("--cpu",) if cpu else ()), *extra_args)
        self.port = port
        self._own_base = base_directory is None
        self._wanted_base = base_directory

    def __enter__(self) -> "ComfyServer":
        self.base_directory = self._wanted_base or Path(tempfile.mkdtemp(prefix="swd-server-"))
        self.log_path = self.base_directory / "server.log"
        try:
            model_paths = prepare(self.base_directory, self.pack, self.tiny_models, self.comfyui)
            # An older ComfyUI refuses the database of a newer one.
            (self.base_directory / DATABASE).unlink(missing_ok=True)
            self._start(model_paths)
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._clean_up()

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of the server's log."""
        return "\n".join(self._log().splitlines()[-lines:])

    def _end_of_log(self, lines: int = TAIL_LINES) -> str:
        tail = self.log_tail(lines)
        return f"its log ends with:\n{tail}" if tail else f"it wrote nothing; is {self.python} the right Python?"

    def _start(self, model_paths: Path) -> None:
        for tries_left in reversed(range(PORT_TRIES)):
            port = self.port or _free_port()
            self.url = f"http://127.0.0.1:{port}"
            with self.log_path.open("w", encoding="utf-8") as log:
                command = [sys.executable, "-m", "swd_dev.guard", *self._command(port, model_paths)]
                self.process = start_group(command, _guard_env(), DEVTOOLS, stdin=subprocess.PIPE, stdout=log)
            if self._wait_until_up():
                break
            self._stop()
            if self.port or not tries_left or not PORT_TAKEN.search(self._log()):
                code = self.process.returncode
                raise DevError(f"ComfyUI ended with exit code {code} while it started; {self._end_of_log()}")
        if BROKEN_PACK.search(self._log()):
            raise DevError(f"ComfyUI could not import a node pack; {self._end_of_log(60)}")

    def _command(self, port: int, model_paths: Path) -> list[str]:
        options = {
            "--port": str(port),
            "--listen": "127.0.0.1",
            "--base-directory": str(self.base_directory),
            # A file, as 0.16.3 has no tables in a database in memory.
            "--database-url": f"sqlite:///{(self.base_directory / DATABASE).as_posix()}",
            "--extra-model-paths-config": str(model_paths),
        }
        pairs = [word for pair in options.items() for word in pair]
        # By its path in the command and not by the working directory, so that nothing is written beside the sources.
        return [str(self.python), str(self.comfyui / "main.py"), *pairs, "--disable-api-nodes", *self.extra_args]

    def _wait_until_up(self) -> bool:
        """Whether the server answers; False if it ended. Raises DevError if it does neither for minutes."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                get_json(f"{self.url}/system_stats", 5.0)
            except (OSError, ValueError):
                time.sleep(POLL_SECONDS)
            else:
                return self.process.poll() is None
        raise DevError(f"ComfyUI gave no answer within {START_SECONDS:.0f} s; {self._end_of_log()}")

    def _log(self) -> str:
        text = self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""
        return COLOUR.sub("", text)

    def _stop(self) -> None:
        process = getattr(self, "process", None)
        if process is None:
            return
        # The guard ends the server when its input closes. A broken pipe is a guard that is already gone.
        if process.stdin:
            with contextlib.suppress(OSError):
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        stop_tree(process)

    def _clean_up(self) -> None:
        self._stop()
        if self._own_base:
            shutil.rmtree(self.base_directory, ignore_errors=True)


def get_json(url: str, seconds: float) -> Any:
    """Fetch JSON from the local server, never through a proxy. Raises OSError or ValueError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=seconds) as answer:
        return json.load(answer)


def _guard_env() -> dict[str, str]:
    # The guard needs the tools on its path; the server must not see them, nor a safe path, which would hide ComfyUI's
    # own modules from main.py. The guard replaces the one and drops the other for its child.
    return {**clean_env(), **OFFLINE, "PYTHONPATH": str(DEVTOOLS)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
