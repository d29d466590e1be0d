"""A real ComfyUI in this process, on the CPU, with the pack loaded by ComfyUI's own loader and tiny models."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from swd_dev.client import ComfyClient
from swd_dev.server import ComfyServer
from swd_dev.tiny.comfyui import use_comfyui

use_comfyui(Path(os.environ["COMFYUI_PATH"]))

import comfy.sd  # noqa: E402
import folder_paths  # noqa: E402
import torch  # noqa: E402
from distilling import FAMILY, PROMPTS, SCHEDULE  # noqa: E402
from running import schedule_of  # noqa: E402
from serving import serve  # noqa: E402
from stepwise import load_vae  # noqa: E402
from swd_dev.tiny.loading import load_model  # noqa: E402
from swd_dev.tiny.models import make_model, make_peft_model  # noqa: E402

import nodes as comfy_nodes  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def swd(pack: Path, tiny_models: Path) -> dict[str, Any]:
    """Node classes by id, as ComfyUI registered them."""
    for kind in ("checkpoints", "diffusion_models", "loras", "vae", "text_encoders"):
        folder_paths.add_model_folder_path(kind, str(tiny_models / kind))
    before = set(comfy_nodes.NODE_CLASS_MAPPINGS)
    assert asyncio.run(comfy_nodes.load_custom_node(str(pack))), "ComfyUI could not load the pack"
    return {name: comfy_nodes.NODE_CLASS_MAPPINGS[name] for name in set(comfy_nodes.NODE_CLASS_MAPPINGS) - before}


@pytest.fixture(scope="module", autouse=True)
def own_model_folders(swd) -> Iterator[None]:
    """What a module adds to ComfyUI's model folders is its own: files of another may have the same names."""
    before = {kind: list(paths) for kind, (paths, _) in folder_paths.folder_names_and_paths.items()}
    yield
    for kind, paths in before.items():
        folder_paths.folder_names_and_paths[kind][0][:] = paths
    folder_paths.filename_list_cache.clear()


@pytest.fixture(scope="session")
def load(tiny_models: Path):
    """Load the tiny model of a family with ComfyUI's own loader; one instance a session."""
    return cache(lambda family: load_model(family, tiny_models))


@pytest.fixture(scope="session")
def vae_of(tiny_models: Path):
    """The tiny VAE of a family; one instance a session."""
    return cache(lambda family: load_vae(family, tiny_models))


@pytest.fixture(scope="session")
def diffusers_model(tiny_models: Path):
    """The diffusers twin of a tiny model, with or without a PEFT LoRA; one instance a session."""
    made: dict[tuple[str, str | None], torch.nn.Module] = {}

    def by_family(family: str, lora: str | None = None) -> torch.nn.Module:
        key = (family, lora)
        if key not in made:
            made[key] = make_model(family) if lora is None else make_peft_model(family, tiny_models / "loras" / lora)
        return made[key]

    return by_family


@pytest.fixture(scope="session")
def server(pack: Path, comfyui: Path, tiny_models: Path) -> Iterator[ComfyServer]:
    """A live ComfyUI server with the pack and the tiny models; one a session."""
    with ComfyServer(comfyui, Path(os.environ["SWD_SERVER_PYTHON"]), pack, tiny_models) as running:
        # A picture that is see-through on the right: ComfyUI makes a mask of that.
        picture = Image.effect_noise((256, 192), 60).convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").rotate(90).resize((256, 192)).point(lambda v: 255 * (v < 128)))
        picture.save(running.base_directory / "input" / "example.png")
        yield running


@pytest.fixture(scope="session")
def fault_server(comfyui: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server for faults and load, with the nodes of `fault_nodes`; one a session."""
    with serve(comfyui, tiny_models, tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: ComfyServer) -> ComfyClient:
    return ComfyClient(server.url)


@pytest.fixture(scope="session")
def object_info(client: ComfyClient) -> dict[str, Any]:
    return client.object_info()


@pytest.fixture(scope="module")
def clip(tiny_models: Path) -> Any:
    path = str(tiny_models / "text_encoders" / "clip_l.safetensors")
    return comfy.sd.load_clip([path], clip_type=comfy.sd.CLIPType.SD3)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An output folder of our own, with its loras among those that ComfyUI lists, as main.py adds them."""
    before, folder = folder_paths.get_output_directory(), tmp_path_factory.mktemp("output")
    folder_paths.set_output_directory(str(folder))
    folder_paths.add_model_folder_path("loras", str(folder / "loras"))
    yield folder
    folder_paths.set_output_directory(before)


@pytest.fixture(scope="module")
def make_teacher(swd, load, vae_of, clip, output):
    """Run SWDTeacherDataset."""

    def run(**changes: Any) -> tuple[Any, str]:
        model = changes.pop("model", None) or load(FAMILY)
        schedule = schedule_of(swd, model, SCHEDULE)[0]
        values = {
            "prompts": PROMPTS, "negative_prompt": "", "dataset_name": "pictures", "images_per_prompt": 2, "width": 64,
            "height": 64, "first_seed": 5, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple",
            "guidance": 4.5, **changes,
        }  # fmt: skip
        node = swd["SWDTeacherDataset"]
        with torch.inference_mode():
            return node.execute(model=model, clip=clip, vae=vae_of(FAMILY), schedule=schedule, **values).result

    return run


@pytest.fixture(scope="module")
def distill(swd, load, make_teacher):
    """Run SWDDistillLora, as ComfyUI does: in inference mode. `teacher`: changes to the run of SWDTeacherDataset."""

    def run(**changes: Any) -> tuple[Any, str, torch.Tensor, str]:
        model = changes.pop("model", None) or load(FAMILY)
        pictures = {"dataset_name": "pictures", **changes.pop("teacher", {})}
        schedule = changes.pop("schedule", None) or schedule_of(swd, model, SCHEDULE)[0]
        values = {
            "lora_name": "student", "existing_run": "continue", "steps": 4, "batch_size": 2, "rank": 4,
            "learning_rate": 0.01, "training_seed": 1, "mmd": True, "dmd": False, "gan": False, "mmd_kernel": "linear",
            "teacher_cfg": 3.0, "fake_steps": 1, "micro_batch": 0, "precision": "fp32", "lora_dtype": "fp32",
            "gradient_checkpointing": True, "ema": 0.0, "save_every": 2, "preview_every": 2, **changes,
        }  # fmt: skip
        with torch.inference_mode():
            dataset = make_teacher(**pictures)[0]
            return swd["SWDDistillLora"].execute(model=model, dataset=dataset, schedule=schedule, **values).result

    return run
