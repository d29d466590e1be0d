"""The nodes: schemas, and calls into the core."""

from __future__ import annotations

from . import compile, distill, latent, lora, plot, sampler, schedule

NODES = [*schedule.NODES, *sampler.NODES, *latent.NODES, *lora.NODES, *plot.NODES, *distill.NODES, *compile.NODES]
