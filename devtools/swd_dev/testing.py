"""The checks of `dev.py test`: ruff, mypy on the pack, the tools and the example client, pytest."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .host import Host
from .paths import DEVTOOLS, EXAMPLE_CLIENT, REPO, cache_root, venv_program
from .process import run_child
from .progress import say

CHECKS = ("ruff", "types", "pytest")
PACK_NAME = "swd_pack"
PACK_PARTS = ("__init__.py", "nodes", "swd_core")
BROWSER_TESTS = REPO / "tests" / "browser"
COVERAGE_FILE = REPO / "test-output" / "coverage"
# Per cent of the lines and branches of `nodes` and `swd_core`, a little below what the whole run reaches.
COVERAGE_FLOOR = 95
# Measured: a process of the tests takes up to 4 GB on ComfyUI 0.30, and its servers 3.
MEMORY_OF_A_PROCESS = 7 * 1024**3
MOST_PROCESSES = 4


def run_checks(checks: Sequence[str], host: Host, env: Mapping[str, str], pytest_arguments: Sequence[str]) -> int:
    """Run the named checks in turn, print how each ended, and return the highest exit code."""
    results: list[tuple[str, int, float]] = []
    for name in checks:
        say(f"--- {name}")
        start = time.monotonic()
        code = _run_check(name, host, env, pytest_arguments)
        results.append((name, code, time.monotonic() - start))
    say("---")
    for name, code, seconds in results:
        say(f"{name:8}{'passed' if code == 0 else f'failed with exit code {code}'}  {seconds:.1f} s")
    return max(code for _, code, _ in results)


def _run_check(name: str, host: Host, env: Mapping[str, str], pytest_arguments: Sequence[str]) -> int:
    if name == "ruff":
        return run_child([venv_program(host.venv, "ruff"), "check", REPO], env, REPO)
    if name == "types":
        examples = [word for file in sorted(EXAMPLE_CLIENT.glob("*.py")) for word in ("-m", file.stem)]
        return max(
            _types_of_pack(host, env),
            _mypy(host, env, ["-p", "swd_dev"], DEVTOOLS),
            _mypy(host, env, examples, EXAMPLE_CLIENT),
        )
    # The program and not `python -m pytest`, which puts the current folder on sys.path: `nodes/` would hide
    # ComfyUI's module of that name. PYTHONSAFEPATH does the same for what the tests start.
    chosen = [] if any(_is_test_path(argument) for argument in pytest_arguments) else ["tests"]
    whole = [*process_options(pytest_arguments), *coverage_options(pytest_arguments)]
    command: list[str | Path] = [venv_program(host.venv, "pytest"), *chosen, *whole]
    COVERAGE_FILE.parent.mkdir(exist_ok=True)
    # Threads that wait for each other make tiny models ten times slower on a busy machine.
    env = {"OMP_NUM_THREADS": "1", **env, "PYTHONSAFEPATH": "1", "COVERAGE_FILE": str(COVERAGE_FILE)}
    return run_child([*command, *pytest_arguments], env, REPO)


def coverage_options(pytest_arguments: Sequence[str]) -> list[str]:
    """Measure what ships where all tests run: whatever the arguments choose reaches a part of it only."""
    if pytest_arguments:
        return []
    settings = f"--cov-config={REPO / 'pyproject.toml'}"
    return ["--cov", settings, "--cov-report=term", f"--cov-fail-under={COVERAGE_FLOOR}"]


def process_options(pytest_arguments: Sequence[str]) -> list[str]:
    """All tests share the cores and the memory between processes, each with a ComfyUI and servers of its own.

    One that dies, as when memory runs out, ends the run with the name of its test: with another in its place
    pytest-xdist waits for ever at the end.
    """
    if pytest_arguments:
        return []
    count = process_count(os.cpu_count() or 1, _memory())
    return [f"--numprocesses={count}", "--dist=loadgroup", "--max-worker-restart=0"]


def process_count(cores: int, memory: int) -> int:
    """How many processes run the tests on a machine with so many cores and so many bytes of memory."""
    return max(1, min(cores, MOST_PROCESSES, memory // MEMORY_OF_A_PROCESS))


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        # Windows does not say so in Python; what runs there has as much as most computers that make images.
        return 2 * MEMORY_OF_A_PROCESS


def wants_browser(pytest_arguments: Sequence[str]) -> bool:
    """Whether the tests that these arguments choose hold some of tests/browser: those of no path are all tests."""
    chosen = [_test_path(argument) for argument in pytest_arguments if _is_test_path(argument)]
    return not chosen or any(
        path.is_relative_to(BROWSER_TESTS) or BROWSER_TESTS.is_relative_to(path) for path in chosen
    )


def _test_path(argument: str) -> Path:
    return (REPO / argument.split("::")[0]).resolve()


def _is_test_path(argument: str) -> bool:
    return not argument.startswith("-") and _test_path(argument).exists()


def _types_of_pack(host: Host, env: Mapping[str, str]) -> int:
    """Check a copy under a package name: the pack imports relative to its root, and a checkout may have any name."""
    with tempfile.TemporaryDirectory(prefix="swd-types-") as folder:
        package = Path(folder) / PACK_NAME
        package.mkdir()
        for part in PACK_PARTS:
            source = REPO / part
            if source.is_dir():
                shutil.copytree(source, package / part, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.is_file():
                shutil.copy2(source, package / part)
        return _mypy(host, env, ["-p", PACK_NAME], Path(folder))


def _mypy(host: Host, env: Mapping[str, str], modules: Sequence[str], folder: Path) -> int:
    """Run mypy on packages or modules inside `folder`; the pack's own paths are printed as those of the checkout."""
    options: list[str | Path] = ["--config-file", REPO / "pyproject.toml", "--cache-dir", cache_root() / "mypy"]
    command: list[str | Path] = [host.python, "-m", "mypy", *options, *modules]
    done = subprocess.run(command, env=dict(env), cwd=folder, capture_output=True, encoding="utf-8", check=False)
    say((done.stdout + done.stderr).replace(f"{PACK_NAME}/", "").replace("swd_dev/", "devtools/swd_dev/").rstrip())
    return done.returncode
