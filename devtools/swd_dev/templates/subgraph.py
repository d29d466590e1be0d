"""Subgraph blueprints: a graph inside one node, whose sockets and widgets lead to those of the nodes inside."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from swd_dev.graph import PACK, Graph, Slot

INSIDE, OUTSIDE = -10, -20


@dataclass(frozen=True)
class Port:
    """An input of the blueprint, named after the input of the node inside that it leads to."""

    node: int
    name: str
    type: str
    is_widget: bool = False
    label: str | None = None

    @property
    def height(self) -> int:
        """What it takes on the canvas; the one text is the prompt, which has several lines."""
        if not self.is_widget:
            return 20
        return 74 if self.type == "STRING" else 34

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, **({"label": self.label} if self.label else {})}


@dataclass(frozen=True)
class Blueprint:
    """A blueprint: what it is called and found by, its graph, its inputs, and the slot inside that is its output."""

    title: str
    description: str
    aliases: Sequence[str]
    graph: Graph
    inputs: Sequence[Port]
    output: tuple[str, str, Slot]

    def document(self) -> dict[str, Any]:
        """The file that ComfyUI reads from `subgraphs/`: one node, and the definition of what is in it."""
        identity = uuid.uuid5(uuid.NAMESPACE_URL, self.title)
        name, kind, _ = self.output
        node = {
            "id": len(self.graph.nodes) + 1, "type": str(identity), "pos": [0, 0],
            "size": [460, 20 + sum(port.height for port in self.inputs)], "flags": {}, "order": 0, "mode": 0,
            "inputs": [
                {**port.described(), **({"widget": {"name": port.name}} if port.is_widget else {}), "link": None}
                for port in self.inputs
            ],
            "outputs": [{"name": name, "type": kind, "links": []}],
            "title": self.title, "properties": {"proxyWidgets": self._widgets(), **PACK}, "widgets_values": [],
        }  # fmt: skip
        return {
            "id": str(uuid.uuid5(identity, "file")), "revision": 0,
            "last_node_id": node["id"], "last_link_id": 0, "nodes": [node], "links": [], "version": 0.4,
            "definitions": {"subgraphs": [self._definition(identity)]},
            "extra": {"BlueprintDescription": self.description, "BlueprintSearchAliases": list(self.aliases)},
        }  # fmt: skip

    def _widgets(self) -> list[list[str]]:
        """The same widgets for a front end older than linked widgets, and what happens to the seed after a run."""
        widgets = [[str(port.node), port.name] for port in self.inputs if port.is_widget]
        return widgets + [[node, "control_after_generate"] for node, name in widgets if name == "seed"]

    def _definition(self, identity: uuid.UUID) -> dict[str, Any]:
        nodes = deepcopy(self.graph.nodes)
        links = [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
            for link in self.graph.links
        ]
        left = min(node["pos"][0] for node in nodes) - 260
        right = max(node["pos"][0] + node["size"][0] for node in nodes) + 140
        inputs = []
        for number, port in enumerate(self.inputs):
            link = _connect(port, number, nodes[port.node - 1], len(links) + 1)
            links.append(link)
            inputs.append(
                {"id": str(uuid.uuid5(identity, f"input {number}")), **port.described(), "linkIds": [link["id"]],
                 "pos": [left + 100, 20 + 20 * number]}
            )  # fmt: skip
        name, kind, (origin, slot) = self.output
        links.append(
            {"id": len(links) + 1, "origin_id": origin, "origin_slot": slot, "target_id": OUTSIDE, "target_slot": 0,
             "type": kind}
        )  # fmt: skip
        nodes[origin - 1]["outputs"][slot]["links"].append(len(links))
        output = {"id": str(uuid.uuid5(identity, "output")), "name": name, "type": kind, "linkIds": [len(links)],
                  "pos": [right + 20, 20]}  # fmt: skip
        return {
            "id": str(identity), "version": 1, "revision": 0, "name": self.title, "config": {},
            "category": "SwD", "description": self.description,
            "state": {
                "lastGroupId": len(self.graph.groups), "lastNodeId": len(nodes), "lastLinkId": len(links),
                "lastRerouteId": 0,
            },
            "inputNode": {"id": INSIDE, "bounding": [left, 0, 120, 40 + 20 * len(inputs)]},
            "outputNode": {"id": OUTSIDE, "bounding": [right, 0, 120, 60]},
            "inputs": inputs, "outputs": [output], "widgets": [], "nodes": nodes,
            "groups": self.graph.groups, "links": links, "extra": {},
        }  # fmt: skip


def _connect(port: Port, number: int, node: dict[str, Any], link_id: int) -> dict[str, Any]:
    """Link the blueprint's input of that number to a node inside; the link, as it stands in the file."""
    if port.is_widget:
        node["inputs"].append({"name": port.name, "type": port.type, "widget": {"name": port.name}, "link": None})
    slot = [entry["name"] for entry in node["inputs"]].index(port.name)
    node["inputs"][slot]["link"] = link_id
    return {
        "id": link_id, "origin_id": INSIDE, "origin_slot": number, "target_id": port.node, "target_slot": slot,
        "type": port.type,
    }  # fmt: skip
