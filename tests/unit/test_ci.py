"""The workflow files of the public forge, as far as they can be checked without it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from swd_dev.versions import VERSIONS

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))


def check(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a file against the schema that check-jsonschema carries; needs no network."""
    options = ["--builtin-schema", "vendor.github-workflows", str(path)]
    command = [sys.executable, "-m", "check_jsonschema", *options]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_workflow_is_valid(path: Path) -> None:
    done = check(path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistyped_key_would_be_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "tests.yml"
    broken.write_text((FOLDER / "tests.yml").read_text(encoding="utf-8").replace("runs-on:", "run-on:"))
    assert check(broken).returncode == 1


def test_the_weekly_run_takes_every_version_of_the_host() -> None:
    text = (FOLDER / "tests.yml").read_text(encoding="utf-8")
    lists = [json.loads(found) for found in re.findall(r"'(\[.*?\])'", text)]
    assert max(lists, key=len) == list(VERSIONS)
