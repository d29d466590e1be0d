"""Nodes for latents."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..swd_core.host.sampling import upscale_latent
from .types import CATEGORY, upscale_method_input


class SWDLatentUpscale(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDLatentUpscale",
            display_name="SwD Latent Upscale",
            category=CATEGORY,
            description="Resizes a clean latent as SwD does between two steps.",
            search_aliases=["SwD", "scale-wise", "progressive", "LCM upscale", "latent upscale", "bicubic latent"],
            inputs=[
                io.Latent.Input("samples", tooltip="A clean latent: the output of a sampler, or an encoded picture."),
                upscale_method_input(),
                io.Float.Input(
                    "scale_by",
                    default=2.0,
                    min=0.01,
                    max=8.0,
                    step=0.01,
                    tooltip="Factor for both sides of the latent: 2.0 makes four times as many pixels.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="The resized latent.")],
        )

    @classmethod
    def execute(cls, samples: Any, upscale_method: str, scale_by: float) -> io.NodeOutput:
        return io.NodeOutput(upscale_latent(samples, upscale_method, scale_by))


NODES = [SWDLatentUpscale]
