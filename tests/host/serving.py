"""A ComfyUI server for tests of faults and load, and small prompts of every family for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from swd_dev.client import ComfyClient, Prompt
from swd_dev.server import ComfyServer

PACK = Path(__file__).resolve().parents[2]
FAULT_NODES = Path(__file__).resolve().parent / "fault_nodes"
# The cache of each prompt ends with it, so that equal prompts are computed again.
OPTIONS = ("--cache-classic",)

PRESETS = {
    "sd35_medium": ("auto", "SD3.5 Medium, 4 steps", "SD3.5 Medium, 4 steps (2025)"),
    "sd35_large": ("auto", "SD3.5 Large, 6 steps (2025)"),
    "flux": ("auto", "FLUX.1-dev, 4 steps (paper)"),
    "sdxl": ("auto", "SDXL, 4 steps"),
}
LORAS = {
    "sd35_medium": "swd-medium-6-steps",
    "sd35_large": "swd-large-4-steps",
    "flux": "swd_flux",
    "sdxl": "swd-sdxl",
}


@contextmanager
def serve(comfyui: Path, tiny_models: Path, base: Path, options: Sequence[str] = OPTIONS) -> Iterator[ComfyServer]:
    """A server on a base directory that outlives it, with the pack and the nodes of `fault_nodes`."""
    nodes = base / "custom_nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    if not (nodes / "swd_faults").exists():
        (nodes / "swd_faults").symlink_to(FAULT_NODES, target_is_directory=True)
    python = Path(os.environ["SWD_SERVER_PYTHON"])
    with ComfyServer(comfyui, python, PACK, tiny_models, base, options) as server:
        yield server


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def loaders() -> Prompt:
    """Models with their LoRAs, and the text: the same nodes in every prompt, so that they stay in the cache."""
    prompt = {
        "sd35_medium": node("CheckpointLoaderSimple", ckpt_name="sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors"),
        "sd35_large": node("CheckpointLoaderSimple", ckpt_name="sd3.5_large_fp8_scaled.safetensors"),
        "flux": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "sdxl": node("SWDTinyCheckpoint", ckpt_name="sd_xl_base_1.0.safetensors"),
        "clip_l": node("CLIPLoader", clip_name="clip_l.safetensors", type="stable_diffusion", device="default"),
    }
    for family, folder in LORAS.items():
        clip = ["clip_l", 0] if family == "flux" else [family, 1]
        prompt[f"text {family}"] = node("CLIPTextEncode", clip=clip, text="a fox")
        name = f"{folder}/adapter_model.safetensors"
        prompt[f"lora {family}"] = node("SWDLoraLoader", model=[family, 0], lora_name=name, strength_model=1.0)
    return prompt


def small_prompt(
    family: str,
    preset: str | tuple[str, str] = "auto",
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    prefix: str = "small",
    fault: tuple[str, int] | None = None,
    **sampler: Any,
) -> Prompt:
    """A prompt that saves the latent of a picture of `size` (width, height) pixels."""
    model = [f"lora {family}", 0]
    prompt = loaders()
    if fault:
        prompt["fault"] = node("SWDTestFault", model=model, kind=fault[0], width=fault[1])
        model = ["fault", 0]
    if isinstance(preset, str):
        prompt["schedule"] = node("SWDScaleSchedule", model=model, preset=preset)
    else:
        prompt["schedule"] = node("SWDCustomSchedule", model=model, scales=preset[0], timesteps=preset[1])
    empty = "EmptyLatentImage" if family == "sdxl" else "EmptySD3LatentImage"
    prompt["latent"] = node(empty, width=size[0], height=size[1], batch_size=1)
    inputs = {"seed": seed, "cfg": 1.0, "denoise": 1.0, "upscale_method": "bicubic", **sampler}
    prompt["sampler"] = node(
        "SWDSampler", model=model, positive=[f"text {family}", 0], latent_image=["latent", 0],
        schedule=["schedule", 0], **inputs,
    )  # fmt: skip
    prompt["save"] = node("SaveLatent", samples=["sampler", 0], filename_prefix=prefix)
    return prompt


def saved_latent(server: ComfyServer, record: dict[str, Any]) -> torch.Tensor:
    """The latent that a finished prompt left in the output folder."""
    (entry,) = record["outputs"]["save"]["latents"]
    file = server.base_directory / "output" / entry["subfolder"] / entry["filename"]
    return load_file(file)["latent_tensor"]


def run_latent(server: ComfyServer, client: ComfyClient, prompt: Prompt) -> torch.Tensor:
    """Run a prompt that must succeed and return its latent."""
    result = client.run(prompt)
    assert result.status == "success", result.error
    return saved_latent(server, client.history(result.prompt_id))
