"""Parts that templates share.

Models, LoRA and schedule stand in the upper lane, prompt and picture in the lower one; columns run from left to right.
Positions are those of the canvas. Nodes have the largest height that any page from ComfyUI 0.16 on draws in Nodes
2.0, so that their groups hold them. LoRA and schedule have room below for the text that they show once they have
run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swd_dev.graph import File, Graph, Slot
from swd_dev.templates.bases import Base
from swd_dev.templates.files import AE, CLIP_L, FLUX, T5
from swd_dev.templates.notes import note

COLUMNS = (0, 460, 920, 1380, 1840)
WIDTH = 400
LOWER = 510
TEXT_ROOM = 70


@dataclass(frozen=True)
class Loaded:
    """Output slots of a base: the model with its LoRA, text encoder and VAE; and the files it needs."""

    model: Slot
    report: Slot
    clip: Slot
    vae: Slot
    files: list[File]


def load(graph: Graph, base: Base, extra: Sequence[int] = ()) -> Loaded:
    """Loaders, LoRA and T5 padding: step 1, together with the `extra` nodes."""
    first = len(graph.nodes) + 1
    model, clip, vae, files = _loaders(graph, base)
    lora = graph.add(
        "SWDLoraLoader", (COLUMNS[1], 0), (WIDTH, 150), [("model", "MODEL"), ("report", "STRING")],
        [("model", "MODEL", model)], [base.lora.name, 1.0], models=[base.lora],
    )  # fmt: skip
    if base.has_t5:
        # The students were trained on T5 tokens padded to 512 without a mask (upstream README, max_sequence_length).
        padding = graph.add(
            "T5TokenizerOptions", (COLUMNS[1], 280), (WIDTH, 120), [("CLIP", "CLIP")], [("clip", "CLIP", clip)],
            [0, 512], title="T5 padding as in training",
        )  # fmt: skip
        clip = (padding, 0)
    room = 0 if base.has_t5 else TEXT_ROOM
    graph.group("Step 1 - Load models", [*range(first, len(graph.nodes) + 1), *extra], room)
    return Loaded((lora, 0), (lora, 1), clip, vae, files)


def _loaders(graph: Graph, base: Base) -> tuple[Slot, Slot, Slot, list[File]]:
    if base.checkpoint:
        loader = graph.add(
            "CheckpointLoaderSimple", (0, 0), (WIDTH, 100), [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
            widgets=[base.checkpoint.name], models=[base.checkpoint],
        )  # fmt: skip
        return (loader, 0), (loader, 1), (loader, 2), [base.checkpoint]
    model = graph.add(
        "UNETLoader", (0, 0), (WIDTH, 90), [("MODEL", "MODEL")], widgets=[FLUX.name, "default"], models=[FLUX]
    )
    clip = graph.add(
        "DualCLIPLoader", (0, 160), (WIDTH, 155), [("CLIP", "CLIP")],
        widgets=[CLIP_L.name, T5.name, "flux", "default"], models=[CLIP_L, T5],
    )  # fmt: skip
    vae = graph.add("VAELoader", (0, 380), (WIDTH, 70), [("VAE", "VAE")], widgets=[AE.name], models=[AE])
    return (model, 0), (clip, 0), (vae, 0), [FLUX, CLIP_L, T5, AE]


def schedule(graph: Graph, loaded: Loaded, plot: bool = False, preset: str = "auto") -> Slot:
    """The schedule, the report of the LoRA and, if wanted, the plot of the schedule: step 2.

    The preset is `auto`, so that who puts another LoRA into the template gets the schedule of that one.
    """
    node = graph.add(
        "SWDScaleSchedule", (COLUMNS[2], 0), (WIDTH, 110), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", loaded.model)], [preset],
    )  # fmt: skip
    members = [node]
    members.append(
        graph.add(
            "PreviewAny", (COLUMNS[2], 240), (WIDTH, 150), [("STRING", "STRING")],
            [("source", "*", loaded.report)], title="LoRA report",
        )
    )  # fmt: skip
    if plot:
        members.append(
            graph.add(
                "SWDSchedulePlot", (COLUMNS[3], 0), (WIDTH, 330), [("image", "IMAGE")],
                [("schedule", "SWD_SCHEDULE", (node, 0))], [1024, 1024],
            )
        )  # fmt: skip
    graph.group("Step 2 - Schedule", members)
    return node, 0


def prompt(graph: Graph, loaded: Loaded, text: str, y: int = LOWER, title: str = "Prompt", width: int = WIDTH) -> Slot:
    """A prompt in the column of the schedule."""
    node = graph.add(
        "CLIPTextEncode", (COLUMNS[2], y), (width, 150), [("CONDITIONING", "CONDITIONING")],
        [("clip", "CLIP", loaded.clip)], [text], title=title,
    )  # fmt: skip
    return node, 0


def empty_latent(graph: Graph, base: Base, at: tuple[int, int], step: int = 4) -> Slot:
    node = graph.add(base.empty_latent, at, (WIDTH, 130), [("LATENT", "LATENT")], widgets=[1024, 1024, 1])
    graph.group(f"Step {step} - Image size", [node])
    return node, 0


def picture(graph: Graph) -> tuple[Slot, Slot]:
    """The picture that ComfyUI brings as an example, below the loaders: its IMAGE and its MASK."""
    node = graph.add(
        "LoadImage", (0, LOWER), (320, 340), [("IMAGE", "IMAGE"), ("MASK", "MASK")], widgets=["example.png", "image"]
    )
    return (node, 0), (node, 1)


def encode(graph: Graph, image: Slot, vae: Slot, x: int) -> Slot:
    """The picture as a latent. Nodes 2.0 draws no node narrower than 225."""
    node = graph.add(
        "VAEEncode", (x, LOWER), (225, 50), [("LATENT", "LATENT")], [("pixels", "IMAGE", image), ("vae", "VAE", vae)]
    )
    return node, 0


def sample(
    graph: Graph, loaded: Loaded, stages: Slot, positive: Slot, latent: Slot, x: int = COLUMNS[3], denoise: float = 1.0
) -> Slot:
    """Sample, with `stages` the slot of the schedule."""
    node = graph.add(
        "SWDSampler", (x, 0), (320, 260), [("latent", "LATENT")],
        [("model", "MODEL", loaded.model), ("positive", "CONDITIONING", positive), ("latent_image", "LATENT", latent),
         ("schedule", "SWD_SCHEDULE", stages)],
        [0, "randomize", 1.0, denoise, "bicubic"],
    )  # fmt: skip
    return node, 0


def finish(graph: Graph, base: Base, loaded: Loaded, latent: Slot, hints: Sequence[str] = ()) -> int:
    """Decode, save, and the note about the files. Returns the id of SaveImage."""
    x = graph.nodes[latent[0] - 1]["pos"][0] + 380
    decode = graph.add(
        "VAEDecode", (x, 0), (220, 50), [("IMAGE", "IMAGE")],
        [("samples", "LATENT", latent), ("vae", "VAE", loaded.vae)],
    )  # fmt: skip
    save = graph.add("SaveImage", (x + 280, 0), (460, 520), inputs=[("images", "IMAGE", (decode, 0))], widgets=["SwD"])
    graph.add(
        "MarkdownNote", (-500, -50), (440, 560), widgets=[note(base, loaded.files, hints)], title="Note: Model links"
    )
    return save
