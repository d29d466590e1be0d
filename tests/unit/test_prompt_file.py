"""The example client's changes to a workflow in the API format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prompt_file import ClientError, Prompt, load, set_seed, set_text, set_value


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


@pytest.fixture
def prompt() -> Prompt:
    """A sampler of ComfyUI's custom kind: text by way of a guider, seed in a node of its own."""
    return {
        "1": node("CLIPTextEncode", "Prompt", text="old", clip=["9", 0]),
        "2": node("FluxGuidance", guidance=4.5, conditioning=["1", 0]),
        "3": node("BasicGuider", model=["9", 0], conditioning=["2", 0]),
        "4": node("RandomNoise", noise_seed=0),
        "5": node("SamplerCustomAdvanced", guider=["3", 0], noise=["4", 0]),
        "6": node("CLIPTextEncode", "Other", text="other", clip=["9", 0]),
        "7": node("SaveImage", filename_prefix="7", images=["5", 0], preview=False),
    }


def test_the_text_is_found_by_way_of_the_guider(prompt: Prompt) -> None:
    set_text(prompt, "new")
    assert [prompt[key]["inputs"]["text"] for key in ("1", "6")] == ["new", "other"]


def test_a_text_that_comes_from_another_node_is_not_ours_to_set(prompt: Prompt) -> None:
    prompt["1"]["inputs"]["text"] = ["8", 0]
    with pytest.raises(ClientError, match="no text leads to a sampler"):
        set_text(prompt, "new")


def test_every_seed_is_set_but_one_that_comes_from_another_node(prompt: Prompt) -> None:
    prompt["8"] = node("KSampler", seed=["4", 0], steps=4)
    set_seed(prompt, 7)
    assert (prompt["4"]["inputs"]["noise_seed"], prompt["8"]["inputs"]["seed"]) == (7, ["4", 0])
    with pytest.raises(ClientError, match="no node has a seed"):
        set_seed({"1": prompt["1"], "8": prompt["8"]}, 7)


@pytest.mark.parametrize(
    ("change", "key", "name", "value"),
    [
        ("2.guidance=3.5", "2", "guidance", 3.5),
        ("RandomNoise.noise_seed=12", "4", "noise_seed", 12),
        ("Prompt.text=a = b. c", "1", "text", "a = b. c"),
        ("SaveImage.filename_prefix=12", "7", "filename_prefix", "12"),
        ("7.preview=true", "7", "preview", True),
        ("Prompt.text=", "1", "text", ""),
    ],
)
def test_a_value_is_set_and_keeps_its_kind(prompt: Prompt, change: str, key: str, name: str, value: Any) -> None:
    set_value(prompt, change)
    assert prompt[key]["inputs"][name] == value
    assert type(prompt[key]["inputs"][name]) is type(value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("CLIPTextEncode.text=a", r"2 nodes are called 'CLIPTextEncode'; give the id of one of these: 1 "),
        ("1.clip=a", "1 has no value 'clip'; it has text."),
        ("4.noise_seed=[1]", "a number, true or false is wanted here"),
        ("4.noise_seed", "write it as NODE.INPUT=VALUE"),
        ("noise_seed=4", "write it as NODE.INPUT=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_change_is_told(prompt: Prompt, change: str, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        set_value(prompt, change)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"nodes": [], "links": []}', '{"1": {"class_type": "A"}}', "\x00"]
)
def test_what_is_no_prompt_is_told(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(content)
    with pytest.raises(ClientError, match="not a workflow in the API format"):
        load(file)


def test_a_prompt_is_read(tmp_path: Path, prompt: Prompt) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(prompt))
    assert load(file) == prompt
