"""A ComfyUI model as a network that can be distilled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ...distill.denoiser import Condition, Timesteps, on_device, per_picture
from ...distill.features import FeatureTap
from ...distill.lora import Adapters
from ...distill.network import Network
from ...distill.settings import DistillSettings
from ...distill.targets import choose_targets
from ..facts import sigma_of_timestep
from .architecture import read_architecture
from .gradients import differentiable_options


class HostDenoiser:
    """The model through ComfyUI's own `apply_model`, on ComfyUI's noise scale.

    `constants`: what the model is told besides the tensors of a condition, such as guidance, width and height.
    """

    def __init__(self, base_model: Any, model_sampling: Any, constants: Mapping[str, Any]) -> None:
        self._model = base_model
        self._sampling = model_sampling
        self._constants = dict(constants)
        # To look a sigma up in a table reads from the device.
        self._sigma_of = cache(partial(_float32_sigma, model_sampling))

    def sigmas(self, timesteps: Timesteps, like: Tensor) -> Tensor:
        """The sigmas of timesteps, in the shape that multiplies `like` [B, ...]."""
        return per_picture([self._sigma_of(timestep) for timestep in timesteps], like)

    def start(self, noise: Tensor, timesteps: Timesteps) -> Tensor:
        return self._scaled(noise, torch.zeros_like(noise), timesteps, True)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        return self._scaled(noise, clean, timesteps, False)

    def _scaled(self, noise: Tensor, clean: Tensor, timesteps: Timesteps, pure: bool) -> Tensor:
        noisy: Tensor = self._sampling.noise_scaling(self.sigmas(timesteps, noise), noise, clean, pure)
        return noisy

    def clean(self, noisy: Tensor, timesteps: Timesteps, condition: Condition) -> Tensor:
        named = {**self._constants, **condition, "noise": noisy, "device": noisy.device, "prompt_type": "positive"}
        with _sizes_on(self._model, noisy.device):
            given = self._model.extra_conds(**named)
        conditions = {
            name: value.process_cond(batch_size=len(noisy), device=noisy.device, area=None).cond
            for name, value in given.items()
        }
        clean: Tensor = self._model.apply_model(
            noisy, self.sigmas(timesteps, noisy).flatten(), transformer_options=differentiable_options(), **conditions
        )
        return clean


@contextlib.contextmanager
def _sizes_on(base_model: Any, device: torch.device) -> Iterator[None]:
    """Let SDXL have its size conditioning on a device for the time of the context.

    ComfyUI embeds the sizes on the CPU and fetches the pooled text to them, for which every forward pass would wait.
    """
    embedder = getattr(base_model, "embedder", None)
    if embedder is None:
        yield
        return
    handle = embedder.register_forward_hook(lambda module, inputs, embedded: on_device(embedded, device))
    try:
        yield
    finally:
        handle.remove()


def _float32_sigma(model_sampling: Any, timestep: float) -> float:
    """The sigma of a timestep in float32, as upstream's schedulers have it."""
    return sigma_of_timestep(model_sampling, float(torch.tensor(timestep, dtype=torch.float32)))


def build_network(patcher: Any, settings: DistillSettings, constants: Mapping[str, Any]) -> Network:
    """The network of a ModelPatcher whose model is loaded.

    Raises:
        InputError: a model that cannot be trained, or layers or a block that it does not have.
    """
    base_model = patcher.model
    architecture = read_architecture(base_model, settings.feature_block)
    targets = choose_targets(architecture.targets, settings.targets or architecture.patterns)
    return Network(
        denoiser=HostDenoiser(base_model, patcher.get_model_object("model_sampling"), constants),
        adapters=Adapters(base_model.diffusion_model, targets, settings.rank, settings.alpha),
        tap=FeatureTap(architecture.features, architecture.select),
        blocks=architecture.blocks if settings.gradient_checkpointing else (),
        precision=torch.bfloat16 if settings.precision == "bf16" else None,
        device=patcher.load_device,
    )
