"""Starting from a picture: denoise below 1, and tails of the sigmas."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_custom_sampler import SplitSigmas, SplitSigmasDenoise
from reference import CHANNELS, VAE_SCALE, ItemNoise, make_text, sample, stage_sizes
from running import advanced, all_in_one, conditioning, recorded, relative_error, schedule_of

BAR = 2e-6
SIZE = (32, 24)
CASES = [
    ("SD3.5 Medium, 6 steps", "sd35_medium", (32, 48, 64, 80, 96, 128), (1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022)),
    ("FLUX.1-dev, 4 steps", "flux", (64, 80, 96, 128), (1.0, 0.8956, 0.7363, 0.6007)),
    ("SDXL, 4 steps", "sdxl", (64, 80, 96, 128), (1.0, 0.8, 0.6, 0.4)),
]
IDS = [case[0] for case in CASES]


def picture(family: str, batch: int = 1) -> torch.Tensor:
    scale, shift = VAE_SCALE[family]
    return torch.randn(batch, CHANNELS[family], *SIZE, generator=torch.Generator().manual_seed(3)) / scale + shift


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_both_ways_start_at_the_same_stage_from_the_area_resized_picture(
    swd, load, diffusers_model, figure, case, first: int
) -> None:
    preset, family, scales, timesteps = case
    model, calls = recorded(load(family))
    positive, latent = conditioning(family, make_text(family)), {"samples": picture(family, 2)}
    by_denoise = all_in_one(swd, model, positive, latent, 5, preset, denoise=timesteps[first] + 1e-3)["samples"]
    sizes = stage_sizes(scales, *SIZE, 4 if family == "sdxl" else 2)[first:]
    assert [call.shape[-2:] for call in calls] == sizes
    _, tail = SplitSigmas.execute(sigmas=schedule_of(swd, model, preset)[1], step=first).result
    by_tail = advanced(swd, model, positive, latent, 5, preset, sigmas=tail)["samples"]
    with torch.inference_mode():
        expected = sample(
            family, diffusers_model(family), make_text(family), scales, timesteps, SIZE, ItemNoise(5, (0, 1)),
            latent=picture(family, 2), first=first,
        )  # fmt: skip
    figure("relative error", relative_error(by_denoise, expected), BAR)
    assert torch.equal(by_denoise, by_tail)
    assert relative_error(by_denoise, expected) <= BAR


def test_split_sigmas_denoise_gives_a_tail_too(swd, load) -> None:
    preset, family, _, timesteps = CASES[1]
    model, positive, latent = load(family), conditioning(family, make_text(family)), {"samples": picture(family)}
    _, tail = SplitSigmasDenoise.execute(sigmas=schedule_of(swd, model, preset)[1], denoise=0.5).result
    assert tail.tolist() == pytest.approx([*timesteps[2:], 0.0])
    by_tail = advanced(swd, model, positive, latent, 5, preset, sigmas=tail)["samples"]
    by_denoise = all_in_one(swd, model, positive, latent, 5, preset, denoise=timesteps[2])["samples"]
    assert torch.equal(by_tail, by_denoise)


@pytest.mark.parametrize("denoise", [0.6, 0.3, 0.0])
def test_the_last_stage_is_the_least(swd, load, denoise: float) -> None:
    preset, family, _, _ = CASES[1]
    model, calls = recorded(load(family))
    all_in_one(
        swd, model, conditioning(family, make_text(family)), {"samples": picture(family)}, 5, preset, denoise=denoise
    )
    assert [call.shape[-2:] for call in calls] == [SIZE]


def test_values_below_the_last_timestep_do_the_same(swd, load) -> None:
    preset, family, _, _ = CASES[1]
    positive, latent = conditioning(family, make_text(family)), {"samples": picture(family)}
    low, none = (
        all_in_one(swd, load(family), positive, latent, 5, preset, denoise=denoise)["samples"] for denoise in (0.6, 0.0)
    )
    assert torch.equal(low, none)
    assert relative_error(none, latent["samples"]) > 0.1, "the picture changes, even at 0"


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_at_denoise_1_the_content_of_the_input_does_not_matter(swd, load, case) -> None:
    preset, family, _, _ = case
    positive = conditioning(family, make_text(family))
    for run in (advanced, all_in_one):
        a, b = (
            run(swd, load(family), positive, {"samples": samples}, 5, preset)["samples"]
            for samples in (picture(family), torch.zeros(1, CHANNELS[family], *SIZE))
        )
        assert torch.equal(a, b)


def test_the_first_half_of_the_sigmas_is_refused_with_both_lengths(swd, load) -> None:
    preset, family, _, _ = CASES[1]
    head, _ = SplitSigmas.execute(sigmas=schedule_of(swd, load(family), preset)[1], step=2).result
    with pytest.raises(ValueError, match=r"^sigmas: 3 values for a schedule of 5\."):
        advanced(
            swd,
            load(family),
            conditioning(family, make_text(family)),
            {"samples": picture(family)},
            5,
            preset,
            sigmas=head,
        )


def test_sigmas_that_do_not_end_in_0_leave_noise_in_the_latent(swd, load, figure) -> None:
    """As ComfyUI's own samplers do for a flow model: x = (1 - s) x0 + s n, then divided by 1 - s."""
    preset, family, _, _ = CASES[1]
    model, positive, latent = load(family), conditioning(family, make_text(family)), {"samples": picture(family) * 0}
    _, sigmas = schedule_of(swd, model, preset)
    clean = advanced(swd, model, positive, latent, 5, preset, sigmas=sigmas)["samples"]
    noisy = advanced(swd, model, positive, latent, 5, preset, sigmas=torch.cat([sigmas[:-1], torch.tensor([0.25])]))
    noise = ItemNoise(5, (0,))
    for size in stage_sizes((64, 80, 96, 128), *SIZE, 2):
        noise(CHANNELS[family], size)
    scale, shift = VAE_SCALE[family]
    expected = (((clean - shift) * scale) * 0.75 + 0.25 * noise(CHANNELS[family], SIZE)) / 0.75 / scale + shift
    figure("relative error", relative_error(noisy["samples"], expected), BAR)
    assert relative_error(noisy["samples"], expected) <= BAR
