"""A node for the tests: a model that fails at one size, as a real one does. Linked into a server's custom_nodes."""

from __future__ import annotations

import time
from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io

SLOW_SECONDS = 0.4
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB."


class SWDTestFault(io.ComfyNode):
    """`kind`: out of memory, NaN, or slow (every forward pass). `width`: of the latent where it happens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDTestFault",
            category="SwD/dev",
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("kind", options=["out of memory", "NaN", "slow"]),
                io.Int.Input("width"),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, kind: str, width: int) -> io.NodeOutput:
        def forward(apply_model: Any, arguments: dict[str, Any]) -> torch.Tensor:
            hit = arguments["input"].shape[-1] == width
            if hit and kind == "out of memory":
                raise torch.OutOfMemoryError(OUT_OF_MEMORY)
            if kind == "slow":
                time.sleep(SLOW_SECONDS)
            out: torch.Tensor = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
            if hit and kind == "NaN":
                out[0, 0, 0, 0] = float("nan")
            return out

        clone = model.clone()
        clone.set_model_unet_function_wrapper(forward)
        return io.NodeOutput(clone)


class FaultExtension(ComfyExtension):
    """The node list of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SWDTestFault]


async def comfy_entrypoint() -> FaultExtension:
    """Called by ComfyUI when it loads the pack."""
    return FaultExtension()
