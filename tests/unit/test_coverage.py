"""`dev.py test` measures the coverage of what ships, in a whole run and in no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import swd_dev.testing
from swd_dev.testing import COVERAGE_FLOOR, coverage_options, process_count, process_options

PACK = Path(__file__).resolve().parents[2]
SOURCE = """
def sign(x):
    if x > 0:
        return 1
    return -1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Another pack with the settings of this one, and a test that reaches 3 of 5 lines and 1 of 2 branches."""
    (tmp_path / "nodes").mkdir()
    (tmp_path / "swd_core").mkdir()
    (tmp_path / "nodes" / "sign.py").write_text(SOURCE)
    (tmp_path / "swd_core" / "never.py").write_text("x = 1\n")
    (tmp_path / "test_sign.py").write_text("from nodes.sign import sign\n\ndef test():\n    assert sign(1) == 1\n")
    (tmp_path / "pyproject.toml").write_text((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    return tmp_path


def run(project: Path, options: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sign.py", *options]
    # The data of the run that this test is part of stay where they are.
    env = {**os.environ, "COVERAGE_FILE": str(project / "data")}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("arguments", [["-k", "parity"], ["tests/unit"], ["-q"]])
def test_a_part_of_the_tests_is_not_measured_and_runs_in_one_process(arguments: list[str]) -> None:
    assert coverage_options(arguments) == []
    assert process_options(arguments) == []


@pytest.mark.parametrize(("cores", "memory", "count"), [(2, 24, 2), (4, 16, 2), (16, 64, 4), (8, 4, 1), (1, 64, 1)])
def test_no_more_processes_than_the_memory_holds(cores: int, memory: int, count: int) -> None:
    """A public forge lends four cores and 16 GB."""
    assert process_count(cores, memory * 1024**3) == count


def test_the_memory_of_this_machine_is_known() -> None:
    count = process_count(os.cpu_count() or 1, psutil.virtual_memory().total)
    assert f"--numprocesses={count}" in process_options([])


def test_the_tests_of_a_file_stay_in_one_process(request: pytest.FixtureRequest) -> None:
    """By the mark that the distribution of a whole run goes by."""
    assert {"--dist=loadgroup", "--max-worker-restart=0"} <= set(process_options([]))
    assert request.node.get_closest_marker("xdist_group").kwargs == {"name": "test_coverage"}


def test_a_whole_run_fails_below_the_floor_and_names_what_is_not_reached(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(swd_dev.testing, "REPO", project)
    done = run(project, coverage_options([]))
    assert done.returncode != 0
    assert f"Required test coverage of {COVERAGE_FLOOR}% not reached. Total coverage: 57.14%" in done.stdout
    assert "1 passed" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("nodes", "swd_core"))]
    assert {row[0]: row[-1] for row in rows} == {"nodes/sign.py": "5", "swd_core/never.py": "1"}


def test_a_whole_run_passes_above_it(project: Path, monkeypatch) -> None:
    monkeypatch.setattr(swd_dev.testing, "REPO", project)
    both = "\n\nimport swd_core.never\n\ndef test_both():\n    assert sign(-1) == -1\n"
    with (project / "test_sign.py").open("a") as file:
        file.write(both)
    done = run(project, coverage_options([]))
    assert done.returncode == 0, done.stdout
    assert "Total coverage: 100.00%" in done.stdout
