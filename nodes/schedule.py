"""Nodes that make a schedule."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..swd_core.host.schedules import schedule_from_preset, schedule_from_text, sigmas_tensor
from ..swd_core.presets import AUTO, OPTIONS
from ..swd_core.schedule import SCALES_EXAMPLE, TIMESTEPS_EXAMPLE, Schedule
from .types import CATEGORY, ScheduleType

_ALIASES = ["SwD", "scale-wise", "few step", "progressive", "LCM upscale", "yandex"]


def _outputs() -> list[Any]:
    return [
        ScheduleType.Output(
            display_name="schedule", tooltip="Size and noise level of every step, for the SwD sampler."
        ),
        io.Sigmas.Output(display_name="sigmas", tooltip="The noise levels alone, for SamplerCustomAdvanced."),
    ]


def _result(schedule: Schedule) -> io.NodeOutput:
    return io.NodeOutput(schedule, sigmas_tensor(schedule))


class SWDScaleSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDScaleSchedule",
            display_name="SwD Scale Schedule",
            category=CATEGORY,
            description="A published SwD schedule: the size and the noise level that each step runs at.",
            search_aliases=_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The model that will be sampled, after the SwD LoRA."),
                io.Combo.Input(
                    "preset",
                    options=list(OPTIONS),
                    default=AUTO,
                    tooltip="auto takes the schedule of the LoRA that SwD LoRA Loader put on the model, else the "
                    "default of its family. After another loader choose it by hand.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, model: Any, preset: str) -> io.NodeOutput:
        return _result(schedule_from_preset(model, preset))


class SWDCustomSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDCustomSchedule",
            display_name="SwD Custom Schedule",
            category=CATEGORY,
            description="A schedule of your own: one scale and one timestep for each step.",
            search_aliases=_ALIASES,
            inputs=[
                io.Model.Input("model", tooltip="The model that will be sampled. Its noise scale decides the sigmas."),
                io.String.Input(
                    "scales",
                    default=SCALES_EXAMPLE,
                    tooltip="One number per step, from small to large. Only the ratios to the last one matter.",
                ),
                io.String.Input(
                    "timesteps",
                    default=TIMESTEPS_EXAMPLE,
                    tooltip="One t in (0, 1] per step, falling: the model's timestep divided by 1000. 1 is pure noise.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, model: Any, scales: str, timesteps: str) -> io.NodeOutput:
        return _result(schedule_from_text(model, scales, timesteps))


NODES = [SWDScaleSchedule, SWDCustomSchedule]
