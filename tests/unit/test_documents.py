"""What the documents for developers and users name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    "CONTRIBUTING.md", "README.md", "SECURITY.md", "example_client/README.md", ".github/pull_request_template.md",
)  # fmt: skip
# A path below the root, or a file of the root: the documents write them as code.
NAMED = re.compile(r"`((?:\.?[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:md|py|toml|json))`")
LINKED = re.compile(r"\]\((?!https?://)([^)#]+)")
MODULE = re.compile(r"-m (swd_\w+(?:\.\w+)*)")
# Folders of ComfyUI and of the hub, files that a user's own folder holds, and what a test run writes.
ELSEWHERE = re.compile(r"models/|test-output/|custom_nodes|yresearch/|OWNER/|adapter_(config|model)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_in_it_exists(document: str) -> None:
    text = (PACK / document).read_text(encoding="utf-8")
    folder = (PACK / document).parent
    named = {path for path in (*NAMED.findall(text), *LINKED.findall(text)) if not ELSEWHERE.search(path)}
    missing = [path for path in named if not any((root / path).exists() for root in (PACK, folder))]
    assert not missing
    assert named or document.startswith(".github")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_in_it_exists(document: str) -> None:
    for module in MODULE.findall((PACK / document).read_text(encoding="utf-8")):
        path = "/".join(module.split("."))
        roots = (PACK / "devtools" / path, PACK / path)
        assert any(root.with_suffix(".py").is_file() or (root / "__main__.py").is_file() for root in roots), module
