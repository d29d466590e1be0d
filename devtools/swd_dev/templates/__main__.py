"""Write the templates and their thumbnails into `workflows/`, and the blueprints into `subgraphs/` of the pack."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from swd_dev.paths import REPO
from swd_dev.templates.blueprints import all_blueprints
from swd_dev.templates.catalogue import all_templates
from swd_dev.thumbnails.catalogue import thumbnail


def main() -> None:
    argparse.ArgumentParser(prog="python -m swd_dev.templates", description=__doc__).parse_args()
    templates = all_templates()
    _write(REPO / "workflows", templates)
    _write(REPO / "subgraphs", all_blueprints())
    for title in templates:
        (REPO / "workflows" / f"{title}.jpg").write_bytes(thumbnail(title).jpeg())


def _write(folder: Path, documents: dict[str, dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    for title, document in documents.items():
        (folder / f"{title}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
