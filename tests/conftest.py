"""Paths of the development host, and the pack under a name of our own.

`dev.py test` sets COMFYUI_PATH (a ComfyUI source tree), SWD_SERVER_PYTHON (the interpreter that runs its server) and
SWD_TINY_MODELS (a models folder of tiny models). The repository root is never on sys.path: its `nodes` would hide
ComfyUI's.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run. `--hypothesis-profile explore` looks further, with new ones each time.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=150)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("explore", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile("repeatable")

PACK = Path(__file__).resolve().parents[1]


def _environment(name: str) -> Path:
    if name not in os.environ:
        pytest.exit(f"{name} is not set: run the tests with `python dev.py test`.", returncode=2)
    return Path(os.environ[name])


COMFYUI = _environment("COMFYUI_PATH")
TINY_MODELS = _environment("SWD_TINY_MODELS")

for folder in (PACK / "devtools", COMFYUI):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write tests/frozen and example_client/*.json anew, from the running ComfyUI"
    parser.addoption("--update-frozen", action="store_true", help=text)
    text = "write the pictures of the README to docs/ anew, from the browser"
    parser.addoption("--update-docs", action="store_true", help=text)
    text = "write tests/fixtures/workflows/<version> for a version that has none, from the browser"
    parser.addoption("--update-released", action="store_true", help=text)
    parser.addoption("--update-golden", action="store_true", help="write tests/fixtures/golden.safetensors anew")
    parser.addoption("--fuzz-seconds", type=float, default=10.0, help="how long LoRA files are mutated")


# The modules of the pack without its entry point, for tests that need no ComfyUI.
_package = types.ModuleType("swd_pack")
_package.__path__ = [str(PACK)]
sys.modules.setdefault("swd_pack", _package)


@pytest.fixture(scope="session")
def pack() -> Path:
    return PACK


@pytest.fixture(scope="session")
def tiny_models() -> Path:
    return TINY_MODELS


@pytest.fixture(scope="session")
def comfyui() -> Path:
    return COMFYUI


@pytest.fixture(scope="session")
def packed_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository of all that the working tree does not ignore, with the Registry's archive `node.zip` in it."""
    from swd_dev.pack import copy_of_tree, pack

    folder = copy_of_tree(PACK, tmp_path_factory.mktemp("pack") / "swd")
    pack(folder)
    return folder


@pytest.fixture(scope="session")
def archive(packed_tree: Path) -> Path:
    return packed_tree / "node.zip"


@pytest.fixture
def figure(record_property):
    """Keep a measured figure for the list at the end of the run."""

    def keep(name: str, value: float, bar: float | None = None) -> None:
        record_property("figure", f"{name}: {value:.3g}" + (f" (bar {bar:.3g})" if bar is not None else ""))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every measured figure, by test."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = [
        f"{report.nodeid}: {text}"
        for report in sorted(reports, key=lambda report: report.nodeid)
        if report.when == "call"
        for name, text in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(figures))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the tests, those of a file stay together, as they share models and servers, and so do
    those of the browser."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(name=folder if folder == "browser" else item.path.stem))
