"""The cached host: a virtual environment, built once for each set of pins, and the ComfyUI versions that share it."""

import json
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .archive import pinned_version
from .environment import build_env
from .errors import DevError
from .folders import STAMP, wipe
from .lock import FileLock
from .paths import CONSTRAINTS, REQUIREMENTS, cache_root, short_hash, venv_program
from .process import Command, run_logged
from .progress import say
from .tree import Tree, build_tree
from .versions import DEFAULT, FRONT_END, VERSIONS

NEEDED_GIB = 12
STARTED = time.time()  # what was built later need not be built anew
NEWEST_PYTHON = (3, 14)  # the newest that the pinned torch has wheels for


@dataclass(frozen=True)
class Host:
    """A host folder. It is usable once its stamp, written last, is there."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / "venv"

    @property
    def python(self) -> Path:
        return venv_program(self.venv, "python")

    @property
    def comfyui(self) -> Path:
        """The default version, which came with the environment."""
        return self.tree(DEFAULT).comfyui

    def tree(self, version: str) -> Tree:
        """The folder of a version, which may not be there yet."""
        return Tree(self.root / f"comfyui-{version}", version)

    @property
    def log(self) -> Path:
        return self.root / "build.log"

    @property
    def stamp(self) -> Path:
        return self.root / STAMP

    def complete(self) -> bool:
        """Whether the build ended and is still whole: its Python links to the system's, which may go."""
        return self.stamp.is_file() and self.python.is_file() and self.tree(DEFAULT).complete()


def ensure_host(rebuild: bool) -> Host:
    """Return the host for the current pins and this Python; builds it where it is absent, half-built or unwanted.

    Raises DevError if a build step fails.
    """
    host = Host(cache_root() / f"host-{_key()}")
    if host.complete() and not rebuild:
        return host
    with _lock(host) as lock:
        # The process waited for may have built it in the meantime, and may use it now.
        if host.complete() and not (rebuild and host.stamp.stat().st_mtime < STARTED):
            return host
        _build(host, lock.fd)
    return host


def ensure_tree(host: Host, version: str) -> Tree:
    """Return a ComfyUI version of a whole host; fetches it where it is absent or half-built. Raises DevError."""
    tree = host.tree(version)
    if not tree.complete():
        with _lock(host) as lock:
            if not tree.complete():
                _build_tree(host, version, lock.fd)
    return tree


def ensure_front_end(host: Host) -> Path:
    """Return the folder of the newer front end's web page; fetches it where it is absent. Raises DevError."""
    folder = host.root / FRONT_END.replace("==", "-")
    if not folder.exists():
        with _lock(host) as lock:
            if not folder.exists():
                partial = folder.with_name(f"{folder.name}.partial")
                wipe(partial)
                command = _pip(host, "install", "--no-deps", "--no-cache-dir", "--target", partial, FRONT_END)
                _run(host, f"fetching {FRONT_END}", command, lock.fd)
                partial.rename(folder)
    return folder / "comfyui_frontend_package" / "static"


def _lock(host: Host) -> FileLock:
    path = host.root.with_name(f"{host.root.name}.lock")
    return FileLock(path, f"another process builds {host.root}; waiting for it ...")


def _key() -> str:
    texts = [file.read_text(encoding="utf-8") for file in (CONSTRAINTS, REQUIREMENTS)]
    version = ".".join(map(str, sys.version_info[:2]))
    return short_hash([*texts, VERSIONS[DEFAULT].source, version, sys.platform, platform.machine()])


def _build(host: Host, lock_fd: int) -> None:
    if sys.version_info[:2] > NEWEST_PYTHON:
        newest = ".".join(map(str, NEWEST_PYTHON))
        found = sys.version.split()[0]
        raise DevError(f"the pinned torch has no wheel for Python {found}; start dev.py with 3.10 to {newest}.")
    if host.root.exists():
        say(f"deleting the {'old' if host.stamp.exists() else 'half-built'} host {host.root}")
        wipe(host.root)
    say(f"building the development host in {host.root} (once; about 3 minutes and 7 GB)")
    free = shutil.disk_usage(host.root.parent).free / 2**30
    if free < NEEDED_GIB:
        say(f"only {free:.1f} GiB are free there and the build needs about {NEEDED_GIB}; it may fail.")
    for other in sorted(host.root.parent.glob("host-*/complete.json")):
        say(f"{other.parent} belongs to other pins or another Python; delete it if no checkout needs it")
    host.root.mkdir()
    _make_venv(host, lock_fd)
    _build_tree(host, DEFAULT, lock_fd)
    _install(host, lock_fd)
    versions = {"python": sys.version.split()[0], "torch": pinned_version("torch")}
    host.stamp.write_text(json.dumps(versions) + "\n", encoding="utf-8")


def _run(host: Host, title: str, command: Command, lock_fd: int) -> None:
    run_logged(title, command, host.log, build_env(), host.root, lock_fd)


def _pip(host: Host, *arguments: str | Path) -> Command:
    return [host.python, "-m", "pip", *arguments]


def _make_venv(host: Host, lock_fd: int) -> None:
    try:
        _run(host, "making a virtual environment", [sys.executable, "-m", "venv", host.venv], lock_fd)
    except DevError as error:
        raise DevError(f"{error}\nOn Debian and Ubuntu `apt install python3-venv` adds what venv needs.") from error
    # The pip that comes with Python may be years old; all further steps use the pinned one.
    install = _pip(host, "install", "--no-cache-dir", "-c", CONSTRAINTS, "pip")
    _run(host, f"installing pip {pinned_version('pip')}", install, lock_fd)


def _build_tree(host: Host, version: str, lock_fd: int) -> None:
    build_tree(host.tree(version), lambda title, arguments: _run(host, title, _pip(host, *arguments), lock_fd))


def _install(host: Host, lock_fd: int) -> None:
    lists = ("-r", host.comfyui / "requirements.txt", "-r", REQUIREMENTS)
    command = _pip(host, "install", "--no-cache-dir", "-c", CONSTRAINTS, *lists)
    _run(host, f"installing torch {pinned_version('torch')}, ComfyUI's requirements and the tools", command, lock_fd)
