"""The thumbnail of every template."""

from __future__ import annotations

from collections.abc import Callable

from swd_dev.thumbnails import drawings
from swd_dev.thumbnails.card import Card
from swd_dev.thumbnails.scene import DAY, DUSK, GOLDEN, NIGHT, SUNRISE, Light

# Sides of the latent at each step, by the number of steps.
SCALES = {"6 steps": (32, 48, 64, 80, 96, 128), "4 steps": (64, 80, 96, 128)}
LIGHTS: dict[str, Light] = {
    "SD3.5 Medium, 6 steps": SUNRISE,
    "SD3.5 Medium, 4 steps": DAY,
    "SD3.5 Large, 4 steps": GOLDEN,
    "FLUX.1-dev, 4 steps": DUSK,
    "SDXL, 4 steps": NIGHT,
}
FEATURES: dict[str, Callable[[str, str], Card]] = {
    "image to image": drawings.image_to_image,
    "inpaint": drawings.inpaint,
    "regional prompts": drawings.regions,
    "ControlNet": drawings.controlnet,
    "upscale 2x": drawings.upscale,
    "compare schedules": drawings.compare,
    "train a LoRA": drawings.train,
}


def thumbnail(title: str) -> Card:
    """The thumbnail of the template with a title such as "SwD inpaint - SD3.5 Medium, 6 steps"."""
    feature, base = title.removeprefix("SwD ").removesuffix(".app").split(" - ")
    if feature in FEATURES:
        return FEATURES[feature](feature[0].upper() + feature[1:], base)
    model, steps = base.split(", ")
    if title.endswith(".app"):
        return drawings.app(LIGHTS[base], model, f"App, {steps}")
    return drawings.growing(LIGHTS[base], SCALES[steps], model, f"Text to image, {steps}")
