"""The nodes: schemas, and calls into the core."""

from __future__ import annotations

from . import compile, dataset, distill, latent, lora, plot, sampler, schedule

_FILES = (schedule, sampler, latent, lora, plot, dataset, distill, compile)
NODES = [node for file in _FILES for node in file.NODES]
