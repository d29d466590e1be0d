"""SwD as a ComfyUI SAMPLER."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import comfy.samplers
import torch
from torch import Tensor

from ..finite import FiniteWatch
from ..loop import sample_scalewise
from ..noise import StageNoise, recover_items
from ..schedule import Schedule
from ..stages import plan_stages
from .checks import check_finite, check_run, read_sigmas
from .conditions import conditions_of_second_model
from .faults import not_finite
from .progress import errors_announced
from .remarks import remarks_on
from .report import clock_for, log_run, timed
from .run import Callback, Run


class ScaleWiseSampler(comfy.samplers.KSAMPLER):
    """A SAMPLER that grows the latent.

    It is entered once, at the target size, so ComfyUI loads the model and reserves memory for the largest stage. Each
    stage then goes through the guider's own `inner_sample` at the size of the stage, so ComfyUI itself resolves areas,
    masks, inpainting, concat latents and ControlNet hints there; text alone, which has none of these, is prepared once.
    The object is cached between prompts and holds no state of a run. `items`: number k of each picture for the noise
    rule; None recovers them from the noise that comes in.
    """

    def __init__(self, schedule: Schedule, upscale_method: str, items: Sequence[int] | None = None) -> None:
        super().__init__(_refuse_wrapping, {})
        self.schedule = schedule
        self.upscale_method = upscale_method
        self.items = items

    @errors_announced()
    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callback | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Called by `CFGGuider.inner_sample`; all tensors at the target size, in the model's latent space."""
        check_run(model_wrap, self.schedule, noise, latent_image)

        def grow() -> Tensor:
            return self._grow(model_wrap, sigmas, extra_args, callback, noise, latent_image, denoise_mask)

        if getattr(comfy.samplers.KSAMPLER.sample, "__globals__", None) is vars(comfy.samplers):
            return grow()
        return _by_way_of_ksampler(grow, model_wrap, sigmas, extra_args, noise, latent_image, denoise_mask)

    def _grow(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callback | None,
        noise: Tensor,
        latent_image: Tensor | None,
        denoise_mask: Tensor | None,
    ) -> Tensor:
        empty = check_finite(
            {"latent_image: it": latent_image, "latent_image: its mask": denoise_mask, "noise: it": noise}
        )
        # ComfyUI's samplers multiply them by float32 ones; timesteps in half precision are off by their third digit.
        sigmas = sigmas.float()
        levels = read_sigmas(sigmas, model_wrap.inner_model.model_sampling)
        stages = plan_stages(self.schedule, levels, *noise.shape[-2:])
        # Numbers that other packs make may be numpy's, which end below 2^64, or decimal ones; torch takes these too.
        seed = int(extra_args.get("seed") or 0)
        has_noise = "noise: it" not in empty
        has_latent = latent_image is not None and "latent_image: it" not in empty
        items = recover_items(noise, seed) if self.items is None else list(map(int, self.items))
        remarks = remarks_on(
            model_wrap.model_patcher, self.schedule, stages, items is not None, has_latent and not has_noise
        )
        run = Run(
            guider=model_wrap,
            stages=stages,
            sigmas=sigmas,
            callback=callback,
            noise=noise,
            # As it was before `inner_sample` shifted and scaled it.
            init=model_wrap.inner_model.process_latent_out(latent_image) if has_latent else None,
            mask=denoise_mask,
            extra_args=extra_args,
            source=StageNoise(seed, range(len(noise)) if items is None else items),
            pixels_per_latent=self.schedule.model.pixels_per_latent,
            has_noise=has_noise,
            # At the top of its noise scale a model is to see noise alone; ComfyUI would leave the latent below it.
            pure_start=has_noise and self.max_denoise(model_wrap, sigmas),
        )
        clock, watch = clock_for(noise.device), FiniteWatch()
        with _restored(model_wrap):
            x0 = sample_scalewise(stages, timed(watch.over(run.predict), clock), run.draw, self.upscale_method)
            bad = watch.first_bad()
            if bad is not None:
                raise not_finite(model_wrap, stages[bad], stages[-1])
            log_run(self.schedule, stages, noise.shape[0], clock, remarks)
            return run.finish(x0, levels[-1])


def _by_way_of_ksampler(
    grow: Callable[[], Tensor],
    model_wrap: Any,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    noise: Tensor,
    latent_image: Tensor | None,
    denoise_mask: Tensor | None,
) -> Tensor:
    """A run inside `KSAMPLER.sample`, before which smZNodes and TiledDiffusion put functions that learn its sigmas.

    What ComfyUI's own part of it makes of the latent is not used.
    """
    grown: list[Tensor] = []

    def run(*arguments: Any, **options: Any) -> Tensor:
        grown.append(grow())
        return grown[0]

    latent = torch.zeros_like(noise) if latent_image is None else latent_image
    comfy.samplers.KSAMPLER(run).sample(model_wrap, sigmas, extra_args, None, noise, latent, denoise_mask, True)
    return grown[0]


@contextmanager
def _restored(guider: Any) -> Iterator[None]:
    """Put back what the stages change, also after an interrupt: ComfyUI cleans up with the conditions it prepared."""
    conditions, second = guider.conds, conditions_of_second_model(guider)
    shapes = getattr(guider.inner_model, "latent_shapes", None)
    try:
        yield
    finally:
        guider.conds = conditions
        if second:
            guider._uncond_neg = second
        if shapes is not None:
            guider.inner_model.latent_shapes = shapes


def _refuse_wrapping(*args: Any, **options: Any) -> NoReturn:
    raise RuntimeError(
        "Sampler SwD cannot run inside a node that wraps another sampler.\n"
        "Such nodes call the sampler for one fixed size, but SwD grows the latent.\n"
        "To do: connect Sampler SwD directly to SamplerCustomAdvanced."
    )
