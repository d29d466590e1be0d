"""Models that see a second picture beside the latent: at every stage it is the original, resized by ComfyUI itself.

FLUX Fill and SDXL inpaint see the masked picture and the mask, instruct-pix2pix the picture to edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import comfy.utils
import folder_paths
import pytest
import torch
import torch.nn.functional as F
from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider
from comfy_extras.nodes_ip2p import InstructPixToPixConditioning
from einops import rearrange
from reference import VAE_SCALE, ItemNoise, make_text, stage_sizes
from running import Call, advanced, all_in_one, conditioning, empty_latent, recorded, relative_error
from safetensors.torch import save_file
from stepwise import at_size, one_run_a_stage, picture
from swd_dev.tiny.concat import load_concat
from torch import Tensor

from nodes import InpaintModelConditioning, LoraLoaderModelOnly

BAR = 2e-6
SEED = 31
SCALES = (64, 80, 96, 128)
LORA = "swd_flux/adapter_model.safetensors"
Size = tuple[int, int]


@dataclass(frozen=True)
class Setup:
    """A model, and a schedule for it written down again; the target is in latent pixels."""

    kind: str
    family: str
    preset: str
    timesteps: tuple[float, ...]
    size: Size
    multiple: int

    @property
    def sizes(self) -> list[Size]:
        return stage_sizes(SCALES, *self.size, self.multiple)


FILL = Setup("flux_fill", "flux", "FLUX.1-dev, 4 steps", (1.0, 0.8956, 0.7363, 0.6007), (26, 18), 2)
INPAINT = Setup("sdxl_inpaint", "sdxl", "SDXL, 4 steps", (1.0, 0.8, 0.6, 0.4), (24, 20), 4)
IP2P = Setup("sdxl_ip2p", "sdxl", "SDXL, 4 steps", (1.0, 0.8, 0.6, 0.4), (24, 20), 4)


@pytest.fixture(scope="module")
def concat_model() -> Callable[[str], Any]:
    return cache(load_concat)


def prompt_of(setup: Setup, seed: int = 0, **values: Any) -> list[Any]:
    """SDXL is told the target's size by hand, so that plain runs at other sizes tell it the same."""
    told = {"height": setup.size[0] * 8, "width": setup.size[1] * 8} if setup.family == "sdxl" else {}
    return conditioning(setup.family, make_text(setup.family, seed), **told, **values)


