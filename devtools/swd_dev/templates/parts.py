"""Parts that templates share. Columns of nodes run from left to right; positions are those of the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swd_dev.graph import File, Graph
from swd_dev.templates.bases import Base
from swd_dev.templates.files import AE, CLIP_L, FLUX, T5

Slot = tuple[int, int]
COLUMNS = (0, 430, 860, 1300, 1680, 2060, 2440, 2820)


@dataclass(frozen=True)
class Loaded:
    """Output slots of a base: the model with its LoRA, text encoder, VAE and schedule; and the files it needs."""

    model: Slot
    clip: Slot
    vae: Slot
    schedule: Slot
    files: list[File]


def load(graph: Graph, base: Base) -> Loaded:
    """Loaders, LoRA with its report, T5 padding and schedule: columns 0 to 2."""
    model, clip, vae, files = _loaders(graph, base)
    lora = graph.add(
        "SWDLoraLoader", (COLUMNS[1], 0), (380, 110), [("model", "MODEL"), ("report", "STRING")],
        [("model", "MODEL", model)], [base.lora.name, 1.0], models=[base.lora],
    )  # fmt: skip
    if base.has_t5:
        # The students were trained on T5 tokens padded to 512 without a mask (upstream README, max_sequence_length).
        padding = graph.add(
            "T5TokenizerOptions", (COLUMNS[1], 170), (380, 90), [("CLIP", "CLIP")], [("clip", "CLIP", clip)], [0, 512],
            title="T5 padding as in training",
        )  # fmt: skip
        clip = (padding, 0)
    schedule = graph.add(
        "SWDScaleSchedule", (COLUMNS[2], 0), (320, 90), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", (lora, 0))], [base.preset],
    )  # fmt: skip
    graph.add(
        "PreviewAny", (COLUMNS[2], -250), (380, 180), [("STRING", "STRING")], [("source", "*", (lora, 1))],
        title="LoRA report",
    )  # fmt: skip
    return Loaded((lora, 0), clip, vae, (schedule, 0), files)


def _loaders(graph: Graph, base: Base) -> tuple[Slot, Slot, Slot, list[File]]:
    if base.checkpoint:
        loader = graph.add(
            "CheckpointLoaderSimple", (0, 0), (380, 100), [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
            widgets=[base.checkpoint.name], models=[base.checkpoint],
        )  # fmt: skip
        return (loader, 0), (loader, 1), (loader, 2), [base.checkpoint]
    model = graph.add(
        "UNETLoader", (0, 0), (380, 90), [("MODEL", "MODEL")], widgets=[FLUX.name, "default"], models=[FLUX]
    )
    clip = graph.add(
        "DualCLIPLoader", (0, 140), (380, 130), [("CLIP", "CLIP")], widgets=[CLIP_L.name, T5.name, "flux", "default"],
        models=[CLIP_L, T5],
    )  # fmt: skip
    vae = graph.add("VAELoader", (0, 320), (380, 60), [("VAE", "VAE")], widgets=[AE.name], models=[AE])
    return (model, 0), (clip, 0), (vae, 0), [FLUX, CLIP_L, T5, AE]


def prompt(graph: Graph, loaded: Loaded, text: str, y: int = 150, title: str = "Prompt", height: int = 260) -> Slot:
    """A prompt in column 2."""
    node = graph.add(
        "CLIPTextEncode", (COLUMNS[2], y), (380, height), [("CONDITIONING", "CONDITIONING")],
        [("clip", "CLIP", loaded.clip)], [text], title=title,
    )  # fmt: skip
    return node, 0


def picture(graph: Graph, at: tuple[int, int]) -> tuple[Slot, Slot]:
    """The picture that ComfyUI brings as an example: its IMAGE and its MASK."""
    node = graph.add(
        "LoadImage", at, (380, 330), [("IMAGE", "IMAGE"), ("MASK", "MASK")], widgets=["example.png", "image"]
    )
    return (node, 0), (node, 1)


def encode(graph: Graph, image: Slot, vae: Slot, at: tuple[int, int]) -> Slot:
    node = graph.add(
        "VAEEncode", at, (220, 50), [("LATENT", "LATENT")], [("pixels", "IMAGE", image), ("vae", "VAE", vae)]
    )
    return node, 0


def sample(graph: Graph, loaded: Loaded, positive: Slot, latent: Slot, column: int = 4, denoise: float = 1.0) -> Slot:
    node = graph.add(
        "SWDSampler", (COLUMNS[column], 0), (320, 300), [("latent", "LATENT")],
        [("model", "MODEL", loaded.model), ("positive", "CONDITIONING", positive), ("latent_image", "LATENT", latent),
         ("schedule", "SWD_SCHEDULE", loaded.schedule)],
        [0, "randomize", 1.0, denoise, "bicubic"],
    )  # fmt: skip
    return node, 0


def finish(graph: Graph, base: Base, loaded: Loaded, latent: Slot, hints: Sequence[str] = (), column: int = 5) -> None:
    """Decode, save, and the note about the files."""
    x = COLUMNS[column]
    decode = graph.add(
        "VAEDecode", (x, 0), (220, 50), [("IMAGE", "IMAGE")],
        [("samples", "LATENT", latent), ("vae", "VAE", loaded.vae)],
    )  # fmt: skip
    graph.add("SaveImage", (x + 280, 0), (420, 460), inputs=[("images", "IMAGE", (decode, 0))], widgets=["SwD"])
    graph.add(
        "MarkdownNote", (-440, 0), (400, 480), widgets=[note(base, loaded.files, hints)], title="Note: Model links"
    )


def note(base: Base, files: Sequence[File], hints: Sequence[str]) -> str:
    """Links and folders of all files, in the manner of ComfyUI's own templates."""
    lines = ["## Model Links", ""]
    for directory in dict.fromkeys(file.directory for file in files):
        lines += [f"**{directory}**", ""]
        lines += [f"- [{file.name}]({file.url}) ({file.size})" for file in files if file.directory == directory] + [""]
    lora, config = base.lora, base.lora_config
    lines += [
        "**loras**", "",
        f"- [{lora.name}]({lora.url}): the hub calls it adapter_model.safetensors. Save it under this name.",
        f"- [{config.name}]({config.url}): optional, holds the scale of the LoRA. The hub calls it "
        "adapter_config.json.", "",
        "## Model Storage Location", "", "```", "ComfyUI/models/",
        *(f"  {file.directory}/{file.name}" for file in (*files, lora, config)), "```", "",
        "## Use", "", *(f"- {hint}" for hint in (*hints, *base.hints)), f"- {base.licence}",
    ]  # fmt: skip
    return "\n".join(lines)
