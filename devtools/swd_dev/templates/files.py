"""Where the model files of the templates come from."""

from __future__ import annotations

from swd_dev.graph import File

HUB = "https://huggingface.co"
_SD35 = f"{HUB}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main"
_TEXT = f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main"
_CONTROL = f"{HUB}/Comfy-Org/stable-diffusion-3.5-controlnets_ComfyUI_repackaged/resolve/main/split_files/controlnet"


def _file(directory: str, folder_url: str, name: str, size: str) -> File:
    return File(name, directory, f"{folder_url}/{name}", size)


def lora(repository: str) -> File:
    """The LoRA of a hub repository, under the repository's name.

    Every repository calls its file adapter_model.safetensors. ComfyUI's front end looks for a missing model by its bare
    name, and Desktop saves it under that name, so each needs one of its own.
    """
    return File(f"{repository}.safetensors", "loras", _published(repository, "adapter_model.safetensors"), "")


def lora_config(repository: str) -> File:
    """The PEFT configuration of a hub repository's LoRA, under the name that the loader looks for beside the LoRA."""
    return File(f"{repository}.adapter_config.json", "loras", _published(repository, "adapter_config.json"), "")


def _published(repository: str, name: str) -> str:
    return f"{HUB}/yresearch/{repository}/resolve/main/{name}"


MEDIUM = _file("checkpoints", _SD35, "sd3.5_medium_incl_clips_t5xxlfp8scaled.safetensors", "11 GB")
LARGE = _file("checkpoints", _SD35, "sd3.5_large_fp8_scaled.safetensors", "15 GB")
SDXL = _file(
    "checkpoints", f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main", "sd_xl_base_1.0.safetensors", "7 GB"
)
FLUX = _file("diffusion_models", f"{HUB}/Comfy-Org/flux1-dev/resolve/main", "flux1-dev.safetensors", "24 GB")
CLIP_L = _file("text_encoders", _TEXT, "clip_l.safetensors", "0.2 GB")
T5 = _file("text_encoders", _TEXT, "t5xxl_fp16.safetensors", "10 GB")
AE = _file(
    "vae", f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae", "ae.safetensors", "0.3 GB"
)
CANNY = _file("controlnet", _CONTROL, "sd3.5_large_controlnet_canny.safetensors", "9 GB")
