"""One run of the sampler: the stages of the loop, each by ComfyUI's own means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.cli_args import args
from torch import Tensor

from ..noise import NoiseAhead, StageNoise
from ..resize import resize
from ..stages import Stage
from .caches import forget_steps
from .compat import call_known, no_callback
from .conditions import conditions_of_second_model, entry_for_stage, stage_conditions, texts_on
from .controls import ControlStates
from .faults import stage_error
from .hooks import KeyframeStates
from .progress import announce
from .stage_sampler import StageSampler
from .text_conditions import is_wrapped, prepared_texts

Callback = Callable[..., None]


@dataclass
class Run:
    """State of one run.

    `noise` [B, C, [T,] H, W] gives the target's shape and device. `init`: the latent that came in, at the target size
    and unprocessed as `inner_sample` expects it, or None for an empty one. `mask`: the denoise mask at the target
    size, or None. `extra_args`: what `inner_sample` gives to a sampler besides. `stages` and `sigmas`: all of the run,
    not what is left of it; the sigmas, on the device, are the noise levels that conditions and patches look at.
    `pure_start`: begin with noise alone, whatever the latent that came in holds. `keyframes`, `controls`
    and `size`: hook keyframes, controls of other packs and size after the last stage.
    """

    guider: Any
    stages: Sequence[Stage]
    sigmas: Tensor
    callback: Callback | None
    noise: Tensor
    init: Tensor | None
    mask: Tensor | None
    extra_args: dict[str, Any]
    source: StageNoise
    pixels_per_latent: int
    has_noise: bool
    pure_start: bool
    keyframes: KeyframeStates = field(default_factory=list)
    controls: ControlStates = field(default_factory=list)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        picture = self.noise.shape[1:-2]
        shapes = [(*picture, *stage.size) for stage in self.stages]
        self.pinned = _pins_memory(self.noise.device)
        self.drawn = NoiseAhead(self.source, shapes, self.pinned)
        self.second = conditions_of_second_model(self.guider)
        device = self.noise.device
        # Once a run, and in the shape of the noise without memory of its own.
        self.zero = self.noise.new_zeros(())
        plain = self.init is None and self.mask is None
        self.texts = prepared_texts(self.guider, device) if plain else None
        self.conditions = texts_on(self.guider.original_conds, device) if self.texts is None else {}

    @property
    def model_sampling(self) -> Any:
        return self.guider.inner_model.model_sampling

    def draw(self, stage: Stage) -> Tensor:
        """Fresh noise [B, C, [T,] h, w] for a stage, on the device."""
        drawn = self.drawn.take().to(self.noise.device, non_blocking=self.pinned)
        # DisableNoise: the latent that came in carries its noise already.
        return drawn if self.has_noise or stage.index > 0 else drawn * 0

    def predict(self, stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor:
        """One forward pass at a stage. See `swd_core.loop.Predict`."""
        announce(f"step {stage.index + 1} of {len(self.stages)} at {stage.width} x {stage.height}")
        if self.size not in (None, stage.size):
            forget_steps(self.guider.model_options)
        self.size = stage.size
        sampler = StageSampler(self, stage, clean)
        try:
            if self.texts is not None:
                self._with_texts(sampler, noise)
            else:
                self._through_guider(sampler, noise)
        except (RuntimeError, AttributeError, TypeError) as error:
            told = stage_error(error, self.guider, stage, self.stages[-1], len(noise))
            if told is None:
                raise
            raise told from error
        assert sampler.x0 is not None
        return sampler.x0

    def _with_texts(self, sampler: StageSampler, noise: Tensor) -> None:
        """The stage with the conditions that ComfyUI has prepared for the run."""
        self.guider.conds = self.texts
        sampler.sample(self.guider, self.sigmas, {**self.extra_args}, self.callback or no_callback, noise)

    def _through_guider(self, sampler: StageSampler, noise: Tensor) -> None:
        """The stage by the guider's own `inner_sample`, for which ComfyUI prepares everything anew."""
        stage = sampler.stage
        sizes = (noise.shape[2:], self.noise.shape[2:], self.pixels_per_latent)
        self.guider.conds = stage_conditions(self.conditions, self.guider.model_options, *sizes)
        if self.second:
            self.guider._uncond_neg = [entry_for_stage(entry, *sizes) for entry in self.second]
        call_known(
            self.guider.inner_sample,
            noise,
            self._latent(stage, noise),
            noise.device,
            sampler,
            self.sigmas,
            None if self.mask is None else resize(self.mask, stage.size, "area"),
            self.callback or no_callback,
            True,
            self.extra_args.get("seed"),
            latent_shapes=[noise.shape],
        )

    def _latent(self, stage: Stage, noise: Tensor) -> Tensor | None:
        """What came in, at the size of a stage; for an empty latent None where only ComfyUI itself looks at it."""
        if self.init is not None:
            return resize(self.init, stage.size, "area")
        return None if _takes_none(self.guider) else torch.zeros_like(noise)

    def finish(self, x0: Tensor, last_sigma: float) -> Tensor:
        """The latent that the run ends with: x0, or x0 with noise again where the sigmas do not end in 0."""
        if last_sigma == 0:
            return x0
        noise = self.source.draw(x0.shape[1:]).to(x0.device)
        noisy = self.model_sampling.noise_scaling(self.sigmas[-1], noise, x0)
        finished: Tensor = self.model_sampling.inverse_noise_scaling(self.sigmas[-1], noisy)
        return finished


def _pins_memory(device: torch.device) -> bool:
    """Whether a copy from pinned memory is made without waiting for the stage before. ComfyUI knows where that is
    unsafe, and has an option for systems on which such memory makes trouble."""
    wanted = device.type == "cuda" and not args.disable_pinned_memory
    return wanted and comfy.model_management.device_supports_non_blocking(device)


def _takes_none(guider: Any) -> bool:
    """Whether `inner_sample` may be given None for an empty latent. Given zeros, ComfyUI's own looks whether they are
    zeros, and so waits for the device. Models that concatenate a latent need zeros, and the guiders and wrappers of
    other packs may rely on a tensor."""
    own = getattr(guider.inner_sample, "__globals__", None) is vars(comfy.samplers)
    return own and not is_wrapped(guider) and not getattr(guider.inner_model, "concat_keys", True)
