"""Where the layers and blocks of a ComfyUI model are that distillation works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.utils
from torch import Tensor, nn

from ...distill.targets import ATTENTION_AND_MLP, FLUX_LAYERS, Target
from ...errors import InputError
from ...family import FLUX_DEV, SD35_LARGE, SD35_MEDIUM
from ..facts import read_facts

# The block whose features upstream compares (arXiv 2503.16397v2, appendix A; train_sd35_medium.sh). Other models take
# the one in the middle.
_FEATURE_BLOCKS = {SD35_MEDIUM: 11, SD35_LARGE: 20, FLUX_DEV: 15}


@dataclass(frozen=True)
class Architecture:
    """What training needs to know of a diffusion model.

    `targets`: its linear layers by diffusers name. `patterns`: those that are trained unless told otherwise. `blocks`:
    what gradient checkpointing works on. `features`: the block that is looked into. `select`: the image features among
    what that block returns.
    """

    targets: Sequence[Target]
    patterns: Sequence[str]
    blocks: Sequence[nn.Module]
    features: nn.Module
    select: Callable[[Any], Tensor]


def read_architecture(base_model: Any, feature_block: int = -1) -> Architecture:
    """The architecture of a `comfy.model_base.BaseModel`. `feature_block`: index of the block, -1 for the default.

    Raises:
        InputError: a model of another kind, or a block that is not there.
    """
    model, config = base_model.diffusion_model, base_model.model_config.unet_config
    family = read_facts(base_model).family
    if hasattr(model, "joint_blocks"):
        block = _block(model.joint_blocks, family, feature_block)
        names = comfy.utils.mmdit_to_diffusers(config)
        return Architecture(_targets(names, model), ATTENTION_AND_MLP, list(model.joint_blocks), block, _second)
    if hasattr(model, "double_blocks") and hasattr(model, "single_blocks"):
        block = _block(model.double_blocks, family, feature_block)
        blocks = [*model.double_blocks, *model.single_blocks]
        return Architecture(_targets(comfy.utils.flux_to_diffusers(config), model), FLUX_LAYERS, blocks, block, _first)
    if getattr(model, "middle_block", None) is not None and "channel_mult" in config:
        names = comfy.utils.unet_to_diffusers(config)
        # ComfyUI runs the layers of the middle block one by one, so the block itself is never called.
        return Architecture(
            _targets(names, model), ATTENTION_AND_MLP, _unet_blocks(model), model.middle_block[-1], _whole
        )
    raise InputError(
        "model: SwD cannot train a LoRA for this model.",
        found=family,
        allowed="SD3.5, FLUX.1 and SDXL",
        remedy="load a model of one of these families.",
    )


def _block(blocks: nn.ModuleList, family: str, index: int) -> nn.Module:
    if index < 0:
        index = _FEATURE_BLOCKS.get(family, len(blocks))
        index = index if index < len(blocks) else (len(blocks) - 1) // 2
    if index >= len(blocks):
        raise InputError(
            "feature_block: the model has no such block.",
            found=str(index),
            allowed=f"0 to {len(blocks) - 1}, or -1 for the middle one",
            remedy="choose another block.",
        )
    return blocks[index]


def _unet_blocks(model: nn.Module) -> list[nn.Module]:
    kinds = ("BasicTransformerBlock", "ResBlock")
    return [module for module in model.modules() if type(module).__name__ in kinds]


def _targets(names: Mapping[str, Any], model: nn.Module) -> list[Target]:
    """The linear layers of a model by diffusers name, from one of ComfyUI's own tables of diffusers keys."""
    modules = dict(model.named_modules())
    found: dict[str, Target] = {}
    for name, place in sorted(names.items()):
        if not name.endswith(".weight"):
            continue
        key, rows, reorder = (*((place,) if isinstance(place, str) else place), None, None)[:3]
        module = key.removesuffix(".weight")
        weight = getattr(modules.get(module), "weight", None)
        if weight is not None and weight.ndim == 2:
            name = name.removesuffix(".weight")
            found[name] = Target(name, module, rows and (rows[1], rows[2]), reorder)
    return list(found.values())


def _first(output: Any) -> Tensor:
    return output[0]  # type: ignore[no-any-return]


def _second(output: Any) -> Tensor:
    return output[1]  # type: ignore[no-any-return]


def _whole(output: Any) -> Tensor:
    return output  # type: ignore[no-any-return]
