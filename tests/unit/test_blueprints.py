"""The blueprints as files: one node each, whose inputs lead to those of the nodes inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from comfy_cli.layout_quality import score
from swd_dev.templates.blueprints import all_blueprints

PACK = Path(__file__).resolve().parents[2]
PROJECT = tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted((PACK / "subgraphs").glob("*.json"))
INSIDE, OUTSIDE = -10, -20

# Inputs of each blueprint in their order; the sockets without a widget come first.
INPUTS = {
    "SwD Sampling": (
        ["model", "positive", "latent_image"],
        ["lora_name", "preset", "seed", "denoise"],
    ),
    "SwD Text to Image (SD3.5)": ([], ["text", "width", "height", "seed", "ckpt_name", "lora_name", "preset"]),
}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def title(request: pytest.FixtureRequest) -> str:
    return request.param.stem


@pytest.fixture
def document(title: str) -> dict[str, Any]:
    return json.loads((PACK / "subgraphs" / f"{title}.json").read_text(encoding="utf-8"))


@pytest.fixture
def definition(document: dict[str, Any]) -> dict[str, Any]:
    (definition,) = document["definitions"]["subgraphs"]
    return definition


def test_the_files_are_what_the_table_says() -> None:
    assert {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES} == all_blueprints()
    assert sorted(INPUTS) == [path.stem for path in FILES]


def test_a_blueprint_is_one_node_that_can_be_found(document, definition, title: str) -> None:
    (node,) = document["nodes"]
    assert node["type"] == definition["id"]
    assert node["title"] == definition["name"] == title
    assert (document["links"], document["version"]) == ([], 0.4)
    assert definition["category"] == "SwD"
    assert document["extra"]["BlueprintDescription"] == definition["description"]
    assert {"SwD", "scale-wise", "few step"} <= set(document["extra"]["BlueprintSearchAliases"])


def test_every_node_inside_says_where_it_comes_from(document, definition) -> None:
    for node in (*document["nodes"], *definition["nodes"]):
        ours = node["type"] == definition["id"] or "SWD" in node["type"]
        expected = (PROJECT["name"], PROJECT["version"]) if ours else ("comfy-core", "0.30.0")
        assert (node["properties"]["cnr_id"], node["properties"]["ver"]) == expected
        for link in node["properties"].get("models", []):
            assert link["name"] in node["widgets_values"]
    kinds = [node["type"] for node in definition["nodes"]]
    assert "SWDLoraLoader" in kinds
    assert "MarkdownNote" not in kinds


def test_the_promoted_inputs_lead_inside(document, definition, title: str) -> None:
    (node,) = document["nodes"]
    sockets, widgets = INPUTS[title]
    assert [entry["name"] for entry in node["inputs"] if "widget" not in entry] == sockets
    assert [entry["name"] for entry in node["inputs"] if "widget" in entry] == widgets
    assert [entry["name"] for entry in definition["inputs"]] == [*sockets, *widgets]
    links = {link["id"]: link for link in definition["links"]}
    nodes = {inner["id"]: inner for inner in definition["nodes"]}
    for number, (port, outer) in enumerate(zip(definition["inputs"], node["inputs"], strict=True)):
        (link,) = (links[link] for link in port["linkIds"])
        assert (link["origin_id"], link["origin_slot"]) == (INSIDE, number)
        target = nodes[link["target_id"]]["inputs"][link["target_slot"]]
        assert target["name"] == port["name"] == outer["name"]
        assert target["type"] == port["type"] == outer["type"] == link["type"]
        assert target.get("widget") == outer.get("widget")
    # Older front ends find the widgets here.
    proxies = [[str(inner), name] for inner, name in node["properties"]["proxyWidgets"]]
    assert [name for _, name in proxies] == [*widgets, "control_after_generate"]


def test_the_links_are_whole(document, definition) -> None:
    nodes = {inner["id"]: inner for inner in definition["nodes"]}
    assert sorted(nodes) == list(range(1, definition["state"]["lastNodeId"] + 1))
    assert [link["id"] for link in definition["links"]] == list(range(1, definition["state"]["lastLinkId"] + 1))
    for link in definition["links"]:
        if link["origin_id"] != INSIDE:
            output = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]
            assert link["id"] in output["links"]
            assert output["type"] == link["type"]
        if link["target_id"] != OUTSIDE:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == link["id"]
    (output,) = definition["outputs"]
    assert [link["id"] for link in definition["links"] if link["target_id"] == OUTSIDE] == output["linkIds"]
    assert output["type"] == document["nodes"][0]["outputs"][0]["type"]
    linked = [entry for inner in nodes.values() for entry in inner["inputs"]]
    assert all(entry["link"] for entry in linked)


def test_the_nodes_inside_run_from_left_to_right(definition) -> None:
    nodes = {inner["id"]: inner for inner in definition["nodes"]}
    result = score(nodes, [(link["origin_id"], link["target_id"]) for link in definition["links"]])
    assert (result.overlap_area, result.crossings, result.backward_edges) == (0, 0, 0)
