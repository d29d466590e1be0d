"""Nodes that draw."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..swd_core.plot import schedule_image
from .types import CATEGORY, ScheduleType


class SWDSchedulePlot(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDSchedulePlot",
            display_name="SwD Schedule Plot",
            category=CATEGORY,
            description="Draws a schedule: size, timestep and share of the work of every step, and the speed-up.",
            search_aliases=["SwD", "scale-wise", "schedule preview", "sigmas plot"],
            is_output_node=True,
            inputs=[
                ScheduleType.Input("schedule", tooltip="From SwD Scale Schedule or SwD Custom Schedule."),
                _side("width", "Width of the picture you want, in pixels."),
                _side("height", "Height of the picture you want, in pixels."),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The drawing as an image of 960 x 600 pixels.")],
        )

    @classmethod
    def execute(cls, schedule: Any, width: int, height: int) -> io.NodeOutput:
        image = schedule_image(schedule, width, height)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


def _side(name: str, tooltip: str) -> io.Int.Input:
    return io.Int.Input(name, default=1024, min=16, max=16384, step=8, tooltip=tooltip)


NODES = [SWDSchedulePlot]
