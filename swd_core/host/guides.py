"""Guide pictures of LTX-Video, brought to the size of a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InputError

Size = Sequence[int]


def guides_for_stage(entry: Mapping[str, Any], stage: Size, target: Size) -> dict[str, Any]:
    """What to change in an entry so that its guides have the tokens of a stage.

    The frames of the guides stand at the end of the latent and shrink with it, but ComfyUI notes the place of each of
    their tokens for the size at which they were added, and the model lays these over that many tokens from the end: of
    a smaller stage, over frames that are no guides. `stage` and `target`: ([frames,] height, width) in latent pixels;
    keyframe_idxs: [B, axes, tokens, ...], a token for each latent pixel.

    Raises:
        InputError: a guide that has a grid of its own.
    """
    places = entry.get("keyframe_idxs")
    height, width = target[-2:]
    if places is None or not places.numel() or places.shape[2] % (height * width):
        return {}
    if tuple(stage[-2:]) == (height, width):
        return {}
    # Tokens are in the order of frames, rows and columns, and a row or column has the same place at every size.
    frames = places.unflatten(2, (-1, height, width))[:, :, :, : stage[-2], : stage[-1]]
    changed = {"keyframe_idxs": frames.flatten(2, 4)}
    if entry.get("guide_attention_entries"):
        changed["guide_attention_entries"] = [
            _attention_for_stage(guide, stage, target) for guide in entry["guide_attention_entries"]
        ]
    return changed


def _attention_for_stage(guide: Mapping[str, Any], stage: Size, target: Size) -> dict[str, Any]:
    """How one guide is attended to: its number of tokens, and the size to which its mask is scaled."""
    (height, width), (rows, columns) = target[-2:], stage[-2:]
    frames, *size = guide["latent_shape"]
    if size != [height, width]:
        # Its pixels stand apart in the latent, with holes that the model skips: a smaller latent is all hole.
        raise InputError(
            "latent_image: a guide in it cannot follow the latent as it grows.",
            found=f"a guide of {size[1]} x {size[0]} spread over a latent of {width} x {height}",
            allowed="guides of the size of the latent, or a schedule whose scales are all the same",
            remedy="disconnect iclora_parameters from LTXV Add Guide, or use another sampler.",
        )
    tokens = guide["pre_filter_count"] // (height * width) * rows * columns
    return {**guide, "pre_filter_count": tokens, "latent_shape": [frames, rows, columns]}
