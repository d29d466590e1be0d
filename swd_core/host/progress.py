"""Live text in the node that is running."""

from __future__ import annotations

from comfy_execution.utils import get_executing_context
from server import PromptServer


def announce(text: str) -> None:
    """Show a line of text in the running node; nothing where no server runs the graph."""
    server = getattr(PromptServer, "instance", None)
    context = get_executing_context()
    if server is not None and context is not None:
        server.send_progress_text(text, context.node_id)
