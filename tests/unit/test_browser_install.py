"""Which browser the tests get: one on the PATH, else Debian's by apt, else Playwright's own, else a told failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from swd_dev.browser import NAMES, install_browser, installed_browser
from swd_dev.errors import DevError
from swd_dev.process import Command
from swd_dev.testing import wants_browser

PYTHON = Path("python")


class Machine:
    """Stands in for apt and for Playwright's download; what fails there raises, what works leaves a program."""

    def __init__(self, folder: Path, *, apt: bool, download: bool) -> None:
        self.programs = {"apt-get": folder / "bin" / "chromium", "python": folder / "browsers" / "chrome"}
        self.works = {"apt-get": apt, "python": download}
        self.commands: list[str] = []

    def run(self, title: str, command: Command) -> None:
        words = list(map(str, command))
        self.commands.append(" ".join(words))
        if not self.works[words[0]]:
            raise DevError(f"{title} failed")
        if "install" in words:
            make_program(self.programs[words[0]])

    def install(self, by_apt: bool) -> Path:
        return install_browser(self.run, PYTHON, lambda: self.programs["python"], by_apt)


def make_program(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Machine]:
    """A machine whose PATH has no browser."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert installed_browser() is None
    return lambda **works: Machine(tmp_path, **works)


@pytest.mark.parametrize("name", NAMES)
def test_a_browser_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make_program(tmp_path / "bin" / name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert installed_browser() == tmp_path / "bin" / name


def test_root_on_debian_installs_chromium_by_apt(machine: Callable[..., Machine]) -> None:
    debian = machine(apt=True, download=True)
    assert debian.install(by_apt=True) == debian.programs["apt-get"]
    assert [command.split()[:2] for command in debian.commands] == [["apt-get", "update"], ["apt-get", "install"]]


def test_elsewhere_playwright_downloads_its_own_once(machine: Callable[..., Machine]) -> None:
    other = machine(apt=True, download=True)
    for _ in range(2):
        assert other.install(by_apt=False) == other.programs["python"]
    assert other.commands == ["python -m playwright install --no-shell chromium"]


def test_where_apt_fails_playwright_is_tried(machine: Callable[..., Machine]) -> None:
    debian = machine(apt=False, download=True)
    assert debian.install(by_apt=True) == debian.programs["python"]


def test_where_nothing_works_the_failure_names_every_reason_and_what_to_do(machine: Callable[..., Machine]) -> None:
    with pytest.raises(DevError) as failure:
        machine(apt=False, download=False).install(by_apt=True)
    for words in ("package lists failed", "Playwright's Chromium failed", "install one", *NAMES):
        assert words in str(failure.value)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], True),
        (["-x", "-k", "parity"], True),
        (["tests"], True),
        (["tests/browser/test_run.py::test_x"], True),
        (["tests/unit", "tests/browser"], True),
        (["tests/unit", "-q"], False),
        (["tests/host/test_http.py"], False),
    ],
)
def test_only_a_run_that_holds_browser_tests_needs_one(arguments: list[str], wanted: bool) -> None:
    assert wants_browser(arguments) is wanted
