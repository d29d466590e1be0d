"""The SAMPLER of one stage: exactly one forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.samplers
from torch import Tensor

from ..stages import Stage
from .controls import read_controls, write_controls
from .hooks import read_keyframes, write_keyframes

if TYPE_CHECKING:
    from .run import Callback, Run


class StageSampler(comfy.samplers.KSAMPLER):
    """What KSAMPLER does around a sampler function, for a single step.

    KSAMPLER itself would noise the latent that came in once more at every stage, only for it to be thrown away, and
    ask the device for its sigmas, which makes Python wait for the stage before. `x0`: the clean latent of the stage,
    once it has run.
    """

    def __init__(self, run: Run, stage: Stage, clean: Tensor | None) -> None:
        super().__init__(None, {})
        self.run = run
        self.stage = stage
        self.clean = clean
        self.x0: Tensor | None = None

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callback,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Called by `CFGGuider.inner_sample`; all tensors at the size of the stage, in the model's latent space."""
        latent = self.run.zero.expand_as(noise) if latent_image is None else latent_image
        extra_args["denoise_mask"] = denoise_mask
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent, noise
        index = self.stage.index
        sigma = sigmas[index]
        # The noise is the stage's, unless a wrapper (FreeNoise of context windows) has rearranged it.
        x = self._noised(latent, sigma, noise)
        conditions = self.run.guider.conds
        write_keyframes(self.run.keyframes)
        write_controls(self.run.controls)
        x0: Tensor = model(x, sigma.repeat(x.shape[0]), **extra_args)
        self.run.keyframes = read_keyframes(conditions)
        self.run.controls = read_controls(conditions)
        self.x0 = x0
        callback(index, x0, x, len(sigmas) - 1)
        return x0

    def _noised(self, latent: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """The noisy latent of the stage, by the model's own forward process."""
        noised: Tensor
        if self.clean is not None:
            noised = self.run.model_sampling.noise_scaling(sigma, noise, self.clean)
        elif self.run.pure_start:
            noised = self.run.model_sampling.noise_scaling(sigma, noise, self.run.zero.expand_as(noise), True)
        else:
            noised = self.run.model_sampling.noise_scaling(sigma, noise, latent)
        return noised
