"""Write every template into `workflows/` of the pack: `<title>.json` and its thumbnail `<title>.jpg`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from swd_dev.paths import REPO
from swd_dev.templates.catalogue import all_templates
from swd_dev.thumbnails.catalogue import thumbnail


def main(workflows: Path) -> None:
    for title, workflow in all_templates().items():
        (workflows / f"{title}.json").write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")
        (workflows / f"{title}.jpg").write_bytes(thumbnail(title).jpeg())


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m swd_dev.templates", description=__doc__).parse_args()
    main(REPO / "workflows")
