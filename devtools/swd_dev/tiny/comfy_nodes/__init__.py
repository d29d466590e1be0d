"""Development-only node pack: link this folder into custom_nodes to load the tiny SDXL-like checkpoint."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import comfy.sd
import comfy.utils
import folder_paths
from comfy_api.latest import ComfyExtension, io


def _sdxl_module() -> ModuleType:
    """``swd_dev/tiny/sdxl.py`` by its real path: this folder is a link, and swd_dev is not importable in ComfyUI."""
    path = Path(__file__).resolve().parent.parent / "sdxl.py"
    spec = importlib.util.spec_from_file_location("swd_dev_tiny_sdxl", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Cannot load {path}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class SWDTinyCheckpoint(io.ComfyNode):
    """Stands in for Load Checkpoint, which does not recognise an SDXL this small."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDTinyCheckpoint",
            display_name="SwD Tiny Checkpoint (dev)",
            category="SwD/dev",
            inputs=[io.Combo.Input("ckpt_name", options=folder_paths.get_filename_list("checkpoints"))],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, ckpt_name: str) -> io.NodeOutput:
        weights = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("checkpoints", ckpt_name))
        model = _sdxl_module().load_sdxl(weights)
        clip = comfy.sd.load_clip(
            [folder_paths.get_full_path_or_raise("text_encoders", "clip_l.safetensors")],
            embedding_directory=folder_paths.get_folder_paths("embeddings"),
            clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION,
        )
        vae_path = folder_paths.get_full_path_or_raise("vae", "sdxl_vae.safetensors")
        vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(vae_path))
        vae.throw_exception_if_invalid()
        return io.NodeOutput(model, clip, vae)


class TinyExtension(ComfyExtension):
    """The node list of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [SWDTinyCheckpoint]


async def comfy_entrypoint() -> ComfyExtension:
    """Called by ComfyUI when it loads the folder."""
    return TinyExtension()
