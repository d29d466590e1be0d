"""What keeps gradients from passing through a ComfyUI model, put aside for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor, nn


def differentiable_options() -> dict[str, Any]:
    """Transformer options under which attention has a gradient: that of PyTorch, whatever the user chose."""
    return {"optimized_attention_override": _torch_attention}


def _torch_attention(chosen: Any, *arguments: Any, **named: Any) -> Tensor:
    return attention_pytorch(*arguments, **named)  # type: ignore[no-any-return]


@contextlib.contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Let gradients pass through a diffusion model for the time of the context, without touching a weight.

    Nodes run in torch's inference mode, in which nothing has a gradient. ComfyUI's flag for training turns off kernels
    that have none. Older versions leave their weights with gradients, which would take as much memory as the model.
    Blocks of several models add to their input in place, which would change what their norms keep for the backward
    pass: so the norms get copies.
    """
    management = comfy.model_management
    before = getattr(management, "in_training", False)
    norms = [module for module in model.modules() if "Norm" in type(module).__name__]
    handles = [norm.register_forward_pre_hook(_copy_input) for norm in norms]
    try:
        management.in_training = True
        with torch.inference_mode(False), torch.enable_grad(), _ordinary(model), _frozen(model):
            yield
    finally:
        management.in_training = before
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def float32_mode(base_model: Any) -> Iterator[None]:
    """Let a `BaseModel` with weights of fewer bits compute in float32 for the time of the context.

    Each weight is cast when it is used, as ComfyUI does on devices that lack the other arithmetic. Without, a model
    computes in the type of its weights, and in float16 about half of the LoRA's gradients is too small to be a number.
    """
    layers = [
        module for module in base_model.diffusion_model.modules() if not getattr(module, "comfy_cast_weights", True)
    ]
    before = base_model.manual_cast_dtype
    try:
        base_model.manual_cast_dtype = torch.float32
        for layer in layers:
            layer.comfy_cast_weights = True
        yield
    finally:
        base_model.manual_cast_dtype = before
        for layer in layers:
            layer.comfy_cast_weights = False


@contextlib.contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _copy_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not torch.is_grad_enabled() or not isinstance(inputs[0], Tensor):
        return None
    return (inputs[0].clone(), *inputs[1:])


@contextlib.contextmanager
def _ordinary(model: nn.Module) -> Iterator[None]:
    """Replace weights that were loaded in inference mode, which autograd refuses, by equal ones; one at a time."""
    quantised: list[tuple[nn.Module, str]] = []
    try:
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.is_inference():
                    module._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
                    if type(parameter) is not nn.Parameter:
                        quantised.append((module, name))
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.is_inference():
                    module._buffers[name] = buffer.clone()
        yield
    finally:
        # In inference mode, where ComfyUI moves weights, torch cannot detach a wrapped tensor that is an ordinary one.
        with torch.inference_mode():
            for module, name in quantised:
                module._parameters[name] = nn.Parameter(module.get_parameter(name).clone(), requires_grad=False)
