"""The demo's own workflow: teacher, student LoRA and autoencoder of the toy world, as an API prompt."""

from .client import Prompt
from .paths import DEVTOOLS

# Laid out like ComfyUI's models folder.
TOY_MODELS = DEVTOOLS / "toy"
TEACHER = "swd_toy_teacher.safetensors"
VAE = "swd_toy_vae.safetensors"
LORA = "swd-toy-4-steps/adapter_model.safetensors"
TEXT = "two red circles above a blue square"
SIDE = 128


def has_toy_world() -> bool:
    """Whether the repository holds the trained files."""
    return (TOY_MODELS / "loras" / LORA).is_file()


def toy_prompt() -> Prompt:
    """Return the workflow with the text, size and seed that `set_text`, `set_size` and `set_seed` replace."""
    return {
        "1": _node("UNETLoader", unet_name=TEACHER, weight_dtype="default"),
        "2": _node("SWDLoraLoader", model=["1", 0], lora_name=LORA, strength_model=1.0),
        "3": _node("CLIPLoader", clip_name="clip_l.safetensors", type="sd3", device="default"),
        "4": _node("CLIPTextEncode", clip=["3", 0], text=TEXT),
        "5": _node("EmptySD3LatentImage", width=SIDE, height=SIDE, batch_size=1),
        # The header of the LoRA names its schedule: latents of 8, 10, 12 and 16 for a picture of 128 pixels.
        "6": _node("SWDScaleSchedule", model=["2", 0], preset="auto"),
        "7": _node(
            "SWDSampler",
            model=["2", 0],
            positive=["4", 0],
            latent_image=["5", 0],
            schedule=["6", 0],
            seed=0,
            cfg=1.0,
            denoise=1.0,
            upscale_method="bicubic",
        ),
        "8": _node("VAELoader", vae_name=VAE),
        "9": _node("VAEDecode", samples=["7", 0], vae=["8", 0]),
        "10": _node("SaveImage", images=["9", 0], filename_prefix="SwD toy world"),
    }


def _node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}
