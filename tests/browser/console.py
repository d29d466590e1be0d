"""Which errors in the browser's console are ComfyUI's own. Anything else that a page writes there fails its test."""

from __future__ import annotations

import re

# The first six come without any pack as well (--disable-all-custom-nodes).
EXPECTED = {
    r"404 .* <.*/user\.css>": "the user has no style sheet of their own",
    r"404 .* <.*/api/userdata\?dir=(workflows|subgraphs)&.*>": "the user has saved nothing yet",
    r"404 .* <.*/api/userdata/comfy\.templates\.json>": "the user has saved no group of nodes",
    r"404 .* <.*/api/userdata/workflows%2F\.index\.json>": "the user has marked no workflow as a favourite",
    r"404 .* <.*/favicon\.ico>": "a front end before 1.45 has its icon elsewhere",
    r"^ComfyApp graph accessed before initialization": "the front end 1.47 reads its graph before it made it",
    r"404 .* <.*/extensions/[^/]+/docs/\w+/[\w-]+\.md>": "the help in the user's own language, asked for first",
    # --disable-api-nodes shuts the page off from the network.
    r"https://api\.comfy\.org/.*Content Security Policy": "the error panel asks the Registry about a node",
    r"https://huggingface\.co/.*Content Security Policy": "the size of a missing file, as ComfyUI's first workflow has",
}


def is_fault(line: str) -> bool:
    """Whether an error of the console, as `text <address>`, is none of `EXPECTED`."""
    return not any(re.search(pattern, line) for pattern in EXPECTED)
