"""The node that compiles."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..swd_core.host.compiled import compile_stages
from .types import CATEGORY


class SWDCompile(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDCompile",
            display_name="SwD Compile",
            category=CATEGORY,
            description="Compiles the model with torch.compile, one graph for each size of the latent. The first run "
            "of a size takes minutes, later ones reuse its graph. Where that does not work, the model runs as it is.",
            search_aliases=["SwD", "scale-wise", "torch.compile", "torch compile", "speed up", "faster", "inductor"],
            inputs=[
                io.Model.Input("model", tooltip="The model with its LoRAs. Connect it last, before the sampler."),
                io.Boolean.Input(
                    "cuda_graphs",
                    default=False,
                    tooltip="Replay the small steps as CUDA graphs, so that the GPU need not wait for Python. NVIDIA "
                    "only, and needs some more memory.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, compiled as it runs.")],
            is_experimental=True,
        )

    @classmethod
    def execute(cls, model: Any, cuda_graphs: bool) -> io.NodeOutput:
        return io.NodeOutput(compile_stages(model, cuda_graphs))


NODES = [SWDCompile]
