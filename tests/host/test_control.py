"""ControlNet and T2I-Adapter: the hint follows the size of the stage, and start and end mean the same noise levels.

The control models are tiny ones of the real architectures, in files that ComfyUI's own loader recognises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.controlnet
import comfy.utils
import folder_paths
import pytest
import torch
from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider
from einops import rearrange
from reference import VAE_SCALE, ItemNoise, make_text, sample, stage_sizes
from running import advanced, all_in_one, conditioning, empty_latent, relative_error
from stepwise import one_run_a_stage, picture, sigmas_of
from swd_dev.tiny.control import CONTROL_KINDS, make_control, write_control
from torch import Tensor, nn

from nodes import ControlNetApplyAdvanced, ControlNetLoader

BAR = 2e-6
SEED = 11
STRENGTH = 0.8
SCALES = (64, 80, 96, 128)


@dataclass(frozen=True)
class Setup:
    """A model family with its published schedule, written down again, and a target in latent pixels."""

    family: str
    preset: str
    timesteps: tuple[float, ...]
    size: tuple[int, int]
    multiple: int

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return stage_sizes(SCALES, *self.size, self.multiple)


SD3 = Setup("sd35_large", "SD3.5 Large, 4 steps", (1.0, 0.8959, 0.7371, 0.6022), (26, 18), 2)
FLUX = Setup("flux", "FLUX.1-dev, 4 steps", (1.0, 0.8956, 0.7363, 0.6007), (26, 18), 2)
SDXL = Setup("sdxl", "SDXL, 4 steps", (1.0, 0.8, 0.6, 0.4), (24, 20), 4)
SETUPS = {"sd3": SD3, "sd35": SD3, "flux": FLUX, "sdxl": SDXL, "t2i_sdxl": SDXL}
# Hints of these go through the VAE; the others take the picture itself, 8 pixels to a latent pixel.
IN_LATENT_SPACE = ("sd3", "sd35", "flux")

Prompt = list[Any]
Apply = Callable[..., tuple[Prompt, Prompt]]


@pytest.fixture(scope="module")
def control_of(tmp_path_factory) -> Callable[[str], Any]:
    """Load a tiny control model with ComfyUI's node; one instance a kind."""
    folder = tmp_path_factory.mktemp("controlnet")
    folder_paths.add_model_folder_path("controlnet", str(folder))
    loaded: dict[str, Any] = {}

    def by_kind(kind: str) -> Any:
        if kind not in loaded:
            write_control(kind, folder / f"{kind}.safetensors")
            loaded[kind] = ControlNetLoader().load_controlnet(f"{kind}.safetensors")[0]
            # ComfyUI runs its nodes without gradients.
            network(loaded[kind]).requires_grad_(False)
        return loaded[kind]

    return by_kind


@pytest.fixture(scope="module")
def apply(control_of, vae_of) -> Apply:
    """The positive and the negative prompt behind the node Apply ControlNet."""

    def with_hint(kind: str, prompts: Sequence[Prompt], start: float = 0.0, end: float = 1.0) -> tuple[Prompt, Prompt]:
        setup = SETUPS[kind]
        vae = vae_of(setup.family) if kind in IN_LATENT_SPACE else None
        return ControlNetApplyAdvanced().apply_controlnet(
            *prompts, control_of(kind), hint_picture(setup), STRENGTH, start, end, vae=vae
        )

    return with_hint


def network(control: Any) -> nn.Module:
    return control.t2i_model if hasattr(control, "t2i_model") else control.control_model


def hint_picture(setup: Setup) -> Tensor:
    """A hint of another size and nearly another shape than the target, as users have them."""
    return picture((setup.size[0] + 10, setup.size[1] + 6), seed=21)


