"""Nodes that sample."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..swd_core.host.sampler import ScaleWiseSampler
from ..swd_core.host.sampling import sample_latent
from .types import CATEGORY, ScheduleType, upscale_method_input

_ALIASES = [
    "SwD", "scale-wise", "few step", "progressive", "LCM upscale", "scalewise sampler", "yandex", "faster", "speed up",
]  # fmt: skip


class SamplerSWD(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SamplerSWD",
            display_name="Sampler SwD",
            category=CATEGORY,
            description="The SwD sampler for SamplerCustomAdvanced. The latent image there has the final size.",
            search_aliases=_ALIASES,
            inputs=[
                ScheduleType.Input(
                    "schedule",
                    tooltip="From SwD Scale Schedule or SwD Custom Schedule; the sigmas of that node go to "
                    "SamplerCustomAdvanced.",
                ),
                upscale_method_input(),
            ],
            outputs=[
                io.Sampler.Output(display_name="sampler", tooltip="For the sampler input of SamplerCustomAdvanced.")
            ],
        )

    @classmethod
    def execute(cls, schedule: Any, upscale_method: str) -> io.NodeOutput:
        return io.NodeOutput(ScaleWiseSampler(schedule, upscale_method))


class SWDSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDSampler",
            display_name="SwD Sampler",
            category=CATEGORY,
            description="Samples a picture scale by scale: it starts small and grows to the size of latent_image.",
            search_aliases=_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The model with its SwD LoRA."),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="What to avoid. Has no effect while cfg is 1.0."
                ),
                io.Latent.Input(
                    "latent_image",
                    tooltip="A latent of the final size: empty for text to image, else an encoded picture.",
                ),
                ScheduleType.Input("schedule", tooltip="From SwD Scale Schedule or SwD Custom Schedule."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="Seed of the noise. Picture k of a batch, counted from 0, equals a single picture with "
                    "seed + k.",
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Keep 1.0, which SwD was trained for. "
                    "Any other value needs a negative prompt and twice the work.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1.0 the run starts from latent_image, at the first step whose timestep is not above "
                    "this value. The last step always runs, so all values below its timestep (0.6 in most presets, 0.4 "
                    "for SDXL) do the same.",
                ),
                upscale_method_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The finished latent, at the size of latent_image.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        latent_image: Any,
        schedule: Any,
        seed: int,
        cfg: float,
        denoise: float,
        upscale_method: str,
        negative: Any = None,
    ) -> io.NodeOutput:
        return io.NodeOutput(
            sample_latent(model, positive, negative, latent_image, schedule, seed, cfg, denoise, upscale_method)
        )


NODES = [SamplerSWD, SWDSampler]
