"""Patches that people put on a MODEL: they run at every size, or say in one sentence why they cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_freelunch import FreeU_V2
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from comfy_extras.nodes_nag import NAGuidance
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_sag import SelfAttentionGuidance
from reference import make_text
from running import advanced, all_in_one, conditioning, empty_latent, recorded, relative_error

SIZE = (32, 32)


def patched(node: Any, model: Any, **options: Any) -> Any:
    """Run a node that takes and gives a MODEL, whichever of ComfyUI's two node forms it has."""
    outputs = node.execute(model=model, **options) if hasattr(node, "execute") else node().patch(model, **options)
    return getattr(outputs, "result", outputs)[0]


def run(swd: dict[str, Any], model: Any, family: str, **options: Any) -> torch.Tensor:
    positive, negative = (conditioning(family, make_text(family, seed=seed)) for seed in (0, 1))
    values = {"negative": negative, "cfg": 2.0, **options}
    return all_in_one(swd, model, positive, empty_latent(family, SIZE), 2, "auto", **values)["samples"]


UNET_PATCHES = [
    pytest.param(PerturbedAttentionGuidance, {"scale": 3.0}, id="PAG"),
    pytest.param(SelfAttentionGuidance, {"scale": 0.5, "blur_sigma": 2.0}, id="SAG"),
    pytest.param(FreeU_V2, {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}, id="FreeU"),
    pytest.param(
        HyperTile, {"tile_size": 64, "swap_size": 2, "max_depth": 1, "scale_depth": False}, id="HyperTile"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("node", "options"), UNET_PATCHES)
def test_a_patch_of_the_unet_runs_at_every_stage(swd, load, node: Any, options: dict[str, Any]) -> None:
    model, calls = recorded(patched(node, load("sdxl"), **options))
    result = run(swd, model, "sdxl")
    assert {call.shape[-2:] for call in calls} == {(16, 16), (20, 20), (24, 24), (32, 32)}
    assert torch.isfinite(result).all()
    assert result.shape[-2:] == SIZE


@pytest.mark.parametrize("sample", [all_in_one, advanced])
def test_a_patch_that_needs_a_negative_prompt_says_so(swd, load, sample: Any) -> None:
    """ComfyUI gives it None, for which it has no use."""
    model = patched(SelfAttentionGuidance, load("sdxl"), scale=0.5, blur_sigma=2.0)
    positive = conditioning("sdxl", make_text("sdxl"))
    with pytest.raises(ValueError, match=r"^negative: a patch on the model needs a negative prompt\."):
        sample(swd, model, positive, empty_latent("sdxl", SIZE), 2, "auto")


@pytest.mark.parametrize("sample", [all_in_one, advanced])
def test_a_patch_that_does_without_a_negative_prompt_runs(swd, load, sample: Any) -> None:
    """Normalized Attention Guidance does nothing then, as with ComfyUI's own samplers."""
    model = patched(NAGuidance, load("flux"), nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5)
    positive, latent = conditioning("flux", make_text("flux")), empty_latent("flux", SIZE)
    guided, plain = (sample(swd, one, positive, latent, 2, "auto")["samples"] for one in (model, load("flux")))
    assert torch.equal(guided, plain)


def test_a_patch_that_draws_from_torch_gives_the_same_picture_for_the_same_seed(swd, load) -> None:
    """HyperTile chooses its tiles so. Both ways to sample leave torch's generator alike."""
    tiled = patched(HyperTile, load("sdxl"), tile_size=64, swap_size=3, max_depth=2, scale_depth=False)
    positive, latent = conditioning("sdxl", make_text("sdxl")), empty_latent("sdxl", (64, 64), 2, batch_index=[3, 1])
    pictures = []
    for sample in (all_in_one, advanced, all_in_one, advanced):
        torch.rand(len(pictures) + 1)
        pictures.append(sample(swd, tiled, positive, latent, 4, "auto")["samples"])
    assert all(torch.equal(pictures[0], picture) for picture in pictures)
    plain = all_in_one(swd, load("sdxl"), positive, latent, 4, "auto")["samples"]
    assert not torch.equal(pictures[0], plain), "HyperTile does something"


@pytest.mark.parametrize("node", [PerturbedAttentionGuidance, SelfAttentionGuidance])
def test_guidance_by_attention_changes_the_picture(swd, load, node: Any) -> None:
    options = dict(UNET_PATCHES[0].values[1] if node is PerturbedAttentionGuidance else UNET_PATCHES[1].values[1])
    assert (
        relative_error(run(swd, patched(node, load("sdxl"), **options), "sdxl"), run(swd, load("sdxl"), "sdxl")) > 1e-3
    )


@pytest.mark.parametrize("family", ["sd35_large", "sdxl"])
def test_easy_cache_resets_at_each_size_and_changes_nothing(swd, load, family: str) -> None:
    cached = patched(
        EasyCacheNode, load(family), reuse_threshold=0.2, start_percent=0.0, end_percent=1.0, verbose=False
    )
    assert torch.equal(run(swd, cached, family), run(swd, load(family), family))


def test_another_shift_changes_nothing_since_the_sigmas_are_explicit(swd, load) -> None:
    shifted = patched(ModelSamplingSD3, load("sd35_large"), shift=6.0)
    assert torch.equal(run(swd, shifted, "sd35_large"), run(swd, load("sd35_large"), "sd35_large"))


def test_apg_works_without_momentum_and_explains_itself_with_it(swd, load) -> None:
    calm = patched(APG, load("sd35_large"), eta=0.5, norm_threshold=5.0, momentum=0.0)
    assert torch.isfinite(run(swd, calm, "sd35_large")).all()
    eager = patched(APG, load("sd35_large"), eta=0.5, norm_threshold=5.0, momentum=0.5)
    with pytest.raises(RuntimeError) as error:
        run(swd, eager, "sd35_large")
    first_line, *_, remedy = str(error.value).splitlines()
    assert first_line == "Something on the model or in the prompt cannot follow the latent as it grows to 20 x 20."
    assert "Adaptive Projected Guidance works with momentum 0" in remedy
