"""Video latents [B, C, T, H, W]: regions, masks and context windows while height and width grow."""

from __future__ import annotations

from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
import pytest
import torch
import torch.nn.functional as F
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from reference import ItemNoise
from running import advanced, all_in_one, recorded, relative_error, schedule_of
from swd_dev.tiny.families import load_family, make_conditioning

from nodes import ConditioningCombine, ConditioningSetArea, ConditioningSetMask, SetLatentNoiseMask

SIZE, FRAMES, SEED = (16, 24), 6, 5
GROWING = ("2, 3, 4", "1.0, 0.8, 0.6")
REPEATED = ("1, 1, 1", "1.0, 0.8, 0.6")


@pytest.fixture(scope="module")
def wan() -> Any:
    return load_family("wan")


def video(**values: Any) -> dict[str, Any]:
    return {"samples": torch.zeros(1, 16, FRAMES, *SIZE), **values}


def windows(model: Any, freenoise: bool) -> Any:
    """Two windows of four frames, along time."""
    return ContextWindowsManualNode.execute(
        model=model, context_length=4, context_overlap=2, context_schedule="standard_static", context_stride=1,
        closed_loop=False, fuse_method="pyramid", dim=2, freenoise=freenoise,
    ).result[0]  # fmt: skip


def test_an_area_is_the_same_part_of_every_frame_at_every_stage(swd, wan) -> None:
    model, calls = recorded(wan)
    area = ConditioningSetArea().append(make_conditioning("wan"), width=96, height=64, x=96, y=64, strength=1.0)[0]
    everywhere = make_conditioning("wan", seed=1)
    all_in_one(swd, model, ConditioningCombine().combine(area, everywhere)[0], video(), SEED, GROWING)
    shapes = {call.shape[2:] for call in calls}
    assert shapes == {
        (FRAMES, 8, 12),
        (FRAMES, 4, 6),
        (FRAMES, 12, 18),
        (FRAMES, 6, 9),
        (FRAMES, 16, 24),
        (FRAMES, 8, 12),
    }


def test_a_mask_over_everything_is_no_mask(swd, wan) -> None:
    positive = make_conditioning("wan")
    masked = ConditioningSetMask().append(positive, torch.ones(1, 64, 64), "default", 1.0)[0]
    plain = all_in_one(swd, wan, positive, video(), SEED, GROWING)["samples"]
    assert relative_error(all_in_one(swd, wan, masked, video(), SEED, GROWING)["samples"], plain) <= 1e-6


def test_inpainting_keeps_what_is_not_masked(swd, wan) -> None:
    samples = torch.randn(1, 16, FRAMES, *SIZE, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(1, *SIZE)
    mask[..., :12] = 1
    latent = SetLatentNoiseMask().set_mask(video(samples=samples), mask)[0]
    result = all_in_one(swd, wan, make_conditioning("wan"), latent, SEED, GROWING)["samples"]
    assert (result - samples)[..., 12:].abs().max() <= 1e-5 * samples.abs().max()
    assert relative_error(result[..., :12], samples[..., :12]) > 0.1


def test_context_windows_at_one_size_are_those_of_comfyui(swd, wan) -> None:
    model, positive, noise = windows(wan, freenoise=False), make_conditioning("wan"), ItemNoise(SEED, (0,))
    shape = (FRAMES, *SIZE)
    ours = advanced(swd, model, positive, video(), SEED, REPEATED)["samples"]
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive})
    first = noise(16, shape)  # type: ignore[arg-type]
    sampler = comfy.samplers.KSAMPLER(
        comfy.k_diffusion.sampling.sample_lcm, {"noise_sampler": lambda *_: noise(16, shape)}
    )
    _, sigmas = schedule_of(swd, model, REPEATED)
    assert torch.equal(ours, guider.sample(first, torch.zeros_like(first), sampler, sigmas, seed=SEED))


@pytest.mark.parametrize("freenoise", [False, True])
def test_context_windows_run_at_every_stage(swd, wan, freenoise: bool) -> None:
    model, calls = recorded(windows(wan, freenoise))
    result = advanced(swd, model, make_conditioning("wan"), video(), SEED, GROWING)["samples"]
    assert result.shape == (1, 16, FRAMES, *SIZE)
    assert torch.isfinite(result).all()
    sizes = [call.shape[-2:] for call in calls]
    assert sizes == [size for size in ((8, 12), (12, 18), (16, 24)) for _ in range(2)], "two windows a stage"


def test_freenoise_rearranges_the_noise_of_every_stage(swd, wan) -> None:
    """It fills the frames after the first window from frames before: the noise of each stage holds repeated frames."""
    guider = comfy.samplers.CFGGuider(windows(wan, freenoise=True))
    guider.inner_set_conds({"positive": make_conditioning("wan")})
    schedule, sigmas = schedule_of(swd, wan, GROWING)
    sampler = swd["SamplerSWD"].execute(schedule=schedule, upscale_method="bicubic").result[0]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    start = torch.randn(1, 16, FRAMES, *SIZE, generator=torch.Generator().manual_seed(1))
    guider.sample(
        start,
        torch.zeros_like(start),
        sampler,
        sigmas,
        callback=lambda i, x0, x, total: seen.append((x, x0)),
        seed=SEED,
    )
    rule, clean = ItemNoise(SEED, (0,)), torch.zeros(1, 16, FRAMES, 8, 12)
    for (x, x0), sigma in zip(seen, sigmas.tolist(), strict=False):
        size = tuple(x.shape[-2:])
        drawn = rule(16, (FRAMES, *size))[0].unbind(1)  # type: ignore[arg-type]
        grown = torch.stack([F.interpolate(frame, size=size, mode="bicubic") for frame in clean.unbind(2)], dim=2)
        used = ((x - (1 - sigma) * grown) / sigma)[0].unbind(1)
        origin = [[torch.allclose(frame, source, atol=1e-4) for source in drawn].index(True) for frame in used]
        assert origin[:4] == [0, 1, 2, 3]
        assert len(set(origin)) < FRAMES
        clean = x0
