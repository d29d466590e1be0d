"""The table of tiny files, laid out like ComfyUI's models folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from swd_dev.tiny.comfyui import use_comfyui
from swd_dev.tiny.lora import write_lora
from swd_dev.tiny.models import make_clip_l, make_model, make_vae

StateDict = dict[str, torch.Tensor]


class LatentFormat(NamedTuple):
    """Channels of a family's latents, and model latent = (vae latent - shift) * scale."""

    channels: int
    scale: float
    shift: float


SD3_LATENT = LatentFormat(16, 1.5305, 0.0609)
FLUX_LATENT = LatentFormat(16, 0.3611, 0.1159)
SDXL_LATENT = LatentFormat(4, 0.13025, 0.0)


def _native(family: str) -> StateDict:
    """The family's weights under the names of the original release, as ComfyUI's own converter maps them."""
    from comfy.model_detection import convert_diffusers_mmdit

    # The converter empties its argument and swaps halves of some tensors in place.
    source = {name: value.clone() for name, value in make_model(family).state_dict().items()}
    converted: StateDict | None = convert_diffusers_mmdit(source)
    if converted is None or source:
        raise RuntimeError(f"ComfyUI did not convert all weights of {family}: {sorted(source)}")
    return converted


@cache
def _clip_l() -> StateDict:
    """CLIP-L in float16 under ``text_model.``; newer transformers leave that prefix out."""
    weights = make_clip_l().state_dict()
    return {f"text_model.{name.removeprefix('text_model.')}": value.half() for name, value in weights.items()}


def _vae(latent: LatentFormat) -> StateDict:
    vae: torch.nn.Module = make_vae(latent.channels, scale=latent.scale, shift=latent.shift)
    return dict(vae.state_dict())


def _sd3_checkpoint(family: str) -> StateDict:
    """Model, CLIP-L and VAE in one file, as CheckpointLoaderSimple expects them."""
    parts = {
        "model.diffusion_model.": _native(family),
        "text_encoders.clip_l.transformer.": _clip_l(),
        "first_stage_model.": _vae(SD3_LATENT),
    }
    return {prefix + name: value for prefix, weights in parts.items() for name, value in weights.items()}


FILES: dict[str, Callable[[], StateDict]] = {
    "checkpoints/sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors": partial(_sd3_checkpoint, "sd35_medium"),
    "checkpoints/sd3.5_large_fp8_scaled.safetensors": partial(_sd3_checkpoint, "sd35_large"),
    "diffusion_models/flux1-dev.safetensors": partial(_native, "flux"),
    "checkpoints/sd_xl_base_1.0.safetensors": lambda: dict(make_model("sdxl").state_dict()),
    "text_encoders/clip_l.safetensors": _clip_l,
    "vae/ae.safetensors": partial(_vae, FLUX_LATENT),
    "vae/sdxl_vae.safetensors": partial(_vae, SDXL_LATENT),
}

CONTROLS = {"controlnet/sd3.5_large_controlnet_canny.safetensors": "sd35"}

LORAS: dict[str, Callable[[Path], None]] = {
    "loras/swd-medium-6-steps": partial(write_lora, "sd35_medium", seed=701, rank=8, alpha=20),
    "loras/swd-medium-4-steps": partial(write_lora, "sd35_medium", seed=702, rank=8, alpha=20),
    "loras/swd-large-4-steps": partial(write_lora, "sd35_large", seed=703, rank=8, alpha=20),
    "loras/swd_flux": partial(write_lora, "flux", seed=704, rank=8, alpha=4),
    "loras/swd-sdxl": partial(write_lora, "sdxl", seed=705, rank=4, alpha=10),
}


def write_all(out: Path, comfyui: Path) -> None:
    """Write the files and folders of all tables below ``out``; ``comfyui`` is ComfyUI's folder."""
    use_comfyui(comfyui)
    for name, make in FILES.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in make().items()}, path, metadata={"format": "pt"})
        print(f"{name}  {path.stat().st_size / 1e6:.1f} MB", flush=True)
    # Needs ComfyUI at import, which `use_comfyui` has made possible only now.
    from swd_dev.tiny.control import write_control

    for name, kind in CONTROLS.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_control(kind, out / name)
        print(f"{name}  {(out / name).stat().st_size / 1e6:.1f} MB", flush=True)
    for name, write in LORAS.items():
        write(out / name)
        size = (out / name / "adapter_model.safetensors").stat().st_size
        print(f"{name}/  {size / 1e6:.1f} MB", flush=True)