def pixel_mask(setup: Setup) -> Tensor:
    """A MASK [1, H, W] with a hole that no stage's grid divides evenly."""
    height, width = setup.size[0] * 8, setup.size[1] * 8
    mask = torch.zeros(1, height, width)
    mask[:, height // 3 : height - 37, 21 : width // 2 + 13] = 1.0
    return mask


def inpainting(setup: Setup, vae: Any, noise_mask: bool) -> tuple[list[Any], dict[str, Any]]:
    """Prompt and latent behind the node InpaintModelConditioning."""
    plain = prompt_of(setup)
    positive, _, latent = InpaintModelConditioning().encode(
        plain, plain, picture(setup.size, seed=5), vae, pixel_mask(setup), noise_mask
    )
    return positive, latent


def resized(latent: Tensor, size: Size) -> Tensor:
    """As ComfyUI resizes concat latents and masks."""
    return comfy.utils.common_upscale(latent, size[1], size[0], "bilinear", "center")


def in_model_space(family: str, latent: Tensor) -> Tensor:
    scale, shift = VAE_SCALE[family]
    return (latent - shift) * scale


def fill_concat(picture_latent: Tensor, mask: Tensor, size: Size) -> Tensor:
    """What FLUX Fill sees: the picture's latent, then the 8 x 8 mask values of each latent pixel as channels."""
    image = in_model_space("flux", resized(picture_latent, size))
    values = resized(mask, (size[0] * 8, size[1] * 8))
    return torch.cat([image, rearrange(values, "b 1 (h p) (w q) -> b (p q) h w", p=8, q=8)], dim=1)


def inpaint_concat(picture_latent: Tensor, mask: Tensor, size: Size) -> Tensor:
    """What SDXL inpaint sees: the mask, rounded to 0 or 1, then the picture's latent."""
    return torch.cat([resized(mask, size).round(), resized(in_model_space("sdxl", picture_latent), size)], dim=1)


def check(figure, result: Tensor, expected: Tensor) -> None:
    error = relative_error(result, expected)
    figure("relative error", error, BAR)
    assert error <= BAR


def check_concat(figure, calls: list[Call], expected: list[Tensor]) -> None:
    """`expected`: c_concat of each stage."""
    assert len(calls) == len(expected)
    errors = []
    for call, concat in zip(calls, expected, strict=True):
        seen = call.conditions["c_concat"]
        assert seen.shape[1:] == concat.shape[1:]
        errors.append(relative_error(seen, concat.expand_as(seen)))
    figure("concat latents, largest relative error", max(errors), 1e-6)
    assert max(errors) <= 1e-6


def by_hand(setup: Setup, model: Any, positive: Any, latent: dict[str, Any] | None, batch: int = 1) -> Tensor:
    """The finished latent of plain ComfyUI runs, one a stage, from a latent with or without a mask."""
    mask = None
    if latent is not None and "noise_mask" in latent:
        pixels = latent["noise_mask"].reshape(-1, 1, *latent["noise_mask"].shape[-2:])
        mask = F.interpolate(pixels, size=setup.size, mode="bilinear")
    return one_run_a_stage(
        setup.family,
        lambda stage: BasicGuider.execute(model=model, conditioning=positive).result[0],
        setup.sizes,
        setup.timesteps,
        ItemNoise(SEED, range(batch)),
        None if latent is None else latent["samples"],
        mask,
    )


@pytest.mark.parametrize("noise_mask", [False, True], ids=["concat only", "and noise mask"])
@pytest.mark.parametrize(("setup", "concat"), [(FILL, fill_concat), (INPAINT, inpaint_concat)], ids=["fill", "sdxl"])
def test_an_inpaint_model_sees_the_resized_original_and_mask_at_every_stage(
    swd, concat_model, vae_of, figure, setup: Setup, concat: Callable[..., Tensor], noise_mask: bool
) -> None:
    positive, latent = inpainting(setup, vae_of(setup.family), noise_mask)
    assert ("noise_mask" in latent) == noise_mask
    model, calls = recorded(concat_model(setup.kind))
    result = advanced(swd, model, positive, latent, SEED, setup.preset)["samples"]
    given = positive[0][1]
    mask = pixel_mask(setup)[None]
    assert torch.equal(given["concat_mask"], mask)
    check_concat(figure, calls, [concat(given["concat_latent_image"], mask, size) for size in setup.sizes])
    check(figure, result, by_hand(setup, concat_model(setup.kind), positive, latent))


@pytest.mark.parametrize(("setup", "concat"), [(FILL, fill_concat), (INPAINT, inpaint_concat)], ids=["fill", "sdxl"])
def test_an_inpaint_model_starts_from_an_empty_latent_too(
    swd, concat_model, vae_of, figure, setup: Setup, concat: Callable[..., Tensor]
) -> None:
    """A batch of two on the all-in-one sampler; both pictures see the same original."""
    positive, _ = inpainting(setup, vae_of(setup.family), noise_mask=False)
    model, calls = recorded(concat_model(setup.kind))
    latent = empty_latent(setup.family, setup.size, 2)
    result = all_in_one(swd, model, positive, latent, SEED, setup.preset)["samples"]
    original = positive[0][1]["concat_latent_image"]
    check_concat(figure, calls, [concat(original, pixel_mask(setup)[None], size) for size in setup.sizes])
    check(figure, result, by_hand(setup, concat_model(setup.kind), positive, None, batch=2))


def test_without_concat_conditioning_an_inpaint_model_sees_the_latent_that_came_in(
    swd, concat_model, vae_of, figure
) -> None:
    """SDXL inpaint falls back to the latent being sampled and its noise mask (as with Set Latent Noise Mask): at every
    stage that is the original, area-resized, and not the picture so far."""
    samples = vae_of("sdxl").encode(picture(INPAINT.size, seed=6))
    latent = {"samples": samples, "noise_mask": pixel_mask(INPAINT)}
    positive = prompt_of(INPAINT)
    model, calls = recorded(concat_model("sdxl_inpaint"))
    result = advanced(swd, model, positive, latent, SEED, INPAINT.preset)["samples"]
    mask = F.interpolate(pixel_mask(INPAINT)[None], size=INPAINT.size, mode="bilinear")
    check_concat(
        figure,
        calls,
        [
            torch.cat([at_size(mask, size, "area").round(), in_model_space("sdxl", at_size(samples, size, "area"))], 1)
            for size in INPAINT.sizes
        ],
    )
    check(figure, result, by_hand(INPAINT, concat_model("sdxl_inpaint"), positive, latent))


def test_instruct_pix2pix_sees_the_resized_original_at_every_stage(swd, concat_model, vae_of, figure) -> None:
    """With CFG, as it is used: both prompts carry the picture. This kind of model takes its latent unscaled."""
    positive, negative, latent = InstructPixToPixConditioning.execute(
        positive=prompt_of(IP2P),
        negative=prompt_of(IP2P, seed=1),
        pixels=picture(IP2P.size, seed=7),
        vae=vae_of("sdxl"),
    ).result
    model, calls = recorded(concat_model("sdxl_ip2p"))

    def guider(sampled: Any) -> Any:
        return CFGGuider.execute(model=sampled, positive=positive, negative=negative, cfg=1.5).result[0]

    result = advanced(swd, model, positive, latent, SEED, IP2P.preset, guider=guider(model))["samples"]
    original = positive[0][1]["concat_latent_image"]
    check_concat(figure, calls, [resized(original, size) for size in IP2P.sizes])
    expected = one_run_a_stage(
        "sdxl",
        lambda stage: guider(concat_model("sdxl_ip2p")),
        IP2P.sizes,
        IP2P.timesteps,
        ItemNoise(SEED, (0,)),
    )
    check(figure, result, expected)


@pytest.mark.parametrize("setup", [FILL, INPAINT, IP2P], ids=lambda setup: setup.kind)
def test_the_concat_latents_do_not_depend_on_the_picture_so_far(swd, concat_model, vae_of, setup: Setup) -> None:
    """Another seed grows another picture, and the model sees the same original beside it."""
    original = vae_of(setup.family).encode(picture(setup.size, seed=8))
    positive = prompt_of(setup, concat_latent_image=original, concat_mask=pixel_mask(setup)[None])
    seen = []
    for seed in (1, 2):
        model, calls = recorded(concat_model(setup.kind))
        advanced(swd, model, positive, empty_latent(setup.family, setup.size), seed, setup.preset)
        seen.append([call.conditions["c_concat"] for call in calls])
    assert len(seen[0]) == 4
    assert all(torch.equal(first, second) for first, second in zip(*seen, strict=True))


@pytest.fixture
def control_lora(tmp_path: Path) -> Iterator[str]:
    """A LoRA as FLUX.1-Canny-dev-lora and -Depth-dev-lora are, which let img_in take a picture beside the latent."""
    generator = torch.Generator().manual_seed(11)
    shapes = {
        "img_in.lora_A.weight": (4, 128), "img_in.lora_B.weight": (256, 4), "img_in.lora_B.bias": (256,),
        "double_blocks.0.img_attn.qkv.lora_A.weight": (4, 256), "double_blocks.0.img_attn.qkv.lora_B.weight": (768, 4),
        "single_blocks.0.norm.key_norm.scale": (128,), "single_blocks.0.norm.query_norm.scale": (128,),
    }  # fmt: skip
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file(state, tmp_path / "control.safetensors")
    folder_paths.add_model_folder_path("loras", str(tmp_path))
    yield "control.safetensors"
    folder_paths.folder_names_and_paths["loras"][0].remove(str(tmp_path))
    folder_paths.filename_list_cache.clear()


@pytest.mark.parametrize("by", ["ComfyUI", "SwD"])
def test_a_control_lora_of_flux_sees_the_resized_original_at_every_stage(
    swd, load, vae_of, figure, control_lora: str, by: str
) -> None:
    (own,) = LoraLoaderModelOnly().load_lora_model_only(load("flux"), control_lora, 1.0)
    patched = own
    if by == "SwD":
        node = swd["SWDLoraLoader"]
        patched, report = node.execute(model=load("flux"), lora_name=control_lora, strength_model=1.0).result
        assert report.startswith("loaded 4 of 4 pairs") and "NOT" not in report
    positive, _, latent = InstructPixToPixConditioning.execute(
        positive=prompt_of(FILL), negative=[], pixels=picture(FILL.size, seed=7), vae=vae_of("flux")
    ).result
    model, calls = recorded(patched)
    result = advanced(swd, model, positive, latent, SEED, FILL.preset)["samples"]
    original = positive[0][1]["concat_latent_image"]
    check_concat(figure, calls, [in_model_space("flux", resized(original, size)) for size in FILL.sizes])
    check(figure, result, by_hand(FILL, own, positive, None))


@pytest.mark.parametrize("control_first", [False, True])
def test_a_lora_goes_beside_a_control_lora_and_on_after_it(swd, load, control_lora: str, control_first: bool) -> None:
    """The LoRA of FLUX has a pair for img_in, which the control LoRA lets grow; ComfyUI leaves it grown in memory."""

    def by_swd(model: Any, name: str) -> Any:
        patched, report = swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=1.0).result
        assert "NOT" not in report
        return patched

    def latent_of(model: Any) -> Tensor:
        return advanced(swd, model, prompt_of(FILL), empty_latent("flux", FILL.size), SEED, FILL.preset)["samples"]

    alone = latent_of(by_swd(load("flux"), LORA))
    (control,) = LoraLoaderModelOnly().load_lora_model_only(load("flux"), control_lora, 1.0)
    latent_of(control)
    assert torch.equal(latent_of(by_swd(load("flux"), LORA)), alone)
    (beside,) = LoraLoaderModelOnly().load_lora_model_only(by_swd(load("flux"), LORA), control_lora, 1.0)
    expected = latent_of(beside)
    assert relative_error(expected, alone) > 1e-3
    other = by_swd(control, LORA) if control_first else by_swd(by_swd(load("flux"), LORA), control_lora)
    assert relative_error(latent_of(other), expected) <= BAR
