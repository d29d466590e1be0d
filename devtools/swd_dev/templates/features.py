"""Templates for one feature each: pictures and masks, regions, ControlNet, upscaling."""

from __future__ import annotations

from swd_dev.graph import Graph
from swd_dev.templates.bases import LARGE_4, MEDIUM_6
from swd_dev.templates.files import CANNY
from swd_dev.templates.parts import (
    COLUMNS,
    LOWER,
    empty_latent,
    encode,
    finish,
    load,
    picture,
    prompt,
    sample,
    schedule,
)

CFG = "cfg stays at 1.0: the LoRA needs no negative prompt."


def image_to_image() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    stages = schedule(graph, loaded)
    positive = prompt(graph, loaded, "An oil painting of the same scene, thick brush strokes, warm light")
    graph.group("Step 3 - Prompt", [positive[0]])
    image, _ = picture(graph)
    scaled = graph.add(
        "ImageScale", (350, LOWER), (260, 130), [("IMAGE", "IMAGE")], [("image", "IMAGE", image)],
        ["lanczos", 1024, 1024, "center"],
    )  # fmt: skip
    start = encode(graph, (scaled, 0), loaded.vae, 640)
    graph.group("Step 4 - Load image", [image[0], scaled, start[0]])
    latent = sample(graph, loaded, stages, positive, start, denoise=0.8)
    hints = [
        CFG,
        "denoise chooses the first step: 0.8 starts at timestep 0.7904, 0.9 at 0.8959. The last step always runs, with "
        "noise of 0.6, so a denoise below that does not change the picture less.",
    ]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph


def inpaint() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    stages = schedule(graph, loaded)
    positive = prompt(graph, loaded, "A red balloon in the sky")
    graph.group("Step 3 - Prompt", [positive[0]])
    image, mask = picture(graph)
    start = encode(graph, image, loaded.vae, 350)
    masked = graph.add(
        "SetLatentNoiseMask", (620, LOWER), (250, 50), [("LATENT", "LATENT")],
        [("samples", "LATENT", start), ("mask", "MASK", mask)],
    )  # fmt: skip
    graph.group("Step 4 - Load image and mask", [image[0], start[0], masked])
    latent = sample(graph, loaded, stages, positive, (masked, 0))
    hints = [
        "First paint a mask: right-click the picture, Open in MaskEditor, and paint over what is to be replaced. "
        "Without a mask the picture does not change.",
        CFG,
    ]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph


def regional_prompts() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    stages = schedule(graph, loaded)
    everywhere = "A wide landscape at sunset, a river in the middle, detailed photo"
    together = prompt(graph, loaded, everywhere, LOWER, "Everywhere")
    members = [together[0]]
    sides = (("On the left", "A medieval castle on a hill", 0.0), ("On the right", "A field of sunflowers", 0.5))
    for number, (title, text, x) in enumerate(sides):
        y = LOWER + 240 * (number + 1)
        words = prompt(graph, loaded, text, y, title)
        area = graph.add(
            "ConditioningSetAreaPercentage", (COLUMNS[3], y), (320, 195), [("CONDITIONING", "CONDITIONING")],
            [("conditioning", "CONDITIONING", words)], [0.5, 1.0, x, 0.0, 1.0], title=f"{title}: half of the picture",
        )  # fmt: skip
        combined = graph.add(
            "ConditioningCombine", (COLUMNS[3] + 380 + 280 * number, LOWER), (220, 50),
            [("CONDITIONING", "CONDITIONING")],
            [("conditioning_1", "CONDITIONING", together), ("conditioning_2", "CONDITIONING", (area, 0))],
        )  # fmt: skip
        members += [words[0], area, combined]
        together = (combined, 0)
    graph.group("Step 3 - Prompts and regions", members)
    size = empty_latent(graph, MEDIUM_6, (COLUMNS[3] + 480, 180))
    latent = sample(graph, loaded, stages, together, size, x=COLUMNS[3] + 940)
    hints = [CFG, "Areas keep their part of the picture at every step, however small the latent is."]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph


def controlnet() -> Graph:
    graph = Graph()
    base = LARGE_4
    control = graph.add(
        "ControlNetLoader", (0, 170), (400, 60), [("CONTROL_NET", "CONTROL_NET")], widgets=[CANNY.name], models=[CANNY]
    )
    loaded = load(graph, base, [control])
    stages = schedule(graph, loaded)
    positive = prompt(graph, loaded, "A watercolour painting, soft colours, white paper")
    graph.group("Step 3 - Prompt", [positive[0]])
    image, _ = picture(graph)
    edges = graph.add("Canny", (370, LOWER), (260, 90), [("IMAGE", "IMAGE")], [("image", "IMAGE", image)], [0.2, 0.5])
    graph.group("Step 4 - Load image", [image[0], edges])
    negative = graph.add(
        "ConditioningZeroOut", (COLUMNS[3], LOWER), (260, 40), [("CONDITIONING", "CONDITIONING")],
        [("conditioning", "CONDITIONING", positive)],
    )  # fmt: skip
    controlled = graph.add(
        "ControlNetApplyAdvanced", (COLUMNS[3] + 320, LOWER), (320, 225),
        [("positive", "CONDITIONING"), ("negative", "CONDITIONING")],
        [("positive", "CONDITIONING", positive), ("negative", "CONDITIONING", (negative, 0)),
         ("control_net", "CONTROL_NET", (control, 0)), ("image", "IMAGE", (edges, 0)), ("vae", "VAE", loaded.vae)],
        [0.8, 0.0, 1.0],
    )  # fmt: skip
    graph.group("Step 5 - ControlNet", [negative, controlled])
    size = empty_latent(graph, base, (COLUMNS[3] + 240, 180), step=6)
    latent = sample(graph, loaded, stages, (controlled, 0), size, x=COLUMNS[3] + 700)
    hints = [CFG, "The hint follows the latent: it is encoded again at the size of each step."]
    loaded.files.append(CANNY)
    finish(graph, base, loaded, latent, hints)
    return graph


def upscale() -> Graph:
    graph = Graph()
    loaded = load(graph, MEDIUM_6)
    stages = schedule(graph, loaded)
    positive = prompt(graph, loaded, "A detailed photo")
    graph.group("Step 3 - Prompt", [positive[0]])
    image, _ = picture(graph)
    start = encode(graph, image, loaded.vae, 350)
    grown = graph.add(
        "SWDLatentUpscale", (620, LOWER), (250, 90), [("latent", "LATENT")], [("samples", "LATENT", start)],
        ["bicubic", 2.0],
    )  # fmt: skip
    graph.group("Step 4 - Load image and enlarge it", [image[0], start[0], grown])
    latent = sample(graph, loaded, stages, positive, (grown, 0), denoise=0.61)
    hints = [
        "The finished picture grows to twice its size and runs through the last step of the schedule alone: any "
        "denoise up to 0.73 means that step.",
        "Sides of up to 768 pixels give up to 1536; the LoRA was trained at 1024 x 1024.",
    ]
    finish(graph, MEDIUM_6, loaded, latent, hints)
    return graph
