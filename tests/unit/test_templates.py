"""The template workflows as files: what ComfyUI's front end and the Registry expect of them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from comfy_cli.layout_quality import score_workflow
from comfy_cli.link_integrity import broken_link_findings
from swd_dev.templates.catalogue import all_templates
from swd_pack.swd_core.presets import preset_of_lora

PACK = Path(__file__).resolve().parents[2]
PROJECT = tomlkit.parse((PACK / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted((PACK / "workflows").glob("*.json"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.fixture
def title(request: pytest.FixtureRequest, workflow: dict[str, Any]) -> str:
    return request.node.callspec.params["workflow"].stem


def shared_area(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two boxes x, y, width, height."""
    sides = (
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis]) for axis in (0, 1)
    )
    return math.prod(max(0.0, side) for side in sides)


def test_the_files_are_what_the_table_says() -> None:
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
    assert written == all_templates()


@pytest.mark.parametrize("name", ["example_workflows", "example", "examples", "workflow"])
def test_no_other_folder_takes_the_place_of_the_templates(name: str) -> None:
    """ComfyUI serves the first folder of such a name: no template in `workflows` could be opened any more."""
    assert not (PACK / name).exists()


def test_every_node_says_where_it_comes_from(workflow: dict[str, Any]) -> None:
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        properties = node["properties"]
        assert properties["Node name for S&R"] == node["type"]
        if "SWD" in node["type"]:
            assert (properties["cnr_id"], properties["ver"]) == (PROJECT["name"], PROJECT["version"])
        else:
            assert properties["cnr_id"] == "comfy-core"


