"""The environment of child processes, and the settings it carries to them."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import DevError
from .paths import DEVTOOLS

# What a user's shell may hold that would leak other packages, or another Python, into the host.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "MYPYPATH", "__PYVENV_LAUNCHER__")
SERVER_PACKAGES = "SWD_SERVER_PACKAGES"
OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "COMFY_CLI_NO_REMOTE_REFRESH": "1"}


def clean_env() -> dict[str, str]:
    """Return this process's environment without other Python paths; output comes at once and in UTF-8."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**env, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def server_env() -> dict[str, str]:
    """Return the environment of a ComfyUI server: clean, but for the packages of its version."""
    env = clean_env()
    return {**env, "PYTHONPATH": env[SERVER_PACKAGES]} if SERVER_PACKAGES in env else env


def build_env() -> dict[str, str]:
    """Return the environment of venv and pip."""
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_PROGRESS_BAR": "off"}
    return {**clean_env(), **quiet, "PIP_USER": "0"}


@dataclass(frozen=True)
class Settings:
    """What a child needs to start ComfyUI: its source tree, the Python that runs it, and the tiny models (or none).

    `server_packages` is a folder of packages that come before those of the server's Python. It reaches the server by
    way of `server_env`. `browser` is the program that the browser tests drive, `front_end` the web page that they open
    beside ComfyUI's own.
    """

    comfyui: Path
    server_python: Path
    tiny_models: Path | None
    server_packages: Path | None = None
    browser: Path | None = None
    front_end: Path | None = None

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings that `dev.py` passes on; raises DevError where they are missing."""
        if "COMFYUI_PATH" not in env:
            raise DevError("COMFYUI_PATH is not set; start this through `python dev.py` or set it to a ComfyUI folder.")
        tiny = env.get("SWD_TINY_MODELS")
        python = env.get("SWD_SERVER_PYTHON") or sys.executable
        return cls(Path(env["COMFYUI_PATH"]), Path(python), Path(tiny) if tiny else None)

    def child_env(self) -> dict[str, str]:
        """Return the environment of a child that runs our tools with these settings and no network."""
        env = {**clean_env(), **OFFLINE, "PYTHONPATH": str(DEVTOOLS)}
        env["COMFYUI_PATH"] = str(self.comfyui)
        env["SWD_SERVER_PYTHON"] = str(self.server_python)
        optional = {
            "SWD_TINY_MODELS": self.tiny_models,
            SERVER_PACKAGES: self.server_packages,
            "SWD_BROWSER": self.browser,
            "SWD_FRONT_END": self.front_end,
        }
        for name, path in optional.items():
            env.pop(name, None)
            if path:
                env[name] = str(path)
        return env
