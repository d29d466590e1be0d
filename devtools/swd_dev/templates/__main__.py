"""Write every template into a folder, as `<title>.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swd_dev.templates.catalogue import all_templates


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for title, workflow in all_templates().items():
        (out / f"{title}.json").write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
