"""SwD (Scale-wise Distillation) for ComfyUI: a sampler that starts on a small latent and grows it."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .nodes import NODES

WEB_DIRECTORY = "./web"


class SWDExtension(ComfyExtension):
    """The nodes of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> SWDExtension:
    """Called by ComfyUI when it loads the pack."""
    return SWDExtension()
