"""A live ComfyUI server with the pack: every template makes a picture, and errors arrive as sentences."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from PIL import Image
from swd_dev.client import ComfyClient, Event
from swd_dev.errors import DevError
from swd_dev.prompts import load_template, set_seed, stand_in
from swd_dev.server import ComfyServer
from swd_pack.swd_core.presets import preset_of_lora

PACK = Path(__file__).resolve().parents[2]
# Templates that end in one picture with a published LoRA; the others have tests of their own below.
OTHERS = ("compare schedules", "train a LoRA")
TEMPLATES = sorted(
    path for path in (PACK / "workflows").glob("*.json") if not any(title in path.stem for title in OTHERS)
)
TRAIN = PACK / "workflows/SwD train a LoRA - SD3.5 Medium, 4 steps.json"
COMPARE = PACK / "workflows/SwD compare schedules - SD3.5 Medium, 6 steps.json"
TEXT_TO_IMAGE = PACK / "workflows/SwD text to image - SD3.5 Medium, 6 steps.json"

# alpha / rank of the tiny LoRAs, where it is not 20 / 8 or 10 / 4.
LORA_SCALES = {"swd_flux": 0.5}
# What a template turns the 256 x 192 pixels of the tests into, where it changes the size.
SIZES = {"upscale 2x": (512, 384)}


def small(path: Path, object_info: dict[str, Any]) -> dict[str, Any]:
    """A template as a prompt of 256 x 192 pixels, on the tiny models."""
    prompt = stand_in(load_template(path, object_info))
    for entry in prompt.values():
        if "Empty" in entry["class_type"] or entry["class_type"] == "ImageScale":
            entry["inputs"].update(width=256, height=192)
    set_seed(prompt, 1)
    return prompt


def node(prompt: dict[str, Any], class_type: str) -> dict[str, Any]:
    (inputs,) = (entry["inputs"] for entry in prompt.values() if entry["class_type"] == class_type)
    return inputs


def test_there_is_a_template_for_every_preset_in_use(object_info: dict[str, Any]) -> None:
    texts = [path for path in TEMPLATES if "text to image" in path.stem]
    prompts = [load_template(path, object_info) for path in texts]
    assert {node(prompt, "SWDScaleSchedule")["preset"] for prompt in prompts} == {"auto"}
    presets = {getattr(preset_of_lora(node(prompt, "SWDLoraLoader")["lora_name"]), "name", "") for prompt in prompts}
    options = object_info["SWDScaleSchedule"]["input"]["required"]["preset"][1]["options"]
    assert presets == {name for name in options if name != "auto" and "(" not in name}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_makes_a_picture(client: ComfyClient, object_info, path: Path) -> None:
    prompt = small(path, object_info)
    # A seed each: the app is the same prompt as its graph, and ComfyUI would not run it again.
    set_seed(prompt, TEMPLATES.index(path))
    texts: list[str] = []

    def note(event: Event) -> None:
        if event.kind == "text" and event.data["text"].startswith("step"):
            texts.append(event.data["text"])

    result = client.run(prompt, note, workflow=json.loads(path.read_text(encoding="utf-8")))
    assert result.status == "success", result.error
    width, height = next((size for title, size in SIZES.items() if title in path.stem), (256, 192))
    steps = int(path.stem.rsplit(", ", 1)[1].split()[0])
    if "denoise" in node(prompt, "SWDSampler") and node(prompt, "SWDSampler")["denoise"] < 1:
        steps = {0.8: 3, 0.61: 1}[node(prompt, "SWDSampler")["denoise"]]
    assert len(texts) == steps
    assert texts[-1] == f"step {steps} of {steps} at {width // 8} x {height // 8}"
    assert re.fullmatch(rf"{steps} steps?, \d+\.\d\d s", result.texts[-1]), "what the sampler's node shows afterwards"
    (name, content), *rest = client.images(result.prompt_id)
    assert not rest
    picture = Image.open(io.BytesIO(content))
    assert name.startswith("SwD")
    assert picture.size == (width, height)
    assert len(picture.convert("RGB").getcolors(width * height) or []) > 1000, "a picture, not one flat colour"
    assert json.loads(picture.text["workflow"])["nodes"], "the workflow travels in the file"
    outputs = client.history(result.prompt_id)["outputs"].values()
    (report,) = (text for output in outputs for text in output.get("text", []) if text.startswith("loaded"))
    assert "NOT loaded" not in report
    lora = Path(node(prompt, "SWDLoraLoader")["lora_name"])
    assert f"scale {LORA_SCALES.get(lora.stem, 2.5)} from " in report
    assert "adapter_config.json" in report


def test_the_same_prompt_gives_the_same_file_and_another_seed_another(client: ComfyClient, object_info) -> None:
    pictures = []
    for seed in (5, 6, 5):
        prompt = small(TEXT_TO_IMAGE, object_info)
        set_seed(prompt, seed)
        # ComfyUI keeps the results of the last prompt only, so the third run samples again.
        result = client.run(prompt)
        assert result.status == "success", result.error
        (_, content), *_ = client.images(result.prompt_id)
        pictures.append(Image.open(io.BytesIO(content)).convert("RGB").tobytes())
    assert pictures[0] == pictures[2] != pictures[1]


def test_the_published_folder_of_a_lora_gives_the_same_picture_as_the_renamed_files(
    client: ComfyClient, object_info
) -> None:
    pictures = []
    for name in ("swd-medium-6-steps.safetensors", "swd-medium-6-steps/adapter_model.safetensors"):
        prompt = small(TEXT_TO_IMAGE, object_info)
        node(prompt, "SWDLoraLoader")["lora_name"] = name
        node(prompt, "SWDScaleSchedule")["preset"] = "auto"
        result = client.run(prompt)
        assert result.status == "success", result.error
        assert sum(text.startswith("step") for text in result.texts) == 6
        (_, content), *_ = client.images(result.prompt_id)
        pictures.append(Image.open(io.BytesIO(content)).convert("RGB").tobytes())
    assert pictures[0] == pictures[1]


def test_what_a_run_has_to_remark_stands_in_the_node_of_the_sampler(client: ComfyClient, object_info) -> None:
    prompt = small(TEXT_TO_IMAGE, object_info)
    node(prompt, "SWDScaleSchedule")["preset"] = "SD3.5 Medium, 4 steps"
    result = client.run(prompt)
    assert result.status == "success", result.error
    seconds, remark = result.texts[-1].split("\n")
    assert re.fullmatch(r"4 steps, \d+\.\d\d s", seconds)
    assert remark.startswith("schedule: not that of the LoRA. It is SD3.5 Medium, 4 steps, but swd-medium-6-steps")


def test_a_wrong_schedule_reaches_the_user_as_one_sentence(client: ComfyClient, object_info) -> None:
    prompt = small(TEXT_TO_IMAGE, object_info)
    (schedule,) = (entry for entry in prompt.values() if entry["class_type"] == "SWDScaleSchedule")
    schedule["class_type"] = "SWDCustomSchedule"
    schedule["inputs"] = {"model": schedule["inputs"]["model"], "scales": "64, 48", "timesteps": "1.0, 0.5"}
    result = client.run(prompt)
    assert result.status == "error"
    assert "scales: they must not fall." in result.error
    assert client.run(small(TEXT_TO_IMAGE, object_info)).status == "success", "the next prompt works as before"


def test_the_schedule_plot_shows_in_its_node(client: ComfyClient, object_info) -> None:
    prompt = small(TEXT_TO_IMAGE, object_info)
    (schedule,) = (key for key, entry in prompt.items() if entry["class_type"] == "SWDScaleSchedule")
    inputs = {"schedule": [schedule, 0], "width": 832, "height": 1216}
    prompt["plot"] = {"class_type": "SWDSchedulePlot", "inputs": inputs}
    result = client.run(prompt)
    assert result.status == "success", result.error
    (image,) = client.history(result.prompt_id)["outputs"]["plot"]["images"]
    plot = Image.open(io.BytesIO(client.request("/view?" + urlencode(image))))
    assert plot.size == (960, 600)
    assert len(plot.convert("RGB").getcolors(960 * 600) or []) > 50


def test_an_unknown_lora_is_refused_before_anything_runs(client: ComfyClient, object_info) -> None:
    prompt = small(TEXT_TO_IMAGE, object_info)
    node(prompt, "SWDLoraLoader")["lora_name"] = "../secret.safetensors"
    with pytest.raises(DevError, match=r"lora_name: \.\./secret\.safetensors is not in models/loras\."):
        client.run(prompt)


def test_the_templates_are_served_to_the_template_browser(client: ComfyClient) -> None:
    listed = json.loads(client.request("/workflow_templates"))
    templates = sorted((PACK / "workflows").glob("*.json"))
    assert sorted(listed["swd"]) == sorted(path.stem for path in templates)
    for template in templates:
        for path in (template, template.with_name(f"{template.stem}.jpg")):
            assert client.request(f"/api/workflow_templates/swd/{quote(path.name)}") == path.read_bytes()


def test_the_training_template_ends_in_a_picture_with_its_lora(client: ComfyClient, object_info) -> None:
    prompt = small(TRAIN, object_info)
    node(prompt, "SWDTeacherDataset").update(width=128, height=96, steps=2, prompts="a red fox\na bowl of ramen")
    node(prompt, "SWDDistillLora").update(steps=3, batch_size=2, preview_every=1)
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert [text for text in result.texts if text.startswith("training step")][-1].startswith("training step 3 of 3")
    assert "picture 2 of 2" in result.texts
    assert sum(text.startswith("step ") for text in result.texts) == 4, "auto found the schedule of the new LoRA"
    outputs = client.history(result.prompt_id)["outputs"].values()
    (report,) = (text for output in outputs for text in output.get("text", []))
    assert "3 steps of 2 pictures" in report and "NOT loaded" not in report
    assert "my-swd-lora/adapter_model.safetensors" in json.loads(client.request("/models/loras"))
    pictures = [Image.open(io.BytesIO(content)).size for _, content in client.images(result.prompt_id)]
    assert pictures[-1] == (256, 192) or pictures[0] == (256, 192)


def test_a_dataset_or_lora_that_was_deleted_is_made_again_and_what_is_there_never_runs_twice(
    server: ComfyServer, client: ComfyClient, object_info
) -> None:
    prompt = small(TRAIN, object_info)
    for key in [key for key, entry in prompt.items() if entry["class_type"] in ("SaveImage", "PreviewAny")]:
        del prompt[key]
    node(prompt, "SWDTeacherDataset").update(
        width=128, height=96, steps=2, prompts="a red fox\na bowl of ramen", dataset_name="deleted"
    )
    node(prompt, "SWDDistillLora").update(
        steps=1, batch_size=2, lora_name="from deleted", mmd=True, dmd=False, gan=False
    )

    both = {"SWDTeacherDataset", "SWDDistillLora"}

    def executed() -> set[str]:
        ran: set[str] = set()

        def note(event: Event) -> None:
            # A greeting may name the last node of the run before, without the id of a run.
            if event.kind == "executing" and "prompt_id" in event.data and event.data["node"] in prompt:
                ran.add(prompt[event.data["node"]]["class_type"])

        result = client.run(prompt, note)
        assert result.status == "success", result.error
        return ran & both

    assert executed() == both
    assert executed() == set()
    folder = server.base_directory / "output/swd/datasets/deleted"
    next((folder / "stages").rglob("000001.safetensors")).unlink()
    assert executed() == both
    assert executed() == set()
    (server.base_directory / "output/loras/from deleted/adapter_model.safetensors").unlink()
    assert executed() == {"SWDDistillLora"}
    assert executed() == set()
    shutil.rmtree(folder)
    node(prompt, "SWDDistillLora")["steps"] = 2
    assert executed() == both
    node(prompt, "SWDDistillLora")["steps"] = 3
    assert executed() == {"SWDDistillLora"}


def test_the_comparison_makes_two_pictures_of_one_seed(client: ComfyClient, object_info) -> None:
    prompt = small(COMPARE, object_info)
    result = client.run(prompt)
    assert result.status == "success", result.error
    names = sorted(name for name, _ in client.images(result.prompt_id) if name.startswith("SwD-"))
    assert [name.split("_")[0] for name in names] == ["SwD-full-size", "SwD-scale-wise"]
    sizes = [text.split(" at ")[1] for text in result.texts if text.startswith("step ")]
    assert len(sizes) == 12 and sizes.count("32 x 24") == 7, "six at full size, and the last of the growing ones"
