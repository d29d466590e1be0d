"""Other families than SwD's own, on tiny models of ComfyUI's own classes.

The expected latent comes from a loop that uses nothing of the pack: one plain run of ComfyUI a stage, each at a size of
its own, with the resize and the forward process of the method written out here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import comfy.nested_tensor
import comfy.samplers
import comfy.supported_models
import comfyui_version
import pytest
import torch
import torch.nn.functional as F
from comfy_extras.nodes_custom_sampler import BasicGuider
from comfy_extras.nodes_model_advanced import (
    ModelSamplingContinuousEDM,
    ModelSamplingDiscrete,
    ModelSamplingStableCascade,
)
from reference import ItemNoise, alpha_bar, stage_sizes
from running import advanced, all_in_one, recorded, relative_error, schedule_of
from swd_dev.tiny.families import FAMILIES, load_family, make_conditioning, make_patcher
from torch import Tensor

SCALES, TIMESTEPS = (2, 3, 4), (1.0, 0.8, 0.6)
CUSTOM = ("2, 3, 4", "1.0, 0.8, 0.6")
BAR = 2e-6
RUNS = [pytest.param(advanced, id="SamplerCustomAdvanced"), pytest.param(all_in_one, id="SWDSampler")]


@dataclass(frozen=True)
class Case:
    """`target`: (height, width) of which a half and three quarters are no multiples. `time`: the family's time axis."""

    family: str
    multiple: int
    target: tuple[int, int]
    time: str = "flow"

    @property
    def sigmas(self) -> list[float]:
        if self.time == "flow":
            return list(TIMESTEPS)
        return [math.sqrt((1 - alpha_bar(t)) / alpha_bar(t)) for t in TIMESTEPS]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return stage_sizes(SCALES, *self.target, self.multiple)


# The patch of each transformer and the eightfold UNet, as in the papers and the published configurations.
CASES = [
    Case("sd15", 8, (40, 24), time="eps"),
    Case("auraflow", 2, (22, 14)),
    Case("chroma", 2, (22, 14)),
    Case("flux2", 1, (11, 7)),
    Case("lumina2", 2, (22, 14)),
    Case("z_image", 2, (22, 14)),
    Case("hidream", 2, (22, 14)),
    Case("qwen_image", 2, (22, 14)),
    Case("wan", 2, (22, 14)),
]


@pytest.fixture(scope="module")
def family_model():
    """The tiny model of a family; one instance a module."""
    loaded: dict[str, Any] = {}

    def by_name(name: str) -> Any:
        if name not in loaded:
            before = torch.random.get_rng_state()
            loaded[name] = load_family(name)
            assert torch.equal(torch.random.get_rng_state(), before)
        return loaded[name]

    return by_name


def empty(family: str, size: tuple[int, int], batch: int = 1) -> dict[str, Any]:
    return {"samples": torch.zeros(FAMILIES[family].latent_shape(batch, *size))}


def by_hand(case: Case, model: Any, noise: ItemNoise) -> Tensor:
    """The finished latent: x0 of one plain ComfyUI run a stage, resized bicubically and noised in between."""
    channels, *time = FAMILIES[case.family].latent_shape(1, 1, 1)[1:-2]
    x0: Tensor | None = None
    finished = torch.empty(0)
    for sigma, size in zip(case.sigmas, case.sizes, strict=True):
        drawn = noise(channels, (*time, *size))  # type: ignore[arg-type]
        x = noised(case, sigma, None if x0 is None else grown(x0, size), drawn)
        x0, finished = plain_run(model, make_conditioning(case.family), x, sigma)
    return finished


def grown(latent: Tensor, size: tuple[int, int]) -> Tensor:
    """Every frame for itself."""
    if latent.ndim == 4:
        return F.interpolate(latent, size=size, mode="bicubic")
    return torch.stack([F.interpolate(frame, size=size, mode="bicubic") for frame in latent.unbind(2)], dim=2)


