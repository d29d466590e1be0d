"""The blueprints on a live ComfyUI: listed, and the same picture as the template that they stand for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from comfy_cli.workflow_to_api import convert_ui_to_api
from PIL import Image
from swd_dev.client import ComfyClient
from swd_dev.graph import Graph
from swd_dev.prompts import load_template

PACK = Path(__file__).resolve().parents[2]
TEMPLATE = PACK / "workflows/SwD text to image - SD3.5 Medium, 6 steps.json"
SEED = 41


@pytest.fixture(scope="module")
def blueprints(client: ComfyClient) -> dict[str, dict[str, Any]]:
    """The documents of our blueprints as the server hands them out, by name."""
    listed = json.loads(client.request("/api/global_subgraphs"))
    ours = {key: entry for key, entry in listed.items() if entry["info"]["node_pack"] == "custom_nodes.swd"}
    entries = {entry["name"]: json.loads(client.request(f"/api/global_subgraphs/{key}")) for key, entry in ours.items()}
    return {name: json.loads(entry["data"]) for name, entry in entries.items()}


def picture_of(client: ComfyClient, prompt: dict[str, Any]) -> bytes:
    """Run a prompt at 256 x 192 pixels with one seed; the pixels of the picture."""
    for entry in prompt.values():
        if entry["class_type"] == "EmptySD3LatentImage":
            entry["inputs"].update(width=256, height=192)
        if entry["class_type"] == "SWDSampler":
            entry["inputs"]["seed"] = SEED
    result = client.run(prompt)
    assert result.status == "success", result.error
    ((_, content),) = client.images(result.prompt_id)
    return Image.open(io.BytesIO(content)).convert("RGB").tobytes()


@pytest.fixture(scope="module")
def expected(client: ComfyClient, object_info: dict[str, Any]) -> bytes:
    return picture_of(client, load_template(TEMPLATE, object_info))


def placed(blueprint: dict[str, Any], graph: Graph, node: int) -> dict[str, Any]:
    """A workflow in which a node of the graph is the blueprint's."""
    graph.nodes[node - 1]["type"] = blueprint["nodes"][0]["type"]
    return {**graph.document("test"), "definitions": blueprint["definitions"]}


def save(graph: Graph, image: tuple[int, int]) -> None:
    graph.add("SaveImage", (900, 0), (300, 300), inputs=[("images", "IMAGE", image)], widgets=["SwD"])


def test_the_server_lists_the_blueprints(blueprints: dict[str, dict[str, Any]]) -> None:
    files = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (PACK / "subgraphs").glob("*.json")}
    assert blueprints == files
    assert len(files) >= 2


def test_text_to_image_makes_the_picture_of_the_template(client, object_info, blueprints, expected: bytes) -> None:
    graph = Graph()
    node = graph.add("", (0, 0), (400, 300), [("IMAGE", "IMAGE")])
    save(graph, (node, 0))
    workflow = placed(blueprints["SwD Text to Image (SD3.5)"], graph, node)
    assert picture_of(client, convert_ui_to_api(workflow, object_info)) == expected


def test_sampling_makes_the_picture_of_the_template(client, object_info, blueprints, expected: bytes) -> None:
    """Loader, prompt and latent of the template; the blueprint takes the place of LoRA, schedule and sampler."""
    template = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    values = {node["type"]: node["widgets_values"] for node in template["nodes"]}
    graph = Graph()
    loader = graph.add(
        "CheckpointLoaderSimple", (0, 0), (300, 100), [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
        widgets=values["CheckpointLoaderSimple"],
    )  # fmt: skip
    padding = graph.add(
        "T5TokenizerOptions", (0, 0), (300, 100), [("CLIP", "CLIP")], [("clip", "CLIP", (loader, 1))],
        values["T5TokenizerOptions"],
    )  # fmt: skip
    text = graph.add(
        "CLIPTextEncode", (0, 0), (300, 100), [("CONDITIONING", "CONDITIONING")], [("clip", "CLIP", (padding, 0))],
        values["CLIPTextEncode"],
    )  # fmt: skip
    size = graph.add("EmptySD3LatentImage", (0, 0), (300, 100), [("LATENT", "LATENT")], widgets=[256, 192, 1])
    sampling = graph.add(
        "", (400, 0), (300, 300), [("LATENT", "LATENT")],
        [("model", "MODEL", (loader, 0)), ("positive", "CONDITIONING", (text, 0)),
         ("latent_image", "LATENT", (size, 0))],
    )  # fmt: skip
    decode = graph.add(
        "VAEDecode", (700, 0), (200, 50), [("IMAGE", "IMAGE")],
        [("samples", "LATENT", (sampling, 0)), ("vae", "VAE", (loader, 2))],
    )  # fmt: skip
    save(graph, (decode, 0))
    workflow = placed(blueprints["SwD Sampling"], graph, sampling)
    assert picture_of(client, convert_ui_to_api(workflow, object_info)) == expected
