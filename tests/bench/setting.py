"""What the figures of one call have in common."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

PRESETS: Mapping[str, str] = {
    "SD3.5 Medium, 6 steps": "sd35_medium",
    "SD3.5 Medium, 4 steps": "sd35_medium",
    "SD3.5 Large, 4 steps": "sd35_large",
    "FLUX.1-dev, 4 steps": "flux",
    "SDXL, 4 steps": "sdxl",
}


@dataclass(frozen=True)
class Setting:
    """Options of the bench.

    `true_size`: the real architectures with random weights; otherwise each figure says which small ones it takes.
    `side`: of the target in latent pixels (128 is 1024 px), None for that of the figure. `runs`: counted rounds.
    `presets`: the presets to measure. `swd`: node classes of the pack by id. `until`: the moment of `time.monotonic`
    after which no further case begins. `backend`: of torch.compile. `skipped` and `failed`: the cases that have no
    figure, and why.
    """

    device: torch.device
    true_size: bool
    side: int | None
    runs: int
    presets: Mapping[str, str]
    swd: Mapping[str, Any]
    pack: Path
    comfyui: Path
    tiny_models: Path
    until: float = float("inf")
    backend: str = "inductor"
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def size(self, small: str) -> str:
        """Size of the models: `small` (tiny or middle) unless the true ones are asked for."""
        return "true" if self.true_size else small

    @property
    def dtype(self) -> torch.dtype:
        """Of models with random weights; a CPU has no fast arithmetic for the other."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def target(self, small: int) -> int:
        """Side of the target in latent pixels."""
        return self.side or (128 if self.true_size else small)

    @property
    def left_out(self) -> dict[str, list[str]]:
        return {"skipped": self.skipped, "failed": self.failed}

    @property
    def counts(self) -> bool:
        """Whether the bars for a GPU at true size apply."""
        return self.true_size and self.device.type == "cuda"

    def has_time(self, case: str) -> bool:
        """Whether a case may begin; what may not is listed at the end."""
        if time.monotonic() < self.until:
            return True
        self.skipped.append(case)
        return False