def test_every_model_file_has_a_link_and_stands_in_the_note(workflow: dict[str, Any], title: str) -> None:
    (note,) = (node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    links = [(node, link) for node in workflow["nodes"] for link in node["properties"].get("models", [])]
    assert any(link["directory"] == "loras" for _, link in links) != ("train a LoRA" in title)
    for node, link in links:
        assert link["name"] in node["widgets_values"]
        # The front end compares bare names: a folder in one would hide the download button.
        assert not set(link["name"]) & set("/\\")
        folder, published = link["url"].rsplit("/", 1)
        assert folder.startswith("https://huggingface.co/")
        assert folder.endswith("/resolve/main") or link["directory"] in ("vae", "controlnet")
        assert published == ("adapter_model.safetensors" if link["directory"] == "loras" else link["name"])
        assert f"[{link['name']}]({link['url']})" in note
        assert f"  {link['directory']}/{link['name']}\n" in note


@pytest.mark.parametrize("workflow", [path for path in FILES if "train a LoRA" not in path.stem], indirect=True)
def test_the_loras_live_side_by_side_and_tell_auto_their_preset(workflow: dict[str, Any], title: str) -> None:
    links = [link for node in workflow["nodes"] for link in node["properties"].get("models", [])]
    ((name, url),) = ((link["name"], link["url"]) for link in links if link["directory"] == "loras")
    repository = url.removeprefix("https://huggingface.co/yresearch/").split("/")[0]
    assert name == f"{repository}.safetensors"
    preset = preset_of_lora(name)
    assert preset is not None
    assert title.removesuffix(".app").endswith(preset.name)
    (note,) = (node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    config_url = url.replace("adapter_model.safetensors", "adapter_config.json")
    assert f"[{repository}.adapter_config.json]({config_url})" in note


def test_another_lora_brings_its_own_schedule(workflow: dict[str, Any], title: str) -> None:
    presets = [node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "SWDScaleSchedule"]
    # A comparison has as many steps in both rows, and a teacher has no LoRA that tells which.
    fixed = [title.split(" - ")[1]] if "compare" in title or "train" in title else []
    assert presets == [*fixed, *["auto"] * (len(presets) - len(fixed))]


def test_the_settings_are_those_the_loras_were_trained_for(workflow: dict[str, Any], title: str) -> None:
    values = {node["type"]: node["widgets_values"] for node in workflow["nodes"]}
    _, control, cfg, denoise, upscale_method = values["SWDSampler"]
    seed = "fixed" if "compare" in title else "randomize"
    assert (control, cfg, upscale_method) == (seed, 1.0, "bicubic")
    starts_from_a_picture = "VAEEncode" in values and "SetLatentNoiseMask" not in values
    assert denoise < 1 if starts_from_a_picture else denoise == 1.0
    assert values.get("SWDLoraLoader", [None, 1.0])[1] == 1.0
    if "UNETLoader" in values:
        assert values["FluxGuidance"] == [4.5]


def test_the_steps_are_numbered_frames_that_hold_whole_nodes(workflow: dict[str, Any], title: str) -> None:
    titles = [group["title"] for group in workflow["groups"]]
    assert sorted(title.split(" - ")[0] for title in titles) == [f"Step {n + 1}" for n in range(len(titles))]
    assert "Step 1 - Load models" in titles
    frames = [group["bounding"] for group in workflow["groups"]]
    for one, other in itertools.combinations(frames, 2):
        assert shared_area(one, other) == 0
    loose = []
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        area = width * (height + 30)
        held = [shared_area((x, y - 30, width, height + 30), frame) for frame in frames]
        assert all(shared in (0, area) for shared in held), node["type"]
        loose += [] if any(held) else [node["type"]]
    pictures = loose.count("SWDSampler")
    assert pictures == (2 if "compare" in title else 1)
    assert sorted(loose) == sorted(["MarkdownNote", *["SWDSampler", "SaveImage", "VAEDecode"] * pictures])


def test_there_is_one_app_with_the_inputs_that_matter() -> None:
    apps = {path: json.loads(path.read_text(encoding="utf-8")) for path in FILES if path.stem.endswith(".app")}
    ((path, workflow),) = apps.items()
    graph = json.loads((path.parent / path.name.replace(".app.", ".")).read_text(encoding="utf-8"))
    assert {**workflow, "id": "", "extra": {}} == {**graph, "id": ""}, "the same graph, opened as a form"
    assert workflow["extra"]["linearMode"] is True
    kinds = {node["id"]: node["type"] for node in workflow["nodes"]}
    data = workflow["extra"]["linearData"]
    assert [(kinds[node], widget) for node, widget, *_ in data["inputs"]] == [
        ("CLIPTextEncode", "text"),
        ("EmptySD3LatentImage", "width"),
        ("EmptySD3LatentImage", "height"),
        ("SWDSampler", "seed"),
    ]
    assert [kinds[node] for node in data["outputs"]] == ["SaveImage"]


def test_the_text_to_image_templates_show_their_schedule(workflow: dict[str, Any], title: str) -> None:
    assert ("SWDSchedulePlot" in {node["type"] for node in workflow["nodes"]}) == (
        "text to image" in title or "compare" in title
    )


def test_the_comparison_quotes_the_line_that_the_log_has() -> None:
    (path,) = (path for path in FILES if "compare" in path.stem)
    (quoted,) = re.findall(r"`(SwD: .*? in total)`", path.read_text(encoding="utf-8"))
    source = (PACK / "swd_core" / "host" / "report.py").read_text(encoding="utf-8")
    assert re.search(re.escape(quoted).replace(re.escape("..."), ".*"), source)


def test_the_notes_keep_the_colours_of_the_theme(workflow: dict[str, Any]) -> None:
    # A fixed dark background makes the links of the light theme unreadable.
    (note,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    assert not {"color", "bgcolor"} & set(note)


def test_the_notes_hold_no_commands(workflow: dict[str, Any]) -> None:
    # The Registry's scanner takes a command line in a note for one that the pack runs.
    (note,) = (node["widgets_values"][0] for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    assert not re.search(r"\b(hf|pip|curl|wget|git|python|cd|mv|sh)\s", note)


def test_the_links_are_whole_and_run_from_left_to_right(workflow: dict[str, Any]) -> None:
    assert workflow["version"] == 0.4
    assert broken_link_findings(workflow) == ([], [])
    score = score_workflow(workflow)
    assert (score.overlap_area, score.crossings, score.backward_edges) == (0, 0, 0)
