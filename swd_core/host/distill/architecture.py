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
from ..facts import core_class, read_facts

# The block whose features upstream compares (arXiv 2503.16397v2, appendix A; train_sd35_medium.sh). Other models take
# the one in the middle.
_FEATURE_BLOCKS = {SD35_MEDIUM: 11, SD35_LARGE: 20, FLUX_DEV: 15}


Config = Mapping[str, Any]


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
    read = _READERS.get(core_class(base_model))
    family = read_facts(base_model).family
    if read is None:
        raise InputError(
            "model: SwD cannot train a LoRA for this model.",
            found=family,
            allowed="SD3.5, FLUX.1 and SDXL",
            remedy="load a model of one of these families.",
        )
    return read(base_model.diffusion_model, base_model.model_config.unet_config, family, feature_block)


def _mmdit(model: Any, config: Config, family: str, feature_block: int) -> Architecture:
    block = _block(model.joint_blocks, family, feature_block)
    targets = _targets(comfy.utils.mmdit_to_diffusers(config), model)
    return Architecture(targets, ATTENTION_AND_MLP, list(model.joint_blocks), block, _second)


def _flux(model: Any, config: Config, family: str, feature_block: int) -> Architecture:
    block = _block(model.double_blocks, family, feature_block)
    blocks = [*model.double_blocks, *model.single_blocks]
    return Architecture(_targets(comfy.utils.flux_to_diffusers(config), model), FLUX_LAYERS, blocks, block, _first)


def _unet(model: Any, config: Config, family: str, feature_block: int) -> Architecture:
    # ComfyUI runs the layers of the middle block one by one, so the block itself is never called.
    targets, block = _targets(comfy.utils.unet_to_diffusers(config), model), model.middle_block[-1]
    return Architecture(targets, ATTENTION_AND_MLP, _unet_blocks(model), block, _whole)


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


# By class of comfy.model_base. Others have blocks like these (Chroma, FLUX.2, HunyuanVideo, SD1.5), but a LoRA trained
# for them was never compared with diffusers', and for some nothing would load it.
_READERS: dict[str, Callable[[Any, Config, str, int], Architecture]] = {"SD3": _mmdit, "Flux": _flux, "SDXL": _unet}
