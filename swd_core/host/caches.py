"""Caches of earlier steps that patches keep on a model."""

from __future__ import annotations

from typing import Any


def forget_steps(model_options: dict[str, Any]) -> None:
    """Make EasyCache and LazyCache start over, before a stage of another size.

    Their own check of the shape works for one change only: a reset forgets the shape as well, so the next change goes
    unnoticed and a step may be made of cached differences of another size (nodes_easycache.py, check_metadata).
    """
    holder = model_options.get("transformer_options", {}).get("easycache")
    if hasattr(holder, "reset"):
        holder.reset()
