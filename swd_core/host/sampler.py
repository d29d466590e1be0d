"""SwD as a ComfyUI SAMPLER."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import comfy.samplers
from torch import Tensor

from ..errors import InputError
from ..loop import sample_scalewise
from ..noise import StageNoise, recover_items
from ..resize import resize
from ..schedule import Schedule
from ..stages import Stage, plan_stages
from .compat import call_known
from .conditions import stage_conditions
from .facts import read_facts
from .progress import announce


class ScaleWiseSampler(comfy.samplers.KSAMPLER):
    """A SAMPLER that grows the latent.

    It is entered once, at the target size, so ComfyUI loads the model and reserves memory for the largest stage. Each
    stage then goes through the guider's own `inner_sample` at the size of the stage, so ComfyUI itself resolves areas,
    masks, inpainting, concat latents and ControlNet hints there. The object is cached between prompts and holds no
    state of a run. `items`: number k of each picture for the noise rule; None recovers them from the noise that comes
    in.
    """

    def __init__(self, schedule: Schedule, upscale_method: str, items: Sequence[int] | None = None) -> None:
        super().__init__(_refuse_wrapping, {})
        self.schedule = schedule
        self.upscale_method = upscale_method
        self.items = items

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Called by `CFGGuider.inner_sample`; all tensors at the target size, in the model's latent space."""
        check_run(model_wrap, self.schedule, noise)
        height, width = noise.shape[-2:]
        stages = plan_stages(self.schedule, sigmas.tolist(), height, width)
        seed = extra_args.get("seed") or 0
        items = recover_items(noise, seed) if self.items is None else self.items
        run = _Run(model_wrap, sigmas, callback, noise, latent_image, denoise_mask, seed, len(stages))
        source = StageNoise(seed, items)

        def draw(stage: Stage) -> Tensor:
            drawn = source.draw((*noise.shape[1:-2], *stage.size)).to(noise.device)
            # DisableNoise: the latent that came in carries its noise already.
            return drawn * 0 if stage.index == 0 and not noise.any() else drawn

        with _restored(model_wrap):
            x0 = sample_scalewise(stages, run.predict, draw, run.renoise, self.upscale_method)
            return run.finish(x0, source)


@dataclass(frozen=True)
class _Run:
    """One run of the sampler. Tensors are those of `ScaleWiseSampler.sample`, at the target size."""

    guider: Any
    sigmas: Tensor
    callback: Callable[..., None] | None
    noise: Tensor
    latent_image: Tensor | None
    denoise_mask: Tensor | None
    seed: int
    steps: int

    @property
    def model(self) -> Any:
        return self.guider.inner_model

    @property
    def target(self) -> tuple[int, int]:
        height, width = self.noise.shape[-2:]
        return height, width

    def predict(self, stage: Stage, x: Tensor | None, noise: Tensor) -> Tensor:
        """One forward pass at a stage, by way of the guider. See `swd_core.loop.Predict`."""
        announce(f"step {stage.index + 1} of {self.steps} at {stage.width} x {stage.height}")
        pixels = read_facts(self.model).pixels_per_latent
        self.guider.conds = stage_conditions(self.guider, stage.size, self.target, pixels)
        forward = _Forward(stage, x)
        mask = None if self.denoise_mask is None else resize(self.denoise_mask, stage.size, "area")
        call_known(
            self.guider.inner_sample,
            noise,
            self._init_latent(stage.size),
            noise.device,
            comfy.samplers.KSAMPLER(forward),
            self.sigmas,
            mask,
            self.callback,
            True,
            self.seed,
            latent_shapes=[noise.shape],
        )
        assert forward.x0 is not None
        return forward.x0

    def renoise(self, stage: Stage, noise: Tensor, x0: Tensor) -> Tensor:
        """The model's own forward process: from a clean latent to the noise level of the stage."""
        scaled: Tensor = self.model.model_sampling.noise_scaling(self.sigmas[stage.index], noise, x0)
        return scaled

    def finish(self, x0: Tensor, source: StageNoise) -> Tensor:
        """The latent that the run ends with: x0, or x0 with noise again where the sigmas do not end in 0."""
        last = self.sigmas[-1]
        if last == 0:
            return x0
        sampling = self.model.model_sampling
        noise = source.draw(x0.shape[1:]).to(x0.device)
        noisy: Tensor = sampling.inverse_noise_scaling(last, sampling.noise_scaling(last, noise, x0))
        return noisy

    def _init_latent(self, size: tuple[int, int]) -> Tensor | None:
        """The latent that came in, at the size of a stage and unprocessed, as `inner_sample` expects it."""
        if self.latent_image is None or not self.latent_image.any():
            return None if self.latent_image is None else resize(self.latent_image, size, "area")
        unprocessed: Tensor = self.model.process_latent_out(self.latent_image)
        return resize(unprocessed, size, "area")


class _Forward:
    """A sampler function of exactly one forward pass, for the KSAMPLER of a stage."""

    def __init__(self, stage: Stage, x: Tensor | None) -> None:
        self.stage = stage
        self.x = x
        self.x0: Tensor | None = None

    def __call__(
        self, model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, disable: bool
    ) -> Tensor:
        # At the first stage x is what KSAMPLER made of the latent that came in; later x comes from the loop.
        x = x if self.x is None else self.x
        sigma = sigmas[self.stage.index]
        x0: Tensor = model(x, sigma * x.new_ones([x.shape[0]]), **extra_args)
        self.x0 = x0
        callback({"i": self.stage.index, "denoised": x0, "x": x, "sigma": sigma, "sigma_hat": sigma})
        return x0


def check_run(guider: Any, schedule: Schedule, noise: Tensor) -> None:
    """Refuse what cannot grow: packed or audio latents, foreign guiders, a schedule made for another model.

    Raises:
        InputError
    """
    if noise.ndim not in (4, 5):
        raise InputError(
            "latent_image: this kind of latent cannot grow.",
            found=f"a latent with {noise.ndim} dimensions",
            allowed="pictures [B, C, H, W] and videos [B, C, T, H, W]",
            remedy="use a sampler of the model's own workflow.",
        )
    missing = [name for name in ("original_conds", "inner_sample", "inner_model") if not hasattr(guider, name)]
    if missing:
        raise InputError(
            "guider: SwD cannot run on this guider.",
            found=f"{type(guider).__name__} without {', '.join(missing)}",
            allowed="guiders made on ComfyUI's CFGGuider",
            remedy="use Basic Guider or CFG Guider.",
        )
    model = read_facts(guider.inner_model)
    if model != schedule.model:
        raise InputError(
            f"schedule: made for {schedule.model.family}, but the model is {model.family}.",
            found=f"{model} with a schedule for {schedule.model}",
            allowed="a schedule made from the model that is sampled",
            remedy="connect the same model to the schedule node and to the guider.",
        )


@contextmanager
def _restored(guider: Any) -> Iterator[None]:
    """Put back what the stages change, also after an interrupt: ComfyUI cleans up with the conditions it prepared."""
    conditions = guider.conds
    shapes = getattr(guider.inner_model, "latent_shapes", None)
    try:
        yield
    finally:
        guider.conds = conditions
        if shapes is not None:
            guider.inner_model.latent_shapes = shapes


def _refuse_wrapping(*args: Any, **options: Any) -> NoReturn:
    raise RuntimeError(
        "Sampler SwD cannot run inside a node that wraps another sampler.\n"
        "Such nodes call the sampler for one fixed size, but SwD grows the latent.\n"
        "To do: connect Sampler SwD directly to SamplerCustomAdvanced."
    )
