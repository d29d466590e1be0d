"""The workflow and issue files of the public forge, as far as they can be checked without it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from swd_dev.versions import VERSIONS

FORGE = Path(__file__).resolve().parents[2] / ".github"
FOLDER = FORGE / "workflows"
ISSUES = FORGE / "ISSUE_TEMPLATE"
WORKFLOWS = "vendor.github-workflows"
FORMS = "vendor.github-issue-forms"
FILES = {
    **dict.fromkeys(sorted(FOLDER.glob("*.yml")), WORKFLOWS),
    **dict.fromkeys(sorted(ISSUES.glob("*.yml")), FORMS),
    ISSUES / "config.yml": "vendor.github-issue-config",
}


def check(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    """Check a file against a schema that check-jsonschema carries; needs no network."""
    options = ["--builtin-schema", schema, str(path)]
    command = [sys.executable, "-m", "check_jsonschema", *options]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize(("path", "schema"), FILES.items(), ids=lambda value: getattr(value, "name", ""))
def test_the_file_is_valid(path: Path, schema: str) -> None:
    done = check(path, schema)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "schema", "old", "new"),
    [
        (FOLDER / "tests.yml", WORKFLOWS, "runs-on:", "run-on:"),
        (FOLDER / "publish.yml", WORKFLOWS, "needs: ready", "need: ready"),
        (ISSUES / "bug_report.yml", FORMS, "type: textarea", "type: text"),
        (ISSUES / "config.yml", FILES[ISSUES / "config.yml"], "about:", "text:"),
    ],
)
def test_a_mistyped_key_would_be_noticed(tmp_path: Path, path: Path, schema: str, old: str, new: str) -> None:
    broken = tmp_path / path.name
    broken.write_text(path.read_text(encoding="utf-8").replace(old, new))
    assert check(broken, schema).returncode == 1


def test_a_bug_report_asks_for_what_a_bug_needs() -> None:
    form = yaml.safe_load((ISSUES / "bug_report.yml").read_text(encoding="utf-8"))
    required = {field["id"] for field in form["body"] if field.get("validations", {}).get("required")}
    assert required == {"what", "error", "model", "lora", "preset", "comfyui", "workflow"}


def test_the_weekly_run_takes_every_version_of_the_host() -> None:
    text = (FOLDER / "tests.yml").read_text(encoding="utf-8")
    lists = [json.loads(found) for found in re.findall(r"'(\[.*?\])'", text)]
    assert max(lists, key=len) == list(VERSIONS)


def test_the_audit_reads_the_list_of_all_packages() -> None:
    """Strict, as a package that cannot be looked up would else count as sound."""
    jobs = yaml.safe_load((FOLDER / "tests.yml").read_text(encoding="utf-8"))["jobs"]
    command = jobs["audit"]["steps"][-1]["run"]
    assert "--strict" in command
    assert (FORGE.parent / command.split("--requirement ")[1]).is_file()
    assert command in (FORGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
