"""What went wrong at a stage, as a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..errors import InputError, explain
from ..lora.check import is_finite
from ..stages import Stage

# What torch says when tensors of two sizes meet.
_SIZE_CLASHES = ("must match", "size mismatch", "invalid for input of size", "shapes cannot be multiplied")
# What torch says of tensors whose first axis, which counts pictures, differs. Where it joins them it names no axis, but
# rows and columns are never one alone: a 1 is the one picture of a patch, beside those of a batch.
_PICTURE_CLASHES = (
    "at non-singleton dimension 0",
    "Expected size 1 but got size",
    "but got size 1 for tensor",
)
# What torch says on devices whose lack of memory is no exception of its own: Apple, DirectML, the CPU.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough gpu video memory")

_REMEDIES = {
    torch.float16: "float16 overflows in some models: start ComfyUI with --bf16-unet, or with --fp32-unet",
}
_REMEDY = "lower strength_model of the LoRAs, or take them off one by one: one of them, or the model, may be damaged"


def stage_error(error: Exception, guider: Any, stage: Stage, last: Stage, pictures: int) -> Exception | None:
    """What to raise in place of an error that a stage of a guider ran into; None to let it pass as it is.

    Lack of memory stays the exception by which ComfyUI knows it: then it unloads all models.
    """
    if not isinstance(error, RuntimeError):
        return _no_negative(error) if "NoneType" in str(error) and _lacks_negative(guider) else None
    if _is_out_of_memory(error):
        return _out_of_memory(error, stage, last, pictures)
    # A stage of the target's size ran into something else, unless earlier ones left it a tensor of theirs. The first
    # stage to multiply shapes that do not fit has a text of another width, of which ComfyUI tells its own way.
    clashes = _SIZE_CLASHES if stage.index > 0 else _SIZE_CLASHES[:-1]
    grows = stage.index > 0 or stage.size != last.size
    if grows and any(words in str(error) for words in clashes) and not _is_of_another_kind(error, stage):
        return _size_clash(error, stage)
    return None


def _is_of_another_kind(error: RuntimeError, stage: Stage) -> bool:
    """Whether what does not fit has nothing to do with the size of the latent: ComfyUI's samplers end in it as well."""
    # Weights that a LoRA hook was not made for. ComfyUI changes weights at the first pass that needs them.
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "comfy.lora":
            return True
        trace = trace.tb_next
    # Numbers of pictures, in what came with the prompt. Patches may keep tensors without such an axis from stage to
    # stage.
    return stage.index == 0 and any(words in str(error) for words in _PICTURE_CLASHES)


def _lacks_negative(guider: Any) -> bool:
    """Whether a patch asks for the negative prediction at any cfg and there is no prompt for it: ComfyUI gives None.
    Some patches do without, or do nothing then."""
    return guider.original_conds.keys() == {"positive"} and bool(guider.model_options.get("disable_cfg1_optimization"))


def _no_negative(error: Exception) -> InputError:
    return InputError(
        "negative: a patch on the model needs a negative prompt.",
        found=f"a positive prompt alone: {error}",
        allowed="a positive and a negative prompt, for patches such as Self-Attention Guidance",
        remedy="connect negative, with CFG Guider in place of Basic Guider, or take the patch off the model.",
    )


def not_finite(guider: Any, stage: Stage, last: Stage) -> InputError:
    """The error for a stage whose clean latent holds NaN or infinity. Names the prompt or the LoRA that it came from.

    `guider`: has its `inner_model` still.
    """
    prompt = next(_unsound_prompts(guider.original_conds), None)
    if prompt is not None:
        return InputError(
            f"{prompt}: the prompt is not finite.",
            found="NaN or infinity in the embedding of the text",
            allowed="finite numbers",
            remedy="start ComfyUI with --fp32-text-enc, or download the text encoder again.",
        )
    weight = next(_unsound_patches(guider.model_patcher.patches), None)
    if weight is not None:
        return InputError(
            "model: a LoRA on it is not finite.",
            found=f"NaN or infinity in what changes {weight[:100]}",
            allowed="finite numbers",
            remedy="take the LoRAs off one by one to see which it is, and download that one again.",
        )
    dtype = guider.inner_model.get_dtype_inference()
    return InputError(
        f"model: the latent of {_name(stage, last)} is not finite.",
        found=f"NaN or infinity from a model that computes in {str(dtype).removeprefix('torch.')}",
        allowed="finite numbers",
        remedy=f"{_REMEDIES.get(dtype, _REMEDY)}.",
    )


def _name(stage: Stage, last: Stage) -> str:
    return f"step {stage.index + 1} of {last.index + 1}, at {stage.width} x {stage.height},"


def _unsound_prompts(conditions: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    for name, entries in conditions.items():
        texts = (entry.get(key) for entry in entries for key in ("cross_attn", "pooled_output"))
        if any(isinstance(text, Tensor) and not is_finite(text) for text in texts):
            yield name


def _unsound_patches(patches: Mapping[str, Any]) -> Iterator[str]:
    return (weight for weight, entries in patches.items() if not all(map(is_finite, _tensors(entries))))


def _tensors(patch: Any) -> Iterator[Tensor]:
    """All tensors of a patch: in tuples and lists of any depth, and of ComfyUI's adapters."""
    if isinstance(patch, Tensor):
        yield patch
    elif isinstance(patch, (tuple, list)):
        for part in patch:
            yield from _tensors(part)
    elif hasattr(patch, "weights"):
        yield from _tensors(patch.weights)


def _is_out_of_memory(error: RuntimeError) -> bool:
    # ComfyUI's own test (0.18) also clears what an asynchronous error leaves on the device.
    known = getattr(comfy.model_management, "is_oom", lambda error: False)
    return (
        known(error)
        or isinstance(error, comfy.model_management.OOM_EXCEPTION)
        or any(words in str(error).lower() for words in _NO_MEMORY)
    )


def _out_of_memory(error: RuntimeError, stage: Stage, last: Stage, pictures: int) -> RuntimeError:
    count = f"{pictures} picture{'s' if pictures > 1 else ''}"
    out_of_memory: RuntimeError = comfy.model_management.OOM_EXCEPTION(
        explain(
            f"model: out of memory at {_name(stage, last)} with {count}.",
            found=error,
            allowed=f"what fits into memory; the last step, at {last.width} x {last.height}, needs the most",
            remedy="make fewer pictures at a time or a smaller latent_image, use weights of fewer bits, close other "
            "programs, or start ComfyUI with --novram.",
        )
    )
    return out_of_memory


def _size_clash(error: RuntimeError, stage: Stage) -> RuntimeError:
    size = f"{stage.width} x {stage.height}"
    trouble = (
        f"cannot follow the latent as it grows to {size}"
        if stage.index > 0
        else f"may be made for another size than {size}, at which the latent begins"
    )
    return RuntimeError(
        explain(
            f"Something on the model or in the prompt {trouble}.",
            found=error,
            allowed="patches that keep no tensor of one size from step to step, prompts without pictures of one size",
            remedy="remove them one by one. Adaptive Projected Guidance works with momentum 0; other guidance with "
            "momentum, Fooocus Inpaint, Pre CFG sharpening, compiled engines of a fixed shape, the picture of "
            "HiDream-E1, VACE frames, and subjects, poses and cameras of Wan do not work.",
        )
    )
