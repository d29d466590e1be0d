"""The publish workflow: its order, its pins, and its shell steps, which are run here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PACK = Path(__file__).resolve().parents[2]
FILE = PACK / ".github" / "workflows" / "publish.yml"
WORKFLOW: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]
PROJECT = (PACK / "pyproject.toml").read_text(encoding="utf-8")
PLACEHOLDERS = ("OWNER/REPO", 'PublisherId = ""', 'Icon = ""')
FILLED = """version = "0.1.0"
Repository = "https://github.com/someone/swd"
PublisherId = "someone"
Icon = "https://someone.example/icon.png"
"""
DATED = """# Changelog

## 0.2.0

- Later.

## 0.1.0 (2026-12-01)

- First: $HOME `x`.

## 0.0.9 (2026-11-01)

- Old.
"""


def step(job: str, name: str) -> str:
    (script,) = (entry["run"] for entry in JOBS[job]["steps"] if entry.get("name") == name)
    return script


def run(script: str, folder: Path, project: str = FILLED) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a step as the forge's runner does; returns what it wrote to the two files of the forge too."""
    (folder / "pyproject.toml").write_text(project)
    (folder / "step.sh").write_text(script)
    said = folder / "said"
    said.write_text("")
    env = {"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(said), "GITHUB_ENV": str(said)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", check=False)
    return done, said.read_text()


def test_nothing_is_published_before_every_version_is_tested() -> None:
    assert JOBS["publish"]["needs"] == "tests"
    assert JOBS["tests"]["needs"] == "ready"
    assert JOBS["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert JOBS["tests"]["with"] == {"every_version": True}
    assert JOBS["tests"]["if"] == "needs.ready.outputs.dated == 'true'"


def test_the_rights_are_the_least() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [job for job in JOBS.values() if "permissions" in job]
    places = [name for name, job in JOBS.items() if "secrets." in yaml.safe_dump(job)]
    assert places == ["publish"]
    assert FILE.read_text(encoding="utf-8").count("secrets.") == 1


def test_it_runs_where_the_version_changes() -> None:
    # YAML reads the key `on` as true.
    assert WORKFLOW[True] == {"push": {"branches": ["main"], "paths": ["pyproject.toml"]}, "workflow_dispatch": None}


def test_every_action_is_pinned_to_a_commit() -> None:
    uses = [entry["uses"] for job in JOBS.values() for entry in job.get("steps", ()) if "uses" in entry]
    assert any(name.startswith("Comfy-Org/publish-node-action@") for name in uses)
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in uses)


@pytest.mark.parametrize(
    ("changelog", "dated"),
    [
        (DATED, "true"),
        (DATED.replace(" (2026-12-01)", ""), "false"),
        (DATED.replace("0.1.0", "0.1.00"), "false"),
        (DATED.replace("0.1.0", "0x1.0"), "false"),
    ],
)
def test_only_a_version_with_a_date_is_published(tmp_path: Path, changelog: str, dated: str) -> None:
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    done, said = run(step("ready", "Look for the date of this version"), tmp_path)
    assert (done.returncode, said) == (0, f"dated={dated}\n")
    assert ("Version 0.1.0 has no date yet" in done.stdout) == (dated == "false")


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_of_the_owner_is_refused(tmp_path: Path, placeholder: str) -> None:
    script = step("ready", "Refuse what the owner has not filled in")
    done, _ = run(script, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    name = placeholder.split(" ")[0]
    project = re.sub(rf"{name} = .*", placeholder, FILLED.replace("someone/swd", placeholder))
    done, _ = run(script, tmp_path, project)
    assert done.returncode == 1
    assert placeholder in done.stdout
    assert "CONTRIBUTING.md" in done.stdout


def test_our_own_placeholders_are_seen(tmp_path: Path) -> None:
    done, _ = run(step("ready", "Refuse what the owner has not filled in"), tmp_path, PROJECT)
    assert [word for word in PLACEHOLDERS if word in done.stdout] == [word for word in PLACEHOLDERS if word in PROJECT]


def test_the_placeholders_are_named_where_the_owner_looks() -> None:
    text = (PACK / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Before the first release", 1)[1].split("\n## ", 1)[0]
    for word in ("OWNER/REPO", "PublisherId", "Icon", "REGISTRY_ACCESS_TOKEN"):
        assert word in section


def test_the_registry_gets_this_versions_part_of_the_changelog(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(DATED)
    done, said = run(step("publish", "Take this version's part of the changelog"), tmp_path)
    assert done.returncode == 0
    assert said == "COMFY_NODE_CHANGELOG<<END_OF_CHANGELOG\n\n- First: $HOME `x`.\n\nEND_OF_CHANGELOG\n"


def test_the_tools_of_the_action_are_pinned(tmp_path: Path) -> None:
    done, said = run(step("publish", "Give the tools their pinned versions"), tmp_path)
    assert done.returncode == 0
    name, path = said.strip().split("=", 1)
    assert name == "PIP_CONSTRAINT"
    constraints = PACK / Path(path).relative_to(tmp_path)
    assert re.search(r"(?m)^comfy-cli==\d", constraints.read_text(encoding="utf-8"))
