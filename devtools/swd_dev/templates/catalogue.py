"""Every template: its title and its graph."""

from __future__ import annotations

from typing import Any

from swd_dev.graph import Graph
from swd_dev.templates.bases import BASES, MEDIUM_6, Base
from swd_dev.templates.features import CFG, controlnet, image_to_image, inpaint, regional_prompts, upscale
from swd_dev.templates.parts import COLUMNS, LOWER, WIDTH, empty_latent, finish, load, prompt, sample, schedule
from swd_dev.templates.training import compare_schedules, train_lora

BOAT = (
    "A cinematic photo of a small wooden sailing boat on a calm lake at sunrise, mist over the water, "
    "pine forest and snowy mountains behind, warm light"
)


def all_templates() -> dict[str, dict[str, Any]]:
    """Workflows in the UI format, by title."""
    graphs = {f"SwD text to image - {base.preset}": text_to_image(base) for base in BASES}
    graphs |= {
        # A title that ends in .app opens as an app: a form instead of the graph.
        f"SwD text to image - {MEDIUM_6.preset}.app": app(MEDIUM_6),
        "SwD image to image - SD3.5 Medium, 6 steps": image_to_image(),
        "SwD inpaint - SD3.5 Medium, 6 steps": inpaint(),
        "SwD regional prompts - SD3.5 Medium, 6 steps": regional_prompts(),
        "SwD ControlNet - SD3.5 Large, 4 steps": controlnet(),
        "SwD upscale 2x - SD3.5 Medium, 6 steps": upscale(),
        "SwD compare schedules - SD3.5 Medium, 6 steps": compare_schedules(),
        "SwD train a LoRA - SD3.5 Medium, 4 steps": train_lora(),
    }
    return {title: graph.document(title) for title, graph in graphs.items()}


def text_to_image(base: Base) -> Graph:
    graph = Graph()
    loaded = load(graph, base)
    stages = schedule(graph, loaded, plot=True)
    if base.checkpoint:
        positive = prompt(graph, loaded, BOAT, width=COLUMNS[3] + WIDTH - COLUMNS[2])
        members = [positive[0]]
    else:
        text = prompt(graph, loaded, BOAT)
        guidance = graph.add(
            "FluxGuidance", (COLUMNS[3], LOWER), (WIDTH, 60), [("CONDITIONING", "CONDITIONING")],
            [("conditioning", "CONDITIONING", text)], [4.5],
        )  # fmt: skip
        positive, members = (guidance, 0), [text[0], guidance]
    graph.group("Step 3 - Prompt", members)
    size = empty_latent(graph, base, (COLUMNS[3], LOWER + 270))
    latent = sample(graph, loaded, stages, positive, size, x=COLUMNS[4])
    hints = [
        CFG,
        "Any size and aspect ratio works; the LoRA was trained at 1024 x 1024.",
        "SwD Schedule Plot draws the steps for the size that you type into it; it does not change the picture.",
    ]
    finish(graph, base, loaded, latent, hints)
    return graph


def app(base: Base) -> Graph:
    """Text to image as a form: prompt, size and seed in, the picture out.

    Not the preset: most of its options are for another model and end in an error, and auto knows the right one.
    """
    graph = text_to_image(base)
    inputs = (
        ("CLIPTextEncode", "text", {"height": 170}), (base.empty_latent, "width"), (base.empty_latent, "height"),
        ("SWDSampler", "seed"),
    )  # fmt: skip
    graph.extra = {
        "linearMode": True,
        "linearData": {
            "inputs": [[graph.only(kind), *widget] for kind, *widget in inputs],
            "outputs": [graph.only("SaveImage")],
        },
    }
    return graph