@contextmanager
def watched(control: Any) -> Iterator[list[tuple[int, ...]]]:
    """The shape of the hint at every forward pass of a control model's network."""
    hints: list[tuple[int, ...]] = []

    def note(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        hints.append(tuple((options["hint"] if "hint" in options else arguments[0]).shape))

    handle = network(control).register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield hints
    finally:
        handle.remove()


def hint_sizes(kind: str, stages: Sequence[int] = (0, 1, 2, 3)) -> list[tuple[int, int]]:
    factor = 1 if kind in IN_LATENT_SPACE else 8
    sizes = SETUPS[kind].sizes
    return [(sizes[stage][0] * factor, sizes[stage][1] * factor) for stage in stages]


def prompt_of(setup: Setup, seed: int = 0) -> Prompt:
    """SDXL is told the target's size by hand, so that plain runs at other sizes tell it the same."""
    told = {"height": setup.size[0] * 8, "width": setup.size[1] * 8} if setup.family == "sdxl" else {}
    return conditioning(setup.family, make_text(setup.family, seed), **told)


def by_hand(setup: Setup, model: Any, prompt_at: Callable[[int], Prompt], batch: int = 1) -> Tensor:
    """The finished latent of plain ComfyUI runs, one a stage, with the prompt that `prompt_at` gives for it."""
    return one_run_a_stage(
        setup.family,
        lambda stage: BasicGuider.execute(model=model, conditioning=prompt_at(stage)).result[0],
        setup.sizes,
        setup.timesteps,
        ItemNoise(SEED, range(batch)),
    )


def check(figure, result: Tensor, expected: Tensor) -> None:
    error = relative_error(result, expected)
    figure("relative error", error, BAR)
    assert error <= BAR


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_the_hint_has_the_size_of_the_stage(swd, load, control_of, apply, figure, kind: str) -> None:
    """And the latent is the one of plain ComfyUI runs, one at the size of each stage."""
    setup = SETUPS[kind]
    model, plain = load(setup.family), prompt_of(setup)
    positive, _ = apply(kind, (plain, plain))
    latent = empty_latent(setup.family, setup.size, 2)
    with watched(control_of(kind)) as hints:
        result = advanced(swd, model, positive, latent, SEED, setup.preset)["samples"]
    assert [hint[-2:] for hint in hints] == hint_sizes(kind)
    check(figure, result, by_hand(setup, model, lambda stage: positive, batch=2))

    without = advanced(swd, model, plain, latent, SEED, setup.preset)["samples"]
    effect = relative_error(without, result)
    figure("effect of the control", effect)
    assert effect > 0.05, "a control that hardly changes the latent would prove nothing"


def test_the_all_in_one_sampler_takes_a_control_too(swd, load, control_of, apply, figure) -> None:
    model, plain = load("sd35_large"), prompt_of(SD3)
    positive, _ = apply("sd3", (plain, plain))
    with watched(control_of("sd3")) as hints:
        result = all_in_one(swd, model, positive, empty_latent("sd35_large", SD3.size), SEED, SD3.preset)["samples"]
    assert [hint[-2:] for hint in hints] == hint_sizes("sd3")
    check(figure, result, by_hand(SD3, model, lambda stage: positive))


# Stages by hand. SD3: sigma at half is 3 * 0.5 / (1 + 2 * 0.5) = 0.75, at 0.3 is 2.1 / 2.4 = 0.875. FLUX, shift
# e^1.15: 0.7595 and 0.8805. SDXL: timesteps 499.5 and 699.3 of 1000.
@pytest.mark.parametrize(
    ("start", "end", "stages"), [(0.0, 0.5, [0, 1]), (0.3, 1.0, [2, 3])], ids=["end 0.5", "start 0.3"]
)
@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_start_and_end_percent_mean_the_same_noise_level(
    swd, load, control_of, apply, figure, kind: str, start: float, end: float, stages: list[int]
) -> None:
    setup = SETUPS[kind]
    if setup.family == "sdxl" and end == 0.5:
        stages = [0, 1, 2]
    model, plain = load(setup.family), prompt_of(setup)
    sampling = model.get_model_object("model_sampling")
    high, low = sampling.percent_to_sigma(start), sampling.percent_to_sigma(end)
    sigmas = sigmas_of(setup.family, setup.timesteps)
    assert [stage for stage, sigma in enumerate(sigmas) if low <= sigma <= high] == stages

    positive, _ = apply(kind, (plain, plain), start, end)
    with watched(control_of(kind)) as hints:
        result = advanced(swd, model, positive, empty_latent(setup.family, setup.size), SEED, setup.preset)["samples"]
    assert [hint[-2:] for hint in hints] == hint_sizes(kind, stages)
    throughout, _ = apply(kind, (plain, plain))
    check(figure, result, by_hand(setup, model, lambda stage: throughout if stage in stages else plain))


@pytest.mark.parametrize("kinds", [("sdxl", "t2i_sdxl"), ("sd35", "sd3")], ids="+".join)
def test_chained_controls_add_up_at_every_stage(swd, load, control_of, apply, figure, kinds: tuple[str, str]) -> None:
    """The first stops half way, the second starts after the first stages."""
    first, second = kinds
    setup = SETUPS[first]
    early, late = {"sdxl": ((0, 1, 2), (2, 3)), "sd35": ((0, 1), (2, 3))}[first]
    model, plain = load(setup.family), prompt_of(setup)
    chain = apply(second, apply(first, (plain, plain), 0.0, 0.5), 0.3, 1.0)[0]
    with watched(control_of(first)) as first_hints, watched(control_of(second)) as second_hints:
        result = advanced(swd, model, chain, empty_latent(setup.family, setup.size), SEED, setup.preset)["samples"]
    assert [hint[-2:] for hint in first_hints] == hint_sizes(first, early)
    assert [hint[-2:] for hint in second_hints] == hint_sizes(second, late)

    def prompt_at(stage: int) -> Prompt:
        prompts = apply(first, (plain, plain)) if stage in early else (plain, plain)
        return apply(second, prompts)[0] if stage in late else prompts[0]

    check(figure, result, by_hand(setup, model, prompt_at))


class Counting(comfy.controlnet.ControlBase):
    """As Advanced-ControlNet: counts its steps, and starts over when it is told that a run begins."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.steps: list[int] = []
        self.hint: Tensor | None = None

    def pre_run(self, *arguments: Any) -> None:
        super().pre_run(*arguments)
        self.step, self.hint = 0, None

    def get_control(self, x: Tensor, *arguments: Any) -> None:
        assert self.hint is None or self.hint.shape == x.shape
        self.step, self.hint = self.step + 1, x
        self.steps.append(self.step)

    def get_models(self) -> list[Any]:
        return []


@pytest.mark.parametrize("behind", [False, True])
def test_a_control_of_another_pack_keeps_count_of_its_steps(swd, load, control_of, apply, behind: bool) -> None:
    counting = Counting()
    prompt = prompt_of(SD3)
    prompt[0][1]["control"] = counting
    if behind:
        prompt = apply("sd35", (prompt, prompt))[0]
    for _ in range(2):
        advanced(swd, load(SD3.family), prompt, empty_latent(SD3.family, SD3.size), SEED, SD3.preset)
        assert counting.steps == [1, 2, 3, 4]
        counting.steps.clear()


def test_a_control_works_on_both_prompts_with_cfg(swd, load, apply, figure) -> None:
    model = load("sd35_large")
    positive, negative = apply("sd3", (prompt_of(SD3), prompt_of(SD3, seed=1)))

    def guider(_: int = 0) -> Any:
        return CFGGuider.execute(model=model, positive=positive, negative=negative, cfg=2.0).result[0]

    latent = empty_latent("sd35_large", SD3.size, 2)
    result = advanced(swd, model, positive, latent, SEED, SD3.preset, guider=guider())["samples"]
    check(figure, result, one_run_a_stage("sd35_large", guider, SD3.sizes, SD3.timesteps, ItemNoise(SEED, (0, 1))))


class SD3Pair(nn.Module):
    """diffusers' SD3 ControlNet and transformer, called as its pipeline calls them."""

    def __init__(self, control: nn.Module, model: nn.Module, hint: Callable[[tuple[int, int]], Tensor]) -> None:
        super().__init__()
        self.control, self.model, self.hint = control, model, hint

    def forward(self, hidden_states: Tensor, pooled_projections: Tensor, **inputs: Tensor) -> Any:
        height, width = hidden_states.shape[-2:]
        (blocks,) = self.control(
            hidden_states=hidden_states,
            controlnet_cond=self.hint((height, width)),
            conditioning_scale=STRENGTH,
            # The pipeline's force_zeros_for_pooled_projection, on by default.
            pooled_projections=torch.zeros_like(pooled_projections),
            return_dict=False,
            **inputs,
        )
        return self.model(
            hidden_states=hidden_states,
            pooled_projections=pooled_projections,
            block_controlnet_hidden_states=blocks,
            **inputs,
        )


class FluxPair(nn.Module):
    """diffusers' FLUX ControlNet and transformer, called as its pipeline calls them."""

    def __init__(self, control: nn.Module, model: nn.Module, hint: Callable[[tuple[int, int]], Tensor]) -> None:
        super().__init__()
        self.control, self.model, self.hint = control, model, hint

    def forward(self, img_ids: Tensor, **inputs: Tensor) -> Any:
        height, width = (2 * (int(img_ids[:, axis].max()) + 1) for axis in (1, 2))
        blocks, single_blocks = self.control(
            controlnet_cond=rearrange(self.hint((height, width)), "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2),
            conditioning_scale=STRENGTH,
            img_ids=img_ids,
            return_dict=False,
            **inputs,
        )
        return self.model(
            img_ids=img_ids,
            controlnet_block_samples=blocks,
            controlnet_single_block_samples=single_blocks,
            **inputs,
        )


@pytest.mark.parametrize(
    ("kind", "pair", "shift"), [("sd3", SD3Pair, 0.0), ("flux", FluxPair, 0.1159)], ids=["sd3", "flux"]
)
def test_equals_the_diffusers_controlnet(
    swd, load, diffusers_model, apply, vae_of, figure, kind: str, pair: type[nn.Module], shift: float
) -> None:
    """SD3's ControlNets were trained on latents that are scaled but not shifted."""
    setup = SETUPS[kind]
    family, text = setup.family, make_text(setup.family)

    def hint(size: tuple[int, int]) -> Tensor:
        image = hint_picture(setup).movedim(-1, 1)
        pixels = comfy.utils.common_upscale(image, size[1] * 8, size[0] * 8, "nearest-exact", "center")
        return (vae_of(family).encode(pixels.movedim(1, -1)) - shift) * VAE_SCALE[family][0]

    with torch.inference_mode():
        twin = pair(make_control(kind), diffusers_model(family), hint)
        expected = sample(family, twin, text, SCALES, setup.timesteps, setup.size, ItemNoise(SEED, (0,)))
    positive, _ = apply(kind, (conditioning(family, text),) * 2)
    check(
        figure,
        advanced(swd, load(family), positive, empty_latent(family, setup.size), SEED, setup.preset)["samples"],
        expected,
    )
