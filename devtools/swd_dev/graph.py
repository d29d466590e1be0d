"""Workflows in the UI format of ComfyUI's front end, version 0.4."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PACK = {"cnr_id": "swd", "ver": "0.1.0"}
CORE = {"cnr_id": "comfy-core", "ver": "0.30.0"}
Slot = tuple[int, int]

# Of a group: what LiteGraph draws above a node, the group's own title, and the space around.
NODE_TITLE, GROUP_TITLE, PADDING = 30, 50, 20
COLOURS = {
    "SWDLoraLoader": ("#332922", "#593930"),
    "CLIPTextEncode": ("#232", "#353"),
}


@dataclass(frozen=True)
class File:
    """A model file: its name in `models/<directory>`, its address, and its size in words."""

    name: str
    directory: str
    url: str
    size: str

    @property
    def link(self) -> dict[str, str]:
        return {"name": self.name, "url": self.url, "directory": self.directory}


@dataclass
class Graph:
    """A workflow under construction."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        kind: str,
        at: tuple[int, int],
        size: tuple[int, int],
        outputs: Sequence[tuple[str, str]] = (),
        inputs: Sequence[tuple[str, str, Slot | None]] = (),
        widgets: Sequence[Any] = (),
        title: str | None = None,
        models: Sequence[File] = (),
    ) -> int:
        """Add a node and return its id. `inputs`: name, type, (node id, output slot) of the link, or None."""
        node_id = len(self.nodes) + 1
        node: dict[str, Any] = {
            "id": node_id, "type": kind, "pos": list(at), "size": list(size), "flags": {}, "order": node_id - 1,
            "mode": 0,
            "inputs": [self._link(node_id, slot, *spec) for slot, spec in enumerate(inputs)],
            "outputs": [{"name": name, "type": type_, "links": []} for name, type_ in outputs],
            "properties": self._properties(kind, models),
            "widgets_values": list(widgets),
        }  # fmt: skip
        if title:
            node["title"] = title
        if kind in COLOURS:
            node["color"], node["bgcolor"] = COLOURS[kind]
        self.nodes.append(node)
        return node_id

    def group(self, title: str, members: Sequence[int], room: int = 0) -> None:
        """Draw a titled frame around nodes, with room below for what the lowest of them shows later."""
        frames = [(*self.nodes[node - 1]["pos"], *self.nodes[node - 1]["size"]) for node in members]
        left, top = min(x for x, *_ in frames) - PADDING, min(y for _, y, *_ in frames) - NODE_TITLE - GROUP_TITLE
        right = max(x + width for x, _, width, _ in frames) + PADDING
        bottom = max(y + height for _, y, _, height in frames) + PADDING + room
        self.groups.append(
            {"id": len(self.groups) + 1, "title": title, "bounding": [left, top, right - left, bottom - top],
             "color": "#3f789e", "font_size": 24, "flags": {}}
        )  # fmt: skip

    def only(self, kind: str) -> int:
        """The id of the one node of a type."""
        (node_id,) = (node["id"] for node in self.nodes if node["type"] == kind)
        return int(node_id)

    def _link(self, node_id: int, slot: int, name: str, type_: str, source: Slot | None) -> dict[str, Any]:
        if source is None:
            return {"name": name, "type": type_, "link": None}
        link_id = len(self.links) + 1
        self.links.append([link_id, *source, node_id, slot, type_])
        self.nodes[source[0] - 1]["outputs"][source[1]]["links"].append(link_id)
        return {"name": name, "type": type_, "link": link_id}

    @staticmethod
    def _properties(kind: str, models: Sequence[File]) -> dict[str, Any]:
        if kind == "MarkdownNote":
            return {}
        properties: dict[str, Any] = {"Node name for S&R": kind, **(PACK if "SWD" in kind else CORE)}
        if models:
            properties["models"] = [file.link for file in models]
        return properties

    def document(self, title: str) -> dict[str, Any]:
        """The workflow as it is saved; its id follows from the title, so that writing it again changes nothing."""
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, title)), "revision": 0,
            "last_node_id": len(self.nodes), "last_link_id": len(self.links),
            "nodes": self.nodes, "links": self.links, "groups": self.groups, "config": {}, "extra": self.extra,
            "version": 0.4,
        }  # fmt: skip
