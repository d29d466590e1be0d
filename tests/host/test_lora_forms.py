"""Forms of LoRA beside pairs: what ComfyUI's own loader makes of a file, SwD LoRA Loader makes of it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import folder_paths
import pytest
import torch
from running import relative_error
from safetensors.torch import save_file
from test_lora import apply, latent_of

import nodes as comfy_nodes

BLOCK = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_1_resnets_0_conv1"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    yield tmp_path
    folder_paths.folder_names_and_paths["loras"][0].remove(str(tmp_path))
    folder_paths.filename_list_cache.clear()


def normal(*shape: int, seed: int = 0, scale: float = 0.3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def loha() -> dict[str, torch.Tensor]:
    return {f"{BLOCK}.hada_w{i}_{half}": normal(*((128, 4) if half == "a" else (4, 128)), seed=i) for i in (1, 2)
            for half in "ab"}  # fmt: skip


FORMS: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "LoHa": loha,
    "LoHa with alpha": lambda: {**loha(), f"{BLOCK}.alpha": torch.tensor(1.0)},
    "LoKr": lambda: {f"{BLOCK}.lokr_w1": normal(4, 4), f"{BLOCK}.lokr_w2": normal(32, 32, seed=1)},
    "LoKr with alpha": lambda: {
        f"{BLOCK}.lokr_w1_a": normal(4, 2), f"{BLOCK}.lokr_w1_b": normal(2, 4, seed=1),
        f"{BLOCK}.lokr_w2": normal(32, 32, seed=2), f"{BLOCK}.alpha": torch.tensor(1.0),
    },
    "LoCon with a middle": lambda: {
        f"{CONV}.lora_down.weight": normal(4, 64, 1, 1), f"{CONV}.lora_mid.weight": normal(4, 4, 3, 3, seed=1),
        f"{CONV}.lora_up.weight": normal(128, 4, 1, 1, seed=2), f"{CONV}.alpha": torch.tensor(2.0),
    },
    "OFT": lambda: {f"{BLOCK}.oft_blocks": normal(16, 8, 8)},
    "OFT with alpha": lambda: {f"{BLOCK}.oft_blocks": normal(16, 8, 8), f"{BLOCK}.alpha": torch.tensor(0.5)},
    "BOFT with alpha": lambda: {f"{BLOCK}.oft_blocks": normal(2, 16, 8, 8), f"{BLOCK}.alpha": torch.tensor(0.5)},
    "GLoRA": lambda: {f"{BLOCK}.{name}.weight": normal(*shape, seed=i)
                      for i, (name, shape) in enumerate({"a1": (4, 128), "a2": (128, 4), "b1": (4, 128),
                                                         "b2": (128, 4)}.items())},
    "a DoRA of ComfyUI's kind": lambda: {
        f"{BLOCK}.lora_down.weight": normal(4, 128), f"{BLOCK}.lora_up.weight": normal(128, 4, seed=1),
        f"{BLOCK}.dora_scale": 1 + normal(128, 1, seed=2),
    },
    "a weight to set": lambda: {f"{BLOCK}.set_weight": normal(128, 128)},
    "a difference": lambda: {f"{BLOCK}.diff": normal(128, 128)},
    "a difference, of the bias too": lambda: {
        f"{CONV}.diff_b": normal(128), f"{CONV}.diff": normal(128, 64, 3, 3, scale=0.05),
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_equals_comfyuis_own_loader(swd, load, folder: Path, form: str) -> None:
    save_file(FORMS[form](), folder / "form.safetensors")
    ours, report = apply(swd, load("sdxl"), "form.safetensors")
    assert report.startswith("loaded 1 of 1 pairs")
    assert "NOT" not in report
    (own,) = comfy_nodes.LoraLoaderModelOnly().load_lora_model_only(load("sdxl"), "form.safetensors", 1.0)
    expected = latent_of(swd, own, "sdxl")
    assert relative_error(latent_of(swd, ours, "sdxl"), expected) <= 1e-6
    assert relative_error(latent_of(swd, load("sdxl"), "sdxl"), expected) > 1e-3, "the file must matter"
