"""One run of the sampler: the stages of the loop, each through the guider's own `inner_sample`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
from torch import Tensor

from ..noise import StageNoise
from ..resize import resize
from ..stages import Stage
from .caches import forget_steps
from .compat import call_known, no_callback
from .conditions import stage_conditions
from .faults import stage_error
from .hooks import KeyframeStates, read_keyframes, write_keyframes
from .progress import announce

Callback = Callable[..., None]


@dataclass
class Run:
    """State of one run.

    `noise` [B, C, [T,] H, W] gives the target's shape and device. `init`: the latent that came in, at the target size
    and unprocessed as `inner_sample` expects it, or None for an empty one. `mask`: the denoise mask at the target
    size, or None. `stages` and `sigmas`: all of the run, not what is left of it; the sigmas, on the device, are the
    noise levels that conditions and patches look at. `pure_start`: begin with noise alone, whatever the latent that
    came in holds. `keyframes` and `size`: hook keyframes and size after the last stage.
    """

    guider: Any
    stages: Sequence[Stage]
    sigmas: Tensor
    callback: Callback | None
    noise: Tensor
    init: Tensor | None
    mask: Tensor | None
    seed: int
    source: StageNoise
    pixels_per_latent: int
    has_noise: bool
    pure_start: bool
    keyframes: KeyframeStates = field(default_factory=list)
    size: tuple[int, int] | None = None

    @property
    def model_sampling(self) -> Any:
        return self.guider.inner_model.model_sampling

    def draw(self, stage: Stage) -> Tensor:
        """Fresh noise [B, C, [T,] h, w] for a stage, on the device."""
        drawn = self.source.draw((*self.noise.shape[1:-2], *stage.size)).to(self.noise.device)
        # DisableNoise: the latent that came in carries its noise already.
        return drawn if self.has_noise or stage.index > 0 else drawn * 0

    def predict(self, stage: Stage, clean: Tensor | None, noise: Tensor) -> Tensor:
        """One forward pass at a stage. See `swd_core.loop.Predict`."""
        announce(f"step {stage.index + 1} of {len(self.stages)} at {stage.width} x {stage.height}")
        target = tuple(self.noise.shape[-2:])
        self.guider.conds = stage_conditions(self.guider, stage.size, target, self.pixels_per_latent)
        if self.size not in (None, stage.size):
            forget_steps(self.guider.model_options)
        self.size = stage.size
        forward = _Forward(self, stage, clean)
        try:
            call_known(
                self.guider.inner_sample,
                noise,
                noise * 0 if self.init is None else resize(self.init, stage.size, "area"),
                noise.device,
                comfy.samplers.KSAMPLER(forward),
                self.sigmas,
                None if self.mask is None else resize(self.mask, stage.size, "area"),
                self.callback or no_callback,
                True,
                self.seed,
                latent_shapes=[noise.shape],
            )
        except RuntimeError as error:
            told = stage_error(error, stage, self.stages[-1], len(noise))
            if told is None:
                raise
            raise told from error
        assert forward.x0 is not None
        return forward.x0

    def finish(self, x0: Tensor, last_sigma: float) -> Tensor:
        """The latent that the run ends with: x0, or x0 with noise again where the sigmas do not end in 0."""
        if last_sigma == 0:
            return x0
        noise = self.source.draw(x0.shape[1:]).to(x0.device)
        noisy = self.model_sampling.noise_scaling(self.sigmas[-1], noise, x0)
        finished: Tensor = self.model_sampling.inverse_noise_scaling(self.sigmas[-1], noisy)
        return finished


class _Forward:
    """A sampler function of exactly one forward pass, for the KSAMPLER of a stage."""

    def __init__(self, run: Run, stage: Stage, clean: Tensor | None) -> None:
        self.run = run
        self.stage = stage
        self.clean = clean
        self.x0: Tensor | None = None

    def __call__(
        self, model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, disable: bool
    ) -> Tensor:
        sigma = sigmas[self.stage.index]
        # The model's noise is the stage's, unless a wrapper (FreeNoise of context windows) has rearranged it.
        x = self._noised(x, sigma, model.noise)
        conditions = self.run.guider.conds
        if self.stage.index > 0:
            write_keyframes(conditions, self.run.keyframes)
        x0: Tensor = model(x, sigma * x.new_ones([x.shape[0]]), **extra_args)
        self.run.keyframes = read_keyframes(conditions)
        self.x0 = x0
        callback({"i": self.stage.index, "denoised": x0, "x": x, "sigma": sigma, "sigma_hat": sigma})
        return x0

    def _noised(self, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """The noisy latent of the stage, by the model's own forward process.

        `x`: what KSAMPLER made of the latent that came in, which is what an img2img run starts from.
        """
        scaling = self.run.model_sampling.noise_scaling
        if self.clean is not None:
            x = scaling(sigma, noise, self.clean)
        elif self.run.pure_start:
            x = scaling(sigma, noise, noise * 0, True)
        return x
