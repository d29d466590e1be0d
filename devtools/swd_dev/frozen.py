"""The frozen node table: what saved workflows rely on, one file for each version that changed it, and the changelog.

`tests/frozen/<version>.json` holds the nodes as /object_info gave them. A version whose heading in CHANGELOG.md carries
a date, `## 0.1.0 (2026-12-01)`, is released: its file stays as it is.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DevError

# What an input's options may hold that a saved value depends on; the rest (tooltip, multiline) is only shown.
FROZEN_OPTIONS = ("default", "min", "max", "step", "round", "control_after_generate", "options")
HEADING = re.compile(r"^## (\d+\.\d+\.\d+)(?: \((\d{4}-\d{2}-\d{2})\))?$", re.MULTILINE)

Node = dict[str, Any]
Nodes = dict[str, Node]


@dataclass(frozen=True)
class Release:
    """A section of the changelog. `date` is empty until the version is out; an entry is one list item."""

    version: str
    date: str
    entries: tuple[str, ...]

    def names(self, *words: str) -> bool:
        """Whether one entry holds each of the words."""
        patterns = [re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])") for word in words]
        return any(all(pattern.search(entry) for pattern in patterns) for entry in self.entries)


@dataclass(frozen=True)
class Change:
    """A difference of one node: the input, output or property that differs, or "" for a node added or removed."""

    node_id: str
    title: str
    part: str
    text: str

    def is_named_in(self, release: Release) -> bool:
        """Whether an entry names the node, by title or id, and the part."""
        part = (self.part,) if self.part else ()
        return any(release.names(name, *part) for name in (self.title, self.node_id))


def frozen_nodes(object_info: dict[str, Any], folders: dict[str, list[str]]) -> Nodes:
    """Return the pack's part of /object_info, reduced to what workflows rely on.

    `folders`: file names by folder of models. A list of options that equals one of them is stored as the folder's name.
    """
    mine = {key: info for key, info in object_info.items() if info["python_module"] == "custom_nodes.swd"}
    return {key: _node(info, folders) for key, info in sorted(mine.items())}


def _node(info: dict[str, Any], folders: dict[str, list[str]]) -> Node:
    return {
        "title": info["display_name"],
        "category": info["category"],
        "output_node": info["output_node"],
        "inputs": {
            name: _input(kind, options, group == "optional", folders)
            for group in ("required", "optional")
            for name, (kind, options) in info["input"].get(group, {}).items()
        },
        "outputs": dict(zip(info["output_name"], info["output"], strict=True)),
    }


def _input(kind: str, options: dict[str, Any], optional: bool, folders: dict[str, list[str]]) -> dict[str, Any]:
    kept = {name: options[name] for name in FROZEN_OPTIONS if name in options}
    for folder, names in folders.items():
        if kept.get("options") == names:
            kept["options"] = f"models/{folder}"
    return {"type": kind, "optional": optional, **kept}


def changes(old: Nodes, new: Nodes) -> list[Change]:
    """Return every difference between two tables."""
    found: list[Change] = []
    for node_id in sorted(old.keys() | new.keys()):
        before, after = old.get(node_id), new.get(node_id)
        if before is None or after is None:
            title = (before or after or {})["title"]
            found.append(Change(node_id, title, "", "removed" if after is None else "added"))
        else:
            found += (Change(node_id, after["title"], part, text) for part, text in _differences(before, after))
    return found


def _differences(before: Node, after: Node) -> Iterator[tuple[str, str]]:
    for name in ("title", "category", "output_node"):
        if before[name] != after[name]:
            yield name.replace("_", " "), f"{before[name]!r} became {after[name]!r}"
    for group in ("inputs", "outputs"):
        old, new = before[group], after[group]
        for name in [*old, *(name for name in new if name not in old)]:
            if old.get(name) != new.get(name):
                yield name, f"{_words(old.get(name))} became {_words(new.get(name))}"
        if list(old) != list(new) and sorted(old) == sorted(new):
            yield group, f"the order {', '.join(old)} became {', '.join(new)}"


def _words(entry: Any) -> str:
    return "nothing" if entry is None else json.dumps(entry, ensure_ascii=False)


def releases(changelog: str) -> list[Release]:
    """Return the sections of a changelog, the newest version first as they stand there."""
    parts = HEADING.split(changelog)[1:]
    return [Release(version, date or "", _entries(text)) for version, date, text in _triples(parts)]


def _triples(parts: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return zip(parts[::3], parts[1::3], parts[2::3], strict=True)


def _entries(text: str) -> tuple[str, ...]:
    items = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    return tuple(" ".join(item.split()) for item in items)


def version_key(version: str) -> tuple[int, ...]:
    """Sort key of a version X.Y.Z."""
    return tuple(map(int, version.split(".")))


def read_tables(folder: Path) -> dict[str, Nodes]:
    """Return the table of each version, from the oldest to the newest."""
    files = sorted(folder.glob("*.json"), key=lambda file: version_key(file.stem))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def write_table(folder: Path, nodes: Nodes, changelog: str) -> Path | None:
    """Write the table under the changelog's newest version; None if nothing changed since the last table.

    Raises DevError if that version is released.
    """
    newest = releases(changelog)[0]
    tables = read_tables(folder)
    last = next(reversed(tables), None)
    # Compared as text: the order of the inputs counts.
    if last and json.dumps(tables[last]) == json.dumps(nodes):
        return None
    if newest.date:
        raise DevError(
            f"{newest.version} was released on {newest.date} and its node table is closed; begin a section for the "
            "next version in CHANGELOG.md, name the change there, and write the table again."
        )
    file = folder / f"{newest.version}.json"
    file.write_text(json.dumps(nodes, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return file
