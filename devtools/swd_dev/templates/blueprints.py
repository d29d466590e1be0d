"""The blueprints: SwD as one node."""

from __future__ import annotations

from typing import Any

from swd_dev.graph import Graph
from swd_dev.templates.bases import MEDIUM_6
from swd_dev.templates.catalogue import BOAT
from swd_dev.templates.subgraph import Blueprint, Port

ALIASES = ("SwD", "scale-wise", "few step", "progressive", "yandex", "faster", "speed up")


def all_blueprints() -> dict[str, dict[str, Any]]:
    """Documents of the blueprints, by title."""
    return {blueprint.title: blueprint.document() for blueprint in (text_to_image(), sampling())}


def text_to_image() -> Blueprint:
    base = MEDIUM_6
    assert base.checkpoint
    graph = Graph()
    loader = graph.add(
        "CheckpointLoaderSimple", (0, 0), (380, 100), [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
        widgets=[base.checkpoint.name], models=[base.checkpoint],
    )  # fmt: skip
    lora = graph.add(
        "SWDLoraLoader", (440, 0), (380, 130), [("model", "MODEL"), ("report", "STRING")],
        [("model", "MODEL", (loader, 0))], [base.lora.name, 1.0], models=[base.lora],
    )  # fmt: skip
    padding = graph.add(
        "T5TokenizerOptions", (440, 250), (380, 110), [("CLIP", "CLIP")], [("clip", "CLIP", (loader, 1))], [0, 512],
        title="T5 padding as in training",
    )  # fmt: skip
    schedule = graph.add(
        "SWDScaleSchedule", (880, 0), (380, 110), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", (lora, 0))], ["auto"],
    )  # fmt: skip
    prompt = graph.add(
        "CLIPTextEncode", (880, 250), (380, 160), [("CONDITIONING", "CONDITIONING")], [("clip", "CLIP", (padding, 0))],
        [BOAT], title="Prompt",
    )  # fmt: skip
    size = graph.add(base.empty_latent, (880, 490), (380, 120), [("LATENT", "LATENT")], widgets=[1024, 1024, 1])
    sampler = graph.add(
        "SWDSampler", (1320, 0), (320, 260), [("latent", "LATENT")],
        [("model", "MODEL", (lora, 0)), ("positive", "CONDITIONING", (prompt, 0)),
         ("latent_image", "LATENT", (size, 0)), ("schedule", "SWD_SCHEDULE", (schedule, 0))],
        [0, "randomize", 1.0, 1.0, "bicubic"],
    )  # fmt: skip
    decode = graph.add(
        "VAEDecode", (1700, 0), (220, 50), [("IMAGE", "IMAGE")],
        [("samples", "LATENT", (sampler, 0)), ("vae", "VAE", (loader, 2))],
    )  # fmt: skip
    ports = (
        Port(prompt, "text", "STRING", True, "prompt"), Port(size, "width", "INT", True),
        Port(size, "height", "INT", True), Port(sampler, "seed", "INT", True),
        Port(loader, "ckpt_name", "COMBO", True), Port(lora, "lora_name", "COMBO", True),
        Port(schedule, "preset", "COMBO", True),
    )  # fmt: skip
    description = (
        "Makes a picture with an SD3.5 checkpoint that holds its text encoders, and with its SwD LoRA: few steps, on a "
        "latent that grows to the size you ask for."
    )
    return Blueprint(
        "SwD Text to Image (SD3.5)", description, (*ALIASES, "text to image", "SD3.5"), graph, ports,
        ("IMAGE", "IMAGE", (decode, 0)),
    )  # fmt: skip


def sampling() -> Blueprint:
    graph = Graph()
    lora = graph.add(
        "SWDLoraLoader", (0, 0), (380, 130), [("model", "MODEL"), ("report", "STRING")], [("model", "MODEL", None)],
        [MEDIUM_6.lora.name, 1.0], models=[MEDIUM_6.lora],
    )  # fmt: skip
    schedule = graph.add(
        "SWDScaleSchedule", (440, 0), (380, 110), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", (lora, 0))], ["auto"],
    )  # fmt: skip
    sampler = graph.add(
        "SWDSampler", (880, 0), (320, 260), [("latent", "LATENT")],
        [("model", "MODEL", (lora, 0)), ("positive", "CONDITIONING", None), ("latent_image", "LATENT", None),
         ("schedule", "SWD_SCHEDULE", (schedule, 0))],
        [0, "randomize", 1.0, 1.0, "bicubic"],
    )  # fmt: skip
    ports = (
        Port(lora, "model", "MODEL"), Port(sampler, "positive", "CONDITIONING"),
        Port(sampler, "latent_image", "LATENT"), Port(lora, "lora_name", "COMBO", True),
        Port(schedule, "preset", "COMBO", True), Port(sampler, "seed", "INT", True),
        Port(sampler, "denoise", "FLOAT", True),
    )  # fmt: skip
    description = (
        "Loads an SwD LoRA onto the model, takes the schedule that belongs to it, and samples. The latent has the size "
        "of the finished picture; cfg is 1.0."
    )
    return Blueprint(
        "SwD Sampling", description, (*ALIASES, "sampler"), graph, ports, ("LATENT", "LATENT", (sampler, 0))
    )
