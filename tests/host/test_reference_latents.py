"""Reference latents (Kontext and other edit models): pictures that join the model's tokens beside the latent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider
from comfy_extras.nodes_edit_model import ReferenceLatent
from comfy_extras.nodes_flux import FluxKontextMultiReferenceLatentMethod
from einops import rearrange
from reference import VAE_SCALE, ItemNoise, make_text, sample, stage_sizes
from running import advanced, all_in_one, conditioning, empty_latent, recorded, relative_error
from stepwise import one_run_a_stage
from torch import Tensor, nn

BAR = 2e-6
SEED = 51
PRESET = "FLUX.1-dev, 4 steps"
SCALES = (64, 80, 96, 128)
TIMESTEPS = (1.0, 0.8956, 0.7363, 0.6007)
TARGET = (26, 18)
SIZES = stage_sizes(SCALES, *TARGET, 2)
# As large as the target, and another shape.
REFERENCE_SIZES = ((26, 18), (12, 20))


def reference_latents(count: int) -> list[Tensor]:
    """Latents as a VAE encoder would give them."""
    scale, shift = VAE_SCALE["flux"]
    generator = torch.Generator().manual_seed(41)
    return [torch.randn(1, 16, *size, generator=generator) / scale + shift for size in REFERENCE_SIZES[:count]]


def prompt_with(references: list[Tensor], method: str | None = None) -> list[Any]:
    """A prompt behind one node Reference Latent for each, and the node that chooses where their positions lie."""
    prompt = conditioning("flux", make_text("flux"))
    for latent in references:
        prompt = ReferenceLatent.execute(conditioning=prompt, latent={"samples": latent}).result[0]
    if method is not None:
        prompt = FluxKontextMultiReferenceLatentMethod.execute(
            conditioning=prompt, reference_latents_method=method
        ).result[0]
    return prompt


def token_count(size: tuple[int, ...]) -> int:
    return size[-2] // 2 * (size[-1] // 2)


@contextmanager
def image_tokens(model: Any) -> Iterator[list[int]]:
    """How many image tokens go into the first block at every forward pass."""
    counts: list[int] = []

    def note(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        counts.append(options["img"].shape[1])

    block = model.model.diffusion_model.double_blocks[0]
    handle = block.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield counts
    finally:
        handle.remove()


def check(figure, result: Tensor, expected: Tensor) -> None:
    error = relative_error(result, expected)
    figure("relative error", error, BAR)
    assert error <= BAR


@pytest.mark.parametrize("method", [None, "index", "uxo/uno"])
@pytest.mark.parametrize("count", [1, 2])
def test_reference_latents_join_every_stage_in_their_own_size(
    swd, load, figure, count: int, method: str | None
) -> None:
    """The model sees every reference latent at every stage whole, in the size and at the positions it came with: only
    the picture grows, so at a small stage a reference counts more tokens against it than at the last one."""
    model, calls = recorded(load("flux"))
    references = reference_latents(count)
    prompt = prompt_with(references, method)
    with image_tokens(model) as counts:
        result = advanced(swd, model, prompt, empty_latent("flux", TARGET, 2), SEED, PRESET)["samples"]
    assert [call.shape[-2:] for call in calls] == SIZES
    assert counts == [token_count(size) + sum(token_count(latent.shape) for latent in references) for size in SIZES]
    scale, shift = VAE_SCALE["flux"]
    for call in calls:
        for seen, latent in zip(call.conditions["ref_latents"], references, strict=True):
            assert torch.allclose(seen, ((latent - shift) * scale).expand_as(seen), atol=1e-6)

    expected = one_run_a_stage(
        "flux",
        lambda stage: BasicGuider.execute(model=load("flux"), conditioning=prompt).result[0],
        SIZES,
        TIMESTEPS,
        ItemNoise(SEED, (0, 1)),
    )
    check(figure, result, expected)


class Kontext(nn.Module):
    """diffusers' transformer called as FluxKontextPipeline calls it: the reference's tokens behind the picture's, with
    1 in the first number of their positions."""

    def __init__(self, model: nn.Module, latent: Tensor) -> None:
        super().__init__()
        self.model = model
        height, width = latent.shape[-2] // 2, latent.shape[-1] // 2
        self.tokens = rearrange(latent, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
        self.ids = torch.cat([torch.ones(len(places), 1), places], dim=1)

    def forward(self, hidden_states: Tensor, img_ids: Tensor, **inputs: Tensor) -> Any:
        output = self.model(
            hidden_states=torch.cat([hidden_states, self.tokens.expand(len(hidden_states), -1, -1)], dim=1),
            img_ids=torch.cat([img_ids, self.ids]),
            **inputs,
        )
        output.sample = output.sample[:, : hidden_states.shape[1]]
        return output


def test_equals_the_diffusers_kontext_call(swd, load, diffusers_model, figure) -> None:
    text, latent = make_text("flux"), reference_latents(1)[0]
    scale, shift = VAE_SCALE["flux"]
    with torch.inference_mode():
        twin = Kontext(diffusers_model("flux"), (latent - shift) * scale)
        expected = sample("flux", twin, text, SCALES, TIMESTEPS, TARGET, ItemNoise(SEED, (0,)))
    empty = empty_latent("flux", TARGET)
    result = all_in_one(swd, load("flux"), prompt_with([latent]), empty, SEED, PRESET)["samples"]
    check(figure, result, expected)
    without = all_in_one(swd, load("flux"), prompt_with([]), empty, SEED, PRESET)["samples"]
    effect = relative_error(without, result)
    figure("effect of the reference", effect)
    assert effect > 0.02, "a reference that hardly changes the latent would prove nothing"
