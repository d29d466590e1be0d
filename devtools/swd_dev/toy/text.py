"""Caption features as inference gets them, kept on disk: ComfyUI's CLIPLoader (type sd3) on the demo's CLIP-L."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

CLIP_L_WIDTH = 768
CONTEXT_WIDTH, POOLED_WIDTH = 4096, 2048
# Every caption with its end token fits in so many; CLIP is causal, so what follows does not change them.
SHORT, FULL = 16, 77
BATCH = 32


class Features(NamedTuple):
    """CLIP-L's part of the conditioning: context [N, tokens, 768], pooled [N, 768]; the rest is zero."""

    context: Tensor
    pooled: Tensor

    def at(self, rows: Tensor) -> Features:
        return Features(self.context[rows], self.pooled[rows])

    def padded(self) -> Features:
        """As SD3 takes them: context [N, tokens, 4096] and pooled [N, 2048], float32."""
        pad = torch.nn.functional.pad
        context = pad(self.context.float(), (0, CONTEXT_WIDTH - CLIP_L_WIDTH))
        return Features(context, pad(self.pooled.float(), (0, POOLED_WIDTH - CLIP_L_WIDTH)))


def load_clip(path: Path) -> Any:
    """ComfyUI's CLIP object for SD3 from a CLIP-L file. ComfyUI must be importable."""
    import comfy.sd

    return comfy.sd.load_clip(ckpt_paths=[str(path)], clip_type=comfy.sd.CLIPType.SD3)


def encode_batch(clip: Any, captions: Sequence[str], tokens: int = FULL) -> Features:
    """The first tokens of what `clip.encode_from_tokens` gives for each caption, in one pass of the network."""
    clip.load_model()
    encoder = clip.cond_stage_model.clip_l
    encoder.set_clip_options({"execution_device": clip.patcher.load_device})
    ids = [[token for token, *_ in clip.tokenize(caption)["l"][0]][:tokens] for caption in captions]
    positions = encoder.transformer.text_model.embeddings.position_embedding
    whole = positions.weight
    # ComfyUI adds all 77 positions, so a shorter text needs a shorter table.
    positions.weight = torch.nn.Parameter(whole[:tokens], requires_grad=False)
    try:
        with torch.no_grad():
            context, pooled = encoder(ids)
    finally:
        positions.weight = whole
    return Features(context.cpu(), pooled.cpu())


class CaptionCache:
    """Features in half precision by caption, one file; `encode` adds what is missing and saves as it goes."""

    def __init__(self, path: Path, clip_path: Path, tokens: int = FULL) -> None:
        self._path, self._clip_path, self._tokens = path, clip_path, tokens
        self._clip: Any = None
        self._rows: dict[str, Features] = {}
        if path.is_file():
            stored = load_file(path)
            names = bytes(stored["captions"].tolist()).decode().split("\n")
            self._rows = {name: Features(stored["context"][n], stored["pooled"][n]) for n, name in enumerate(names)}

    def encode(self, captions: Sequence[str]) -> Features:
        """Features of the captions in their order, float16."""
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._rows]
        for start in range(0, len(missing), BATCH):
            chunk = missing[start : start + BATCH]
            made = encode_batch(self._loaded(), chunk, self._tokens)
            for n, caption in enumerate(chunk):
                self._rows[caption] = Features(made.context[n].half(), made.pooled[n].half())
            if start // BATCH % 10 == 9:
                print(f"text {start + len(chunk)} of {len(missing)}", flush=True)
                self._save()
        if missing:
            self._save()
        rows = [self._rows[caption] for caption in captions]
        return Features(torch.stack([row.context for row in rows]), torch.stack([row.pooled for row in rows]))

    def _loaded(self) -> Any:
        if self._clip is None:
            self._clip = load_clip(self._clip_path)
        return self._clip

    def _save(self) -> None:
        names = "\n".join(self._rows).encode()
        partial = self._path.with_suffix(".partial")
        tensors = {
            "captions": torch.tensor(list(names), dtype=torch.uint8),
            "context": torch.stack([row.context for row in self._rows.values()]),
            "pooled": torch.stack([row.pooled for row in self._rows.values()]),
        }
        save_file(tensors, partial)
        partial.rename(self._path)
