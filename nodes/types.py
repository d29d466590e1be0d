"""What the nodes have in common."""

from __future__ import annotations

from comfy_api.latest import io

from ..swd_core.resize import METHODS

CATEGORY = "SwD"

ScheduleType = io.Custom("SWD_SCHEDULE")
DatasetType = io.Custom("SWD_DATASET")

TRAINING_ALIASES = ["SwD", "train LoRA", "distillation", "few step", "scale-wise", "DMD", "MMD"]


def upscale_method_input() -> io.Combo.Input:
    """The widget for the resize between stages."""
    return io.Combo.Input(
        "upscale_method",
        options=list(METHODS),
        default="bicubic",
        tooltip="How the clean latent grows between two steps. The LoRAs were trained with bicubic.",
    )
