"""The template workflows, written from one table: `python -m swd_dev.templates OUT`.

`workflows/` holds the result; run this again when a node, a preset or a model link changes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swd_dev.graph import File, Graph

HUB = "https://huggingface.co"


def _lora(repository: str) -> File:
    # Every repository calls its file adapter_model.safetensors: a folder each keeps them and their settings apart.
    url = f"{HUB}/yresearch/{repository}/resolve/main/adapter_model.safetensors"
    return File(f"{repository}/adapter_model.safetensors", "loras", url, "")


_SD35 = f"{HUB}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main"
_MEDIUM = File(
    "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
    "checkpoints",
    f"{_SD35}/sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors",
    "11 GB",
)
_LARGE = File(
    "sd3.5_large_fp8_scaled.safetensors", "checkpoints", f"{_SD35}/sd3.5_large_fp8_scaled.safetensors", "15 GB"
)
_SDXL = File(
    "sd_xl_base_1.0.safetensors",
    "checkpoints",
    f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    "7 GB",
)
_FLUX = File(
    "flux1-dev.safetensors",
    "diffusion_models",
    f"{HUB}/Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors",
    "24 GB",
)
_CLIP_L = File(
    "clip_l.safetensors",
    "text_encoders",
    f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/clip_l.safetensors",
    "0.2 GB",
)
_T5 = File(
    "t5xxl_fp16.safetensors",
    "text_encoders",
    f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/t5xxl_fp16.safetensors",
    "10 GB",
)
_AE = File(
    "ae.safetensors",
    "vae",
    f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/ae.safetensors",
    "0.3 GB",
)


@dataclass(frozen=True)
class Template:
    """One text-to-image template. `checkpoint` is None where model, text encoders and VAE are files of their own."""

    preset: str
    lora: File
    checkpoint: File | None
    licence: str
    empty_latent: str = "EmptySD3LatentImage"
    has_t5: bool = True
    hints: Sequence[str] = ()

    @property
    def title(self) -> str:
        return f"SwD text to image - {self.preset}"


_STABILITY = "SD3.5: Stability AI Community License."
TEMPLATES = (
    Template("SD3.5 Medium, 6 steps", _lora("swd-medium-6-steps"), _MEDIUM, _STABILITY),
    Template("SD3.5 Medium, 4 steps", _lora("swd-medium-4-steps"), _MEDIUM, _STABILITY),
    Template(
        "SD3.5 Large, 4 steps",
        _lora("swd-large-4-steps"),
        _LARGE,
        _STABILITY,
        hints=["This checkpoint is fp8, which rounds part of the LoRA away. The 16-bit one gives cleaner pictures."],
    ),
    Template(
        "FLUX.1-dev, 4 steps",
        _lora("swd_flux"),
        None,
        "FLUX.1-dev: non-commercial licence of Black Forest Labs.",
        hints=["The LoRA was trained with guidance 4.5."],
    ),
    Template(
        "SDXL, 4 steps",
        _lora("swd-sdxl"),
        _SDXL,
        "SDXL: CreativeML Open RAIL++-M License.",
        empty_latent="EmptyLatentImage",
        has_t5=False,
    ),
)

PROMPT = (
    "A cinematic photo of a small wooden sailing boat on a calm lake at sunrise, mist over the water, "
    "pine forest and snowy mountains behind, warm light"
)


Slot = tuple[int, int]


def build(template: Template) -> dict[str, Any]:
    """The workflow of a template."""
    graph = Graph()
    model, clip, vae, files = _load_models(graph, template)
    lora = graph.add(
        "SWDLoraLoader", (430, 0), (380, 110), [("model", "MODEL"), ("report", "STRING")], [("model", "MODEL", model)],
        [template.lora.name, 1.0], models=[template.lora],
    )  # fmt: skip
    positive = _prompt(graph, template, clip)
    schedule = graph.add(
        "SWDScaleSchedule", (860, 0), (320, 90), [("schedule", "SWD_SCHEDULE"), ("sigmas", "SIGMAS")],
        [("model", "MODEL", (lora, 0))], [template.preset],
    )  # fmt: skip
    latent = graph.add(template.empty_latent, (1300, 260), (320, 110), [("LATENT", "LATENT")], widgets=[1024, 1024, 1])
    sampler = graph.add(
        "SWDSampler", (1680, 0), (320, 300), [("latent", "LATENT")],
        [("model", "MODEL", (lora, 0)), ("positive", "CONDITIONING", positive), ("latent_image", "LATENT", (latent, 0)),
         ("schedule", "SWD_SCHEDULE", (schedule, 0))],
        [0, "randomize", 1.0, 1.0, "bicubic"],
    )  # fmt: skip
    decode = graph.add(
        "VAEDecode",
        (2060, 0),
        (220, 50),
        [("IMAGE", "IMAGE")],
        [("samples", "LATENT", (sampler, 0)), ("vae", "VAE", vae)],
    )
    graph.add("SaveImage", (2340, 0), (420, 460), inputs=[("images", "IMAGE", (decode, 0))], widgets=["SwD"])
    graph.add(
        "PreviewAny", (860, -250), (380, 180), [("STRING", "STRING")], [("source", "*", (lora, 1))], title="LoRA report"
    )
    graph.add("MarkdownNote", (-440, 0), (400, 480), widgets=[_note(template, files)], title="Note: Model links")
    return graph.document(template.title)


def _load_models(graph: Graph, template: Template) -> tuple[Slot, Slot, Slot, list[File]]:
    if template.checkpoint:
        loader = graph.add(
            "CheckpointLoaderSimple", (0, 0), (380, 100), [("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")],
            widgets=[template.checkpoint.name], models=[template.checkpoint],
        )  # fmt: skip
        return (loader, 0), (loader, 1), (loader, 2), [template.checkpoint]
    model = graph.add(
        "UNETLoader", (0, 0), (380, 90), [("MODEL", "MODEL")], widgets=[_FLUX.name, "default"], models=[_FLUX]
    )
    clip = graph.add(
        "DualCLIPLoader", (0, 140), (380, 130), [("CLIP", "CLIP")], widgets=[_CLIP_L.name, _T5.name, "flux", "default"],
        models=[_CLIP_L, _T5],
    )  # fmt: skip
    vae = graph.add("VAELoader", (0, 320), (380, 60), [("VAE", "VAE")], widgets=[_AE.name], models=[_AE])
    return (model, 0), (clip, 0), (vae, 0), [_FLUX, _CLIP_L, _T5, _AE]


def _prompt(graph: Graph, template: Template, clip: Slot) -> Slot:
    if template.has_t5:
        # The students were trained on T5 tokens padded to 512 without a mask (upstream README, max_sequence_length).
        options = graph.add(
            "T5TokenizerOptions", (430, 170), (380, 90), [("CLIP", "CLIP")], [("clip", "CLIP", clip)], [0, 512],
            title="T5 padding as in training",
        )  # fmt: skip
        clip = (options, 0)
    prompt = graph.add(
        "CLIPTextEncode", (860, 150), (380, 260), [("CONDITIONING", "CONDITIONING")], [("clip", "CLIP", clip)],
        [PROMPT], title="Prompt",
    )  # fmt: skip
    if template.checkpoint:
        return prompt, 0
    guidance = graph.add(
        "FluxGuidance", (1300, 150), (320, 60), [("CONDITIONING", "CONDITIONING")],
        [("conditioning", "CONDITIONING", (prompt, 0))], [4.5],
    )  # fmt: skip
    return guidance, 0


def _note(template: Template, files: Sequence[File]) -> str:
    folder = template.lora.name.split("/")[0]
    lines = ["## Model Links", ""]
    for directory in dict.fromkeys(file.directory for file in files):
        lines += [f"**{directory}**", ""]
        lines += [f"- [{file.name}]({file.url}) ({file.size})" for file in files if file.directory == directory] + [""]
    lines += [
        "**loras**", "",
        f"- [{template.lora.name}]({template.lora.url}): the whole folder, with adapter_config.json", "",
        "```", f"hf download yresearch/{folder} --local-dir models/loras/{folder}", "```", "",
        "## Model Storage Location", "", "```", "ComfyUI/models/",
        *(f"  {file.directory}/{file.name}" for file in files),
        f"  loras/{folder}/adapter_model.safetensors", f"  loras/{folder}/adapter_config.json", "```", "",
        "## Use", "", "- cfg stays at 1.0: the LoRA needs no negative prompt.",
        "- Any size and aspect ratio works; the LoRA was trained at 1024 x 1024.",
        *(f"- {hint}" for hint in template.hints),
        f"- {template.licence}",
    ]  # fmt: skip
    return "\n".join(lines)


def write_all(out: Path) -> None:
    """Write every template into a folder, as `<title>.json`."""
    out.mkdir(parents=True, exist_ok=True)
    for template in TEMPLATES:
        text = json.dumps(build(template), indent=1) + "\n"
        (out / f"{template.title}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
