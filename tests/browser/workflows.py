"""Questions to a workflow in the UI format, whether it is a file or what the front end holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Workflow = dict[str, Any]
Connection = tuple[str, str, str, str]

PACK = Path(__file__).resolve().parents[2]
# Files whose name ends in .app open as an app and not as a graph.
APPS = sorted((PACK / "workflows").glob("*.app.json"))
TEMPLATES = sorted(set((PACK / "workflows").glob("*.json")) - set(APPS))
BLUEPRINTS = sorted((PACK / "subgraphs").glob("*.json"))
MEDIUM = "SwD text to image - SD3.5 Medium, 6 steps"


def read(title: str) -> Workflow:
    """The template of this title, as a copy that may be changed."""
    workflow: Workflow = json.loads((PACK / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
    return workflow


def node(workflow: Workflow, kind: str) -> dict[str, Any]:
    """The only node of a type."""
    (found,) = (node for node in workflow["nodes"] if node["type"] == kind)
    return found


def connections(workflow: Workflow) -> set[Connection]:
    """Every link as (id of the giving node, its output, id of the taking node, its input), slots by name."""
    nodes = {str(node["id"]): node for node in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    found = set()
    for taker, node in nodes.items():
        for entry in node.get("inputs", ()):
            if entry.get("link") is not None:
                _, giver, slot, *_ = links[entry["link"]]
                found.add((str(giver), nodes[str(giver)]["outputs"][slot]["name"], taker, entry["name"]))
    return found


def unknown_slots(workflow: Workflow, object_info: dict[str, Any]) -> set[Connection]:
    """The links whose input or output is none of its node's class; nodes that the server does not know are left out."""
    kinds = {str(node["id"]): node["type"] for node in workflow["nodes"] if node["type"] in object_info}
    unknown = set()
    for giver, output, taker, name in connections(workflow):
        taking, giving = (object_info.get(kinds.get(node_id, ""), {}) for node_id in (taker, giver))
        inputs = {**taking.get("input", {}).get("required", {}), **taking.get("input", {}).get("optional", {})}
        if (taking and name not in inputs) or (giving and output not in giving["output_name"]):
            unknown.add((giver, output, taker, name))
    return unknown
