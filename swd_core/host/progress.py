"""Live text in the node that is running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..errors import shorten


def announce(text: str) -> None:
    """Show a line of text in the running node; nothing where no server runs the graph."""
    server = getattr(PromptServer, "instance", None)
    context = get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(text, context.node_id)


@contextmanager
def errors_announced() -> Iterator[None]:
    """Show in the running node what is wrong and what to do, where else the words of an earlier run would stay.

    ComfyUI's own notice only says that the node failed.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        text = shorten(str(error))
        if text:
            announce(text)
        raise