def noised(case: Case, sigma: float, x0: Tensor | None, noise: Tensor) -> Tensor:
    """Flow: x = (1 - t) x0 + t n. EPS in ComfyUI's scale: x = x0 + sigma n, and sqrt(1 + sigma^2) n at the start."""
    if case.time == "flow":
        return noise if x0 is None else (1 - sigma) * x0 + sigma * noise
    return math.sqrt(1 + sigma**2) * noise if x0 is None else x0 + sigma * noise


def plain_run(model: Any, positive: Any, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """x0 as the model sees it in x, and as ComfyUI hands it out."""
    seen: list[Tensor] = []

    def one_forward_pass(model: Any, _: Tensor, sigmas: Tensor, extra_args: dict[str, Any], **options: Any) -> Tensor:
        seen.append(model(x, sigmas[0] * x.new_ones(len(x)), **extra_args))
        return seen[0]

    guider = BasicGuider.execute(model=model, conditioning=positive).result[0]
    sampler = comfy.samplers.KSAMPLER(one_forward_pass)
    with torch.inference_mode():
        out = guider.sample(torch.zeros_like(x), torch.zeros_like(x), sampler, torch.tensor([sigma, 0.0]), seed=0)
    return seen[0], out


@pytest.mark.parametrize("case", CASES, ids=[case.family for case in CASES])
def test_equals_one_plain_run_of_comfyui_a_stage(swd, family_model, figure, case: Case) -> None:
    model = family_model(case.family)
    expected = by_hand(case, model, ItemNoise(5, (0, 1)))
    for name, run in (("SamplerCustomAdvanced", advanced), ("SWDSampler", all_in_one)):
        watched, calls = recorded(model)
        with torch.inference_mode():
            latent = run(swd, watched, make_conditioning(case.family), empty(case.family, case.target, 2), 5, CUSTOM)
        shapes = [FAMILIES[case.family].latent_shape(2, *size) for size in case.sizes]
        assert [call.shape for call in calls] == shapes
        assert [call.timestep for call in calls] == pytest.approx(case.sigmas, rel=1e-5)
        assert latent["samples"].shape == shapes[-1]
        error = relative_error(latent["samples"], expected)
        figure(f"{name} relative error", error, BAR)
        assert error <= BAR


def test_the_models_depend_on_time_text_and_size(family_model) -> None:
    """Else the test above would prove little: a wrong noise level has to show up in x0."""
    for case in CASES:
        model = family_model(case.family)
        height, width = case.target
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(FAMILIES[case.family].latent_shape(1, height, width), generator=generator)
        first, second = case.sigmas[1:]
        outputs = [
            (x - plain_run(model, make_conditioning(case.family, seed), x, sigma)[0]) / sigma
            for seed, sigma in ((0, first), (1, first), (0, second))
        ]
        assert relative_error(outputs[1], outputs[0]) > 1e-3, f"{case.family}: text"
        if case.time == "flow":
            assert relative_error(outputs[2], outputs[0]) > 1e-2, f"{case.family}: time"


@pytest.mark.parametrize("odd", [(21, 13)])
@pytest.mark.parametrize("family", ["chroma", "z_image", "hidream", "qwen_image", "wan"])
def test_a_target_that_is_no_multiple_is_kept(swd, family_model, family: str, odd: tuple[int, int]) -> None:
    """Only the stages before the last are rounded; ComfyUI pads and crops the last one itself."""
    model, calls = recorded(family_model(family))
    with torch.inference_mode():
        latent = all_in_one(swd, model, make_conditioning(family), empty(family, odd), 0, CUSTOM)
    assert [call.shape[-2:] for call in calls] == [(10, 6), (16, 10), odd]
    assert latent["samples"].shape[-2:] == odd


def test_a_flat_latent_becomes_one_frame_of_a_video_model(swd, family_model) -> None:
    """EmptySD3LatentImage in a Qwen-Image workflow: ComfyUI adds T = 1, and so does the pack."""
    model, calls = recorded(family_model("qwen_image"))
    with torch.inference_mode():
        for run in (advanced, all_in_one):
            latent = run(swd, model, make_conditioning("qwen_image"), {"samples": torch.zeros(1, 16, 16, 8)}, 0, CUSTOM)
            assert latent["samples"].shape == (1, 16, 1, 16, 8)
    assert {call.shape[2] for call in calls} == {1}


# Multiples of classes that are too heavy to run here; their models are built without weights. Ideogram4, Lens and LTXV
# take latents that are patched already.
MULTIPLES = {
    "CosmosT2IPredict2": 2,
    "HiDreamO1": 32,
    "HunyuanImage21": 1,
    "HunyuanVideo": 2,
    "Ideogram4": 1,
    "LTXV": 1,
    "Lens": 1,
    "SD3": 2,
}
# The first tested version of ComfyUI that has a class which the oldest ones do not have.
ADDED = {"HiDreamO1": (0, 24, 1), "Ideogram4": (0, 24, 1), "Lens": (0, 24, 1)}
VERSION = tuple(map(int, comfyui_version.__version__.split(".")[:3]))
CONFIGS: dict[str, dict[str, Any]] = {
    "CosmosT2IPredict2": {
        "image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
        "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "num_blocks": 1,
        "num_heads": 2, "crossattn_emb_channels": 32, "pos_emb_cls": "rope3d", "concat_padding_mask": True,
    },
    "HiDreamO1": {"image_model": "hidream_o1"},
    "Ideogram4": {"image_model": "ideogram4", "num_layers": 1},
    "LTXV": {"image_model": "ltxv", "num_layers": 1},
    "Lens": {"image_model": "lens", "num_layers": 1},
    "SD3": {"in_channels": 16, "patch_size": 2, "depth": 1, "input_size": None, "adm_in_channels": 2048,
            "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 32, "out_features": 64}},
            "num_patches": 16, "pos_embed_max_size": 4, "pos_embed_scaling_factor": None},
    **{
        name: {
            "image_model": "hunyuan_video", "in_channels": channels, "out_channels": channels, "patch_size": patch,
            "context_in_dim": 32, "hidden_size": 64, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1,
            "depth_single_blocks": 1, "axes_dim": axes, "theta": 256, "qkv_bias": True,
            "guidance_embed": False, "vec_in_dim": None, "byt5": False, "meanflow": False, "meanflow_sum": False,
            "use_cond_type_embedding": False, "vision_in_dim": None,
        }
        for name, channels, patch, axes in (
            ("HunyuanVideo", 16, [1, 2, 2], [8, 12, 12]), ("HunyuanImage21", 64, [1, 1], [16, 16]),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MULTIPLES))
def test_the_multiple_of(swd, name: str) -> None:
    if name in ADDED and ADDED[name] > VERSION:
        # On a version that should have it, a missing class fails below instead.
        assert not hasattr(comfy.supported_models, name)
        pytest.skip(f"ComfyUI has {name} from {'.'.join(map(str, ADDED[name]))} on")
    model = make_patcher(name, CONFIGS[name], torch.device("meta"))
    schedule, sigmas = schedule_of(swd, model, CUSTOM)
    assert schedule.sizes(320, 160)[:2] == stage_sizes(SCALES, 320, 160, MULTIPLES[name])[:2]
    assert schedule.sizes(94, 54)[:2] == stage_sizes(SCALES, 94, 54, MULTIPLES[name])[:2]
    if name == "CosmosT2IPredict2":
        assert sigmas.tolist() == pytest.approx([80.0, 4.0, 1.5, 0.0])
    else:
        assert sigmas.tolist() == pytest.approx([*TIMESTEPS, 0.0])


def patched(node: type, method: str, *values: Any):
    return lambda model: getattr(node(), method)(model, *values)[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(patched(ModelSamplingContinuousEDM, "patch", "edm", 80.0, 0.002), id="EDM"),
        pytest.param(patched(ModelSamplingContinuousEDM, "patch", "v_prediction", 80.0, 0.002), id="V of EDM"),
        pytest.param(patched(ModelSamplingStableCascade, "patch", 2.0), id="Stable Cascade"),
        pytest.param(patched(ModelSamplingDiscrete, "patch", "img_to_img", False), id="image to image"),
        pytest.param(patched(ModelSamplingDiscrete, "patch", "img_to_img_flow", False), id="image to image by flow"),
    ],
)
def test_models_without_a_time_axis_are_refused(swd, family_model, change) -> None:
    with pytest.raises(ValueError, match=r"^model: this kind of model has no SwD timesteps\.\nFound: "):
        schedule_of(swd, change(family_model("sd15")), CUSTOM)


@pytest.mark.parametrize("sampling", ["eps", "v_prediction", "x0"])
def test_discrete_models_of_every_prediction_keep_their_table(swd, family_model, sampling: str) -> None:
    model = patched(ModelSamplingDiscrete, "patch", sampling, False)(family_model("sd15"))
    _, sigmas = schedule_of(swd, model, CUSTOM)
    assert sigmas.tolist() == pytest.approx([*Case("sd15", 8, (8, 8), time="eps").sigmas, 0.0], rel=1e-5)


@pytest.mark.parametrize("run", RUNS)
def test_a_latent_without_height_and_width_is_refused(swd, family_model, run) -> None:
    latent = {"samples": torch.zeros(1, 128, 40)}
    with pytest.raises(ValueError, match=r"^latent_image: this kind of latent cannot grow\.\nFound: .*3 dimensions"):
        run(swd, family_model("flux2"), make_conditioning("flux2"), latent, 0, CUSTOM)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("batch", [1, 2])
def test_video_packed_with_sound_is_refused(swd, family_model, run, batch: int) -> None:
    video, sound = torch.zeros(batch, 16, 3, 16, 8), torch.zeros(batch, 8, 25, 16)
    latent = {"samples": comfy.nested_tensor.NestedTensor([video, sound])}
    with pytest.raises(ValueError, match=r"^latent_image: this kind of latent cannot grow\."):
        run(swd, family_model("wan"), make_conditioning("wan"), latent, 0, CUSTOM)


# Conditions that ComfyUI uses at the size they have, as its nodes write them: the picture that HiDream-E1 edits, and
# the subjects of Wan Phantom.
@pytest.mark.parametrize(
    ("family", "key"), [("hidream", "concat_latent_image"), ("wan", "time_dim_concat")], ids=["HiDream-E1", "Phantom"]
)
@pytest.mark.parametrize("run", RUNS)
def test_a_condition_of_one_fixed_size_is_one_clear_error(swd, family_model, run, family: str, key: str) -> None:
    tokens, values = make_conditioning(family)[0]
    positive = [[tokens, {**values, key: empty(family, (22, 14))["samples"]}]]
    with pytest.raises(RuntimeError, match=r"^Something .* another size than 8 x 12, at which the latent begins\."):
        run(swd, family_model(family), positive, empty(family, (22, 14)), 0, CUSTOM)
    same_size = run(swd, family_model(family), positive, empty(family, (22, 14)), 0, ("1, 1", "1.0, 0.6"))
    assert same_size["samples"].isfinite().all()


# Sound, points in space, and video packed with sound.
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("ACEStep", {"audio_model": "ace", "num_layers": 1}),
        ("Hunyuan3Dv2", {"image_model": "hunyuan3d2", "depth": 1, "depth_single_blocks": 1}),
        ("LTXAV", {"image_model": "ltxav", "num_layers": 1}),
    ],
)
def test_models_of_something_else_than_pictures_are_refused(swd, name: str, config: dict[str, Any]) -> None:
    model = make_patcher(name, config, torch.device("meta"))
    with pytest.raises(ValueError, match=r"^model: SwD cannot grow the latents of this model\.\nFound: "):
        schedule_of(swd, model, CUSTOM)
