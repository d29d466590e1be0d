"""The frozen node tables and the changelog: what a version changed is named in its section."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from swd_dev.errors import DevError
from swd_dev.frozen import HEADING, Release, changes, read_tables, releases, version_key, write_table

PACK = Path(__file__).resolve().parents[2]
CHANGELOG = (PACK / "CHANGELOG.md").read_text(encoding="utf-8")
TABLES = read_tables(PACK / "tests" / "frozen")
OPEN, OUT = "# Changelog\n\n## 0.2.0\n\n- A.\n", "# Changelog\n\n## 0.1.0 (2026-12-01)\n\n- A.\n"


@pytest.fixture
def nodes() -> dict[str, Any]:
    return copy.deepcopy(next(iter(TABLES.values())))


def test_the_headings_are_versions_the_newest_first() -> None:
    assert re.findall(r"^## .*$", CHANGELOG, re.MULTILINE) == [found[0] for found in HEADING.finditer(CHANGELOG)]
    found = releases(CHANGELOG)
    versions = [release.version for release in found]
    assert versions == sorted(set(versions), key=version_key, reverse=True)
    assert all(release.date for release in found[1:]), "only the newest version may be in the making"
    project = tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] in versions
    assert set(TABLES) <= set(versions)


def test_the_changelog_names_what_each_version_changed() -> None:
    sections = {release.version: release for release in releases(CHANGELOG)}
    before: dict[str, Any] = {}
    for version, table in TABLES.items():
        missing = [change for change in changes(before, table) if not change.is_named_in(sections[version])]
        listed = "\n".join(f"  {change.title} ({change.node_id}) {change.part}: {change.text}" for change in missing)
        assert not missing, f"one entry under {version} in CHANGELOG.md must name the node and what changed:\n{listed}"
        before = table


EDITS: dict[str, tuple[str, str]] = {
    "an option goes": ("preset", "inputs.preset.options.0"),
    "an input goes": ("preset", "inputs.preset"),
    "an output goes": ("sigmas", "outputs.sigmas"),
}
VALUES: dict[str, tuple[str, str, Any]] = {
    "another type": ("model", "inputs.model.type", "CLIP"),
    "another default": ("preset", "inputs.preset.default", "SDXL, 4 steps"),
    "an input may be left out": ("model", "inputs.model.optional", True),
    "a new input": ("shift", "inputs.shift", {"type": "FLOAT", "optional": True}),
    "another title": ("title", "title", "SwD Published Schedule"),
    "another category": ("category", "category", "sampling"),
    "an output node": ("output node", "output_node", True),
}


def edit(nodes: dict[str, Any], path: str, value: Any = None) -> None:
    """Set what `path` leads to in the schedule node, or delete it."""
    *way, last = path.split(".")
    place = nodes["SWDScaleSchedule"]
    for step in way:
        place = place[step]
    if value is not None:
        place[last] = value
    else:
        del place[int(last) if last.isdigit() else last]


@pytest.mark.parametrize(("part", "path", "value"), [(*e, None) for e in EDITS.values()] + [*VALUES.values()])
def test_a_change_needs_an_entry_that_names_node_and_part(nodes, part: str, path: str, value: Any) -> None:
    old = copy.deepcopy(nodes)
    edit(nodes, path, value)
    (change,) = changes(old, nodes)
    assert (change.node_id, change.part) == ("SWDScaleSchedule", part)
    title = change.title
    for entry, named in (
        (f"{title}: `{part}` is new.", True),
        (f"SWDScaleSchedule, {part}.", True),
        (f"{title} is better.", False),
        (f"SwD Custom Schedule: {part}.", False),
        (f"{title}: {part}s.", False),
    ):
        assert change.is_named_in(Release("0.2.0", "", (entry,))) == named, entry
    assert not change.is_named_in(Release("0.2.0", "", (title, part))), "one entry must hold both"


def test_a_new_order_of_inputs_is_a_change(nodes) -> None:
    """`widgets_values` of a saved workflow are positional."""
    old = copy.deepcopy(nodes)
    inputs = nodes["SWDSampler"]["inputs"]
    inputs["seed"] = inputs.pop("seed")
    (change,) = changes(old, nodes)
    assert (change.node_id, change.part) == ("SWDSampler", "inputs")


def test_a_node_that_comes_or_goes_is_a_change(nodes) -> None:
    old = copy.deepcopy(nodes)
    del nodes["SamplerSWD"]
    (gone,) = changes(old, nodes)
    (new,) = changes(nodes, old)
    assert (gone.title, gone.text, new.title, new.text) == ("Sampler SwD", "removed", "Sampler SwD", "added")
    assert gone.is_named_in(Release("0.2.0", "", ("Sampler SwD is gone.",)))
    assert not gone.is_named_in(Release("0.2.0", "", ("SwD Sampler is gone.",)))


def test_an_entry_may_run_over_several_lines() -> None:
    (release,) = releases("# Changelog\n\n## 0.1.0 (2026-12-01)\n\nFirst.\n\n- Nodes: SwD\n  Sampler.\n- More.\n")
    assert (release.version, release.date) == ("0.1.0", "2026-12-01")
    assert release.entries == ("Nodes: SwD Sampler.", "More.")


def test_the_table_of_a_released_version_is_closed(tmp_path: Path, nodes) -> None:
    (tmp_path / "0.1.0.json").write_text(json.dumps(nodes), encoding="utf-8")
    assert write_table(tmp_path, nodes, OUT) is None
    edit(nodes, *EDITS["an option goes"][1:])
    with pytest.raises(DevError, match=r"0\.1\.0 was released on 2026-12-01 and its node table is closed"):
        write_table(tmp_path, nodes, OUT)
    assert list(read_tables(tmp_path)) == ["0.1.0"]
    assert write_table(tmp_path, nodes, OPEN) == tmp_path / "0.2.0.json"
    assert read_tables(tmp_path)["0.2.0"] == nodes
    edit(nodes, *VALUES["another title"][1:])
    write_table(tmp_path, nodes, OPEN)
    assert list(read_tables(tmp_path)) == ["0.1.0", "0.2.0"]
    assert read_tables(tmp_path)["0.2.0"] == nodes


def test_a_new_order_alone_is_written(tmp_path: Path, nodes) -> None:
    write_table(tmp_path, nodes, OPEN)
    inputs = nodes["SWDSampler"]["inputs"]
    inputs["seed"] = inputs.pop("seed")
    assert write_table(tmp_path, nodes, OPEN) is not None
    assert list(read_tables(tmp_path)["0.2.0"]["SWDSampler"]["inputs"])[-1] == "seed"


def test_versions_are_sorted_as_numbers(tmp_path: Path) -> None:
    for version in ("0.10.0", "0.9.0", "0.2.0"):
        (tmp_path / f"{version}.json").write_text("{}", encoding="utf-8")
    assert list(read_tables(tmp_path)) == ["0.2.0", "0.9.0", "0.10.0"]
