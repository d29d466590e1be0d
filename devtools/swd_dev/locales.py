"""The English texts of the nodes as a locale: `python -m swd_dev.locales locales/en` writes them.

The schemas hold the English texts. The files repeat them for translators, and for tools that compare languages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .client import ComfyClient
from .environment import Settings
from .errors import DevError
from .paths import REPO
from .server import ComfyServer

Texts = dict[str, Any]


def english_files(object_info: Mapping[str, Mapping[str, Any]]) -> dict[str, Texts]:
    """The files of the English locale by name, from what /object_info says of the nodes of the pack."""
    categories = {info["category"] for info in object_info.values()}
    return {
        "main.json": {"nodeCategories": {category: category for category in sorted(categories)}},
        "nodeDefs.json": {node_id: _node_texts(object_info[node_id]) for node_id in sorted(object_info)},
    }


def as_json(texts: Texts) -> str:
    """The text of a locale file."""
    return json.dumps(texts, indent=2, ensure_ascii=False) + "\n"


def _node_texts(info: Mapping[str, Any]) -> Texts:
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    outputs = zip(info["output_name"], info["output_tooltips"], strict=True)
    return {
        "display_name": info["display_name"],
        "description": info["description"],
        # Without a name: the front end would show it in place of the input's own.
        "inputs": {_key(name): {"tooltip": options["tooltip"]} for name, (_, options) in inputs.items()},
        "outputs": {str(i): {"name": name, "tooltip": tooltip} for i, (name, tooltip) in enumerate(outputs)},
    }


def _key(name: str) -> str:
    # What the front end makes of a name before it looks it up (normalizeI18nKey).
    return name.replace(".", "_")


def main(out: Path) -> None:
    settings = Settings.read()
    if settings.tiny_models is None:
        raise DevError("SWD_TINY_MODELS is not set; set it as dev.py does.")
    with ComfyServer(settings.comfyui, settings.server_python, REPO, settings.tiny_models) as server:
        object_info = ComfyClient(server.url).object_info()
    ours = {key: info for key, info in object_info.items() if info["python_module"] == "custom_nodes.swd"}
    out.mkdir(parents=True, exist_ok=True)
    for name, texts in english_files(ours).items():
        (out / name).write_text(as_json(texts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
