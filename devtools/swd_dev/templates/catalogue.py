"""Every template: its title and its graph."""

from __future__ import annotations

from typing import Any

from swd_dev.graph import Graph
from swd_dev.templates.bases import BASES, LARGE_4, MEDIUM_6, Base
from swd_dev.templates.files import CANNY
from swd_dev.templates.parts import COLUMNS, Slot, encode, finish, load, picture, prompt, sample

BOAT = (
    "A cinematic photo of a small wooden sailing boat on a calm lake at sunrise, mist over the water, "
    "pine forest and snowy mountains behind, warm light"
)
CFG = "cfg stays at 1.0: the LoRA needs no negative prompt."


def all_templates() -> dict[str, dict[str, Any]]:
    """Workflows in the UI format, by title."""
    templates = {f"SwD text to image - {base.preset}": text_to_image(base) for base in BASES}
    features = {
        "SwD image to image - SD3.5 Medium, 6 steps": image_to_image,
        "SwD inpaint - SD3.5 Medium, 6 steps": inpaint,
        "SwD regional prompts - SD3.5 Medium, 6 steps": regional_prompts,
        "SwD ControlNet - SD3.5 Large, 4 steps": controlnet,
        "SwD upscale 2x - SD3.5 Medium, 6 steps": upscale,
    }
    graphs = {**templates, **{title: make() for title, make in features.items()}}
    return {title: graph.document(title) for title, graph in graphs.items()}


def empty_latent(graph: Graph, base: Base, y: int = 260) -> Slot:
    size = [1024, 1024, 1]
    node = graph.add(base.empty_latent, (COLUMNS[3], y), (320, 110), [("LATENT", "LATENT")], widgets=size)
    return node, 0


def text_to_image(base: Base) -> Graph:
    graph = Graph()
    loaded = load(graph, base)
    positive = prompt(graph, loaded, BOAT)
    if not base.checkpoint:
        guidance = graph.add(
            "FluxGuidance", (COLUMNS[3], 150), (320, 60), [("CONDITIONING", "CONDITIONING")],
            [("conditioning", "CONDITIONING", positive)], [4.5],
        )  # fmt: skip
        positive = (guidance, 0)
    latent = sample(graph, loaded, positive, empty_latent(graph, base))
    hints = [CFG, "Any size and aspect ratio works; the LoRA was trained at 1024 x 1024."]
    finish(graph, base, loaded, latent, hints)
    return graph


def image_to_image() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    image, _ = picture(graph, (0, 200))
    scaled = graph.add(
        "ImageScale", (COLUMNS[1], 330), (380, 130), [("IMAGE", "IMAGE")], [("image", "IMAGE", image)],
        ["lanczos", 1024, 1024, "center"],
    )  # fmt: skip
    positive = prompt(graph, loaded, "An oil painting of the same scene, thick brush strokes, warm light")
    start = encode(graph, (scaled, 0), loaded.vae, (COLUMNS[2], 460))
    latent = sample(graph, loaded, positive, start, denoise=0.8)
    hints = [
        CFG,
        "denoise chooses the first step: 0.8 starts at timestep 0.7904, 0.9 at 0.8959; the last step always runs.",
    ]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph


def inpaint() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    image, mask = picture(graph, (0, 200))
    positive = prompt(graph, loaded, "A red balloon in the sky")
    start = encode(graph, image, loaded.vae, (COLUMNS[2], 460))
    masked = graph.add(
        "SetLatentNoiseMask", (COLUMNS[3], 260), (320, 50), [("LATENT", "LATENT")],
        [("samples", "LATENT", start), ("mask", "MASK", mask)],
    )  # fmt: skip
    latent = sample(graph, loaded, positive, (masked, 0))
    hints = [CFG, "Right-click the picture, Open in MaskEditor, and paint what is to be made anew."]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph


def regional_prompts() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    together = prompt(
        graph, loaded, "A wide landscape at sunset, a river in the middle, detailed photo", 150, "Everywhere", 160
    )
    sides = (("On the left", "A medieval castle on a hill", 0.0), ("On the right", "A field of sunflowers", 0.5))
    for number, (title, text, x) in enumerate(sides):
        y = 370 + 220 * number
        area = graph.add(
            "ConditioningSetAreaPercentage", (COLUMNS[3], y), (320, 160), [("CONDITIONING", "CONDITIONING")],
            [("conditioning", "CONDITIONING", prompt(graph, loaded, text, y, title, 160))], [0.5, 1.0, x, 0.0, 1.0],
        )  # fmt: skip
        combined = graph.add(
            "ConditioningCombine", (COLUMNS[4] + 240 * number, y), (220, 50), [("CONDITIONING", "CONDITIONING")],
            [("conditioning_1", "CONDITIONING", together), ("conditioning_2", "CONDITIONING", (area, 0))],
        )  # fmt: skip
        together = (combined, 0)
    latent = sample(graph, loaded, together, empty_latent(graph, MEDIUM_6, 150), column=6)
    hints = [CFG, "Areas keep their part of the picture at every step, however small the latent is."]
    finish(graph, MEDIUM_6, loaded, latent, hints, column=7)
    return graph


def controlnet() -> Graph:
    graph = Graph()
    base = LARGE_4
    loaded = load(graph, base)
    image, _ = picture(graph, (COLUMNS[1], 330))
    positive = prompt(graph, loaded, "A watercolour painting, soft colours, white paper")
    edges = graph.add(
        "Canny", (COLUMNS[2], 470), (320, 90), [("IMAGE", "IMAGE")], [("image", "IMAGE", image)], [0.2, 0.5]
    )
    control = graph.add(
        "ControlNetLoader", (COLUMNS[2], 620), (380, 60), [("CONTROL_NET", "CONTROL_NET")], widgets=[CANNY.name],
        models=[CANNY],
    )  # fmt: skip
    negative = graph.add(
        "ConditioningZeroOut", (COLUMNS[3], 150), (260, 40), [("CONDITIONING", "CONDITIONING")],
        [("conditioning", "CONDITIONING", positive)],
    )  # fmt: skip
    controlled = graph.add(
        "ControlNetApplyAdvanced", (COLUMNS[4], 150), (320, 190),
        [("positive", "CONDITIONING"), ("negative", "CONDITIONING")],
        [("positive", "CONDITIONING", positive), ("negative", "CONDITIONING", (negative, 0)),
         ("control_net", "CONTROL_NET", (control, 0)), ("image", "IMAGE", (edges, 0)), ("vae", "VAE", loaded.vae)],
        [0.8, 0.0, 1.0],
    )  # fmt: skip
    latent = sample(graph, loaded, (controlled, 0), empty_latent(graph, base), column=5)
    hints = [CFG, "The hint follows the latent: it is encoded again at the size of each step."]
    loaded.files.append(CANNY)
    finish(graph, base, loaded, latent, hints, column=6)
    return graph


def upscale() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    image, _ = picture(graph, (0, 200))
    positive = prompt(graph, loaded, "A detailed photo")
    start = encode(graph, image, loaded.vae, (COLUMNS[2], 460))
    grown = graph.add(
        "SWDLatentUpscale", (COLUMNS[3], 260), (320, 90), [("latent", "LATENT")], [("samples", "LATENT", start)],
        ["bicubic", 2.0],
    )  # fmt: skip
    latent = sample(graph, loaded, positive, (grown, 0), denoise=0.61)
    hints = [
        "The finished picture grows to twice its size and runs through the last step of the schedule alone: any "
        "denoise up to 0.73 means that step.",
        "Sides of up to 768 pixels give up to 1536; the LoRA was trained at 1024 x 1024.",
    ]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph
