"""Guide pictures of LTX-Video: their tokens have the places that ComfyUI's node gives them at the size of a stage."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import pytest
import torch
import torch.nn.functional as F
from comfy_extras.nodes_lt import LTXVAddGuide, LTXVCropGuides
from reference import stage_sizes
from running import advanced, recorded
from stepwise import picture
from swd_dev.tiny.families import TEXT_LENGTH, TEXT_WIDTH, make_conditioning, make_patcher
from swd_dev.tiny.weights import seed_weights
from torch import Tensor

FRAMES, SIZE = 6, (8, 12)
# From the half on, the tokens of one guide are fewer than those of a stage; at a quarter the stage has less.
SCALES, TIMESTEPS = (4, 8, 16), "1.0, 0.7, 0.4"
GUIDES = {"one": [(16, 1.0)], "two": [(16, 0.6), (0, 1.0)]}
Guided = tuple[list[Any], dict[str, Any]]


@pytest.fixture(scope="module")
def ltxv() -> Any:
    config = {
        "image_model": "ltxv",
        "num_layers": 1,
        "num_attention_heads": 4,
        "attention_head_dim": 16,
        "cross_attention_dim": 64,
        "caption_channels": TEXT_WIDTH,
    }
    patcher = make_patcher("LTXV", config, comfy.model_management.unet_offload_device())
    seed_weights(patcher.model.diffusion_model, 3)
    return patcher


class Vae:
    """Makes a latent of an LTX-Video picture: 32 x 32 pixels to a latent pixel."""

    downscale_index_formula = (8, 32, 32)

    def encode(self, pixels: Tensor) -> Tensor:
        shrunk = F.avg_pool2d(pixels.movedim(-1, 1), 32)
        return shrunk.mean(dim=1, keepdim=True).expand(-1, 128, -1, -1)[:, :, None]


def guided(size: tuple[int, int], guides: list[tuple[int, float]]) -> Guided:
    """Prompt and latent behind Add Guide, one for each frame and strength, for a video of `size`."""
    (prompt,) = make_conditioning("ltxv")
    positive = negative = [[prompt[0], {"attention_mask": torch.ones(1, TEXT_LENGTH)}]]
    latent = {"samples": torch.zeros(1, 128, FRAMES, *size)}
    for frame, strength in guides:
        positive, negative, latent = LTXVAddGuide.execute(
            positive, negative, Vae(), latent, picture((32, 32), seed=3), frame, strength
        ).result[:3]
    return positive, latent


@pytest.mark.parametrize("guides", GUIDES.values(), ids=GUIDES)
def test_guides_have_the_tokens_of_the_stage(swd, ltxv, guides: list[tuple[int, float]]) -> None:
    model, calls = recorded(ltxv)
    positive, latent = guided(SIZE, guides)
    result = advanced(swd, model, positive, latent, 2, (", ".join(map(str, SCALES)), TIMESTEPS))["samples"]
    assert torch.isfinite(result).all()
    assert [call.shape[-2:] for call in calls] == stage_sizes(SCALES, *SIZE, 1)
    for call in calls:
        expected = guided(call.shape[-2:], guides)[0][0][1]
        assert torch.equal(call.conditions["keyframe_idxs"], expected["keyframe_idxs"])
        assert call.conditions["guide_attention_entries"] == expected["guide_attention_entries"]
    assert torch.equal(positive[0][1]["keyframe_idxs"], guided(SIZE, guides)[0][0][1]["keyframe_idxs"])


def test_a_prompt_whose_guides_were_cut_off_runs(swd, ltxv) -> None:
    positive, latent = guided(SIZE, GUIDES["one"])
    positive, _, latent = LTXVCropGuides.execute(positive, positive, latent).result
    result = advanced(swd, ltxv, positive, latent, 2, ("8, 16", "1.0, 0.5"))["samples"]
    assert result.shape[2:] == (FRAMES, *SIZE)


def test_a_guide_with_a_grid_of_its_own_needs_the_size_of_the_video(swd, ltxv) -> None:
    """As with iclora_parameters. Shrunk with the latent, the model would leave it out without a word."""
    positive, latent = guided(SIZE, GUIDES["one"])
    entries = positive[0][1]["guide_attention_entries"]
    entries[0]["latent_shape"] = [1, SIZE[0] // 2, SIZE[1] // 2]
    model, calls = recorded(ltxv)
    advanced(swd, model, positive, latent, 2, ("1, 1", "1.0, 0.5"))
    assert [call.conditions["guide_attention_entries"] for call in calls] == [entries, entries]
    with pytest.raises(ValueError, match=r"^latent_image: a guide in it cannot follow the latent as it grows\.\n"):
        advanced(swd, ltxv, positive, latent, 2, ("8, 16", "1.0, 0.5"))
