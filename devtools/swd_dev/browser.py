"""The browser of the tests: one that is installed, else Debian's chromium, else Playwright's own download."""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from .environment import build_env
from .errors import DevError
from .host import Host
from .lock import FileLock
from .paths import cache_root
from .process import Command, run_logged

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The font is for the screenshots of the Chinese page; without it they show boxes.
APT_PACKAGES = ("chromium", "fonts-droid-fallback")
WHERE = (
    "from playwright.sync_api import sync_playwright\n"
    "with sync_playwright() as playwright:\n"
    "    print(playwright.chromium.executable_path)\n"
)

RunStep: TypeAlias = Callable[[str, Command], None]


def ensure_browser(host: Host) -> Path:
    """Return the program of a Chromium; installs one where there is none. Raises DevError if that fails."""
    found = installed_browser()
    if found:
        return found
    folder = cache_root() / "browsers"
    env = {**build_env(), "PLAYWRIGHT_BROWSERS_PATH": str(folder), "DEBIAN_FRONTEND": "noninteractive"}
    with FileLock(cache_root() / "browser.lock", "another process installs the browser; waiting for it ...") as lock:

        def run(title: str, command: Command) -> None:
            run_logged(title, command, cache_root() / "browser.log", env, cache_root(), lock.fd)

        return install_browser(run, host.python, lambda: _of_playwright(host.python, env), is_root_on_debian())


def installed_browser() -> Path | None:
    """Return the first Chromium on the PATH."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return Path(found) if found else None


def install_browser(run: RunStep, python: Path, of_playwright: Callable[[], Path], by_apt: bool) -> Path:
    """Install a Chromium with `run(title, command)` and return its program.

    `of_playwright` says where Playwright for `python` keeps its own, there or not. Raises DevError with every reason.
    """
    reasons: list[str] = []
    if by_apt:
        try:
            run("reading Debian's package lists", ["apt-get", "update"])
            run("installing chromium", ["apt-get", "install", "-y", "--no-install-recommends", *APT_PACKAGES])
        except (DevError, OSError) as error:
            reasons.append(str(error))
        if found := installed_browser():
            return found
    program = of_playwright()
    try:
        if not program.is_file():
            command: Command = [python, "-m", "playwright", "install", "--no-shell", "chromium"]
            run("downloading Playwright's Chromium", command)
    except DevError as error:
        reasons.append(str(error))
    if program.is_file():
        return program
    names = ", ".join(NAMES)
    raise DevError(
        "\n".join([*reasons, f"The browser tests need a Chromium: install one so that the PATH has one of {names}."])
    )


def is_root_on_debian() -> bool:
    """Whether apt can install Debian's chromium here. Ubuntu's package of that name only points to a snap."""
    try:
        system = platform.freedesktop_os_release()["ID"]
    except OSError:
        return False
    return system == "debian" and os.geteuid() == 0


def _of_playwright(python: Path, env: dict[str, str]) -> Path:
    done = subprocess.run([python, "-c", WHERE], env=env, check=False, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise DevError(f"Playwright does not start: {done.stderr.strip()}\nTry `python dev.py test --rebuild`.")
    return Path(done.stdout.strip())
