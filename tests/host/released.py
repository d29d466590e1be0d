"""Workflows that users of a released version have: tests/fixtures/workflows/<version>/<title>.json.

Each is a file as the front end of that day saved it, with <title>.prompt.json beside it: what it sent to the server.
A release adds its folder once, by `python dev.py test --only pytest tests/browser/test_released.py --update-released`.
What stands in a folder is never changed or removed: somebody has it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "workflows"
# The templates that a release keeps a copy of.
TEMPLATES = (
    "SwD text to image - SD3.5 Medium, 6 steps",
    "SwD text to image - FLUX.1-dev, 4 steps",
    "SwD train a LoRA - SD3.5 Medium, 4 steps",
)
EVERY_NODE = "every node for sampling"
PROMPT = ".prompt.json"


def released() -> list[Path]:
    """The workflow files of all versions."""
    return sorted(path for path in FOLDER.glob("*/*.json") if not path.name.endswith(PROMPT))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A workflow, and the prompt that it was."""
    prompt = path.with_name(f"{path.stem}{PROMPT}")
    return json.loads(path.read_text(encoding="utf-8")), json.loads(prompt.read_text(encoding="utf-8"))


def ours(prompt: dict[str, Any]) -> dict[str, Any]:
    """The nodes of the pack in a prompt, by id, without what the front end says of them."""
    return {
        node_id: (node["class_type"], node["inputs"]) for node_id, node in prompt.items() if "SWD" in node["class_type"]
    }


def every_node() -> dict[str, Any]:
    """A prompt in which each sampling node does something, with other values than the defaults."""

    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    return {
        "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "2": node("CLIPLoader", clip_name="clip_l.safetensors", type="stable_diffusion", device="default"),
        "3": node("CLIPTextEncode", clip=["2", 0], text="a fox in the snow"),
        "4": node(
            "SWDLoraLoader", model=["1", 0], lora_name="swd_flux/adapter_model.safetensors", strength_model=0.9
        ),
        "5": node("SWDScaleSchedule", model=["4", 0], preset="FLUX.1-dev, 4 steps (paper)"),
        "6": node("SWDCustomSchedule", model=["4", 0], scales="48, 64", timesteps="0.8, 0.5"),
        "7": node("EmptySD3LatentImage", width=96, height=64, batch_size=1),
        "8": node("SamplerSWD", schedule=["5", 0], upscale_method="bislerp"),
        "9": node("RandomNoise", noise_seed=7),
        "10": node("BasicGuider", model=["4", 0], conditioning=["3", 0]),
        "11": node(
            "SamplerCustomAdvanced", noise=["9", 0], guider=["10", 0], sampler=["8", 0], sigmas=["5", 1],
            latent_image=["7", 0],
        ),
        "12": node("SWDLatentUpscale", samples=["11", 0], upscale_method="area", scale_by=1.5),
        "13": node(
            "SWDSampler", model=["4", 0], positive=["3", 0], negative=["3", 0], latent_image=["12", 0],
            schedule=["6", 0], seed=8, cfg=1.5, denoise=0.8, upscale_method="bilinear",
        ),
        "14": node("SaveLatent", samples=["13", 0], filename_prefix="latents/released"),
        "15": node("SWDSchedulePlot", schedule=["5", 0], width=832, height=1216),
        "16": node(
            "SWDLoraSave", lora_name="swd_flux/adapter_model.safetensors", filename_prefix="loras/released"
        ),
        # Nothing asks for its output, so that no graph is compiled where this runs.
        "17": node("SWDCompile", model=["4", 0], cuda_graphs=True),
    }  # fmt: skip
