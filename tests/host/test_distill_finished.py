"""What SwD Teacher Dataset tells ComfyUI, which runs a node again when that changes; see also test_http."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def test_it_changes_once_for_each_loss_and_for_nothing_else(swd: dict[str, Any], make_teacher, output: Path) -> None:
    def told(name: str | None) -> Any:
        return swd["SWDTeacherDataset"].fingerprint_inputs(dataset_name=name, prompts=None, steps=2)

    datasets = output / "swd" / "datasets"
    # None: the name comes from another node, so any loss counts.
    start = told(None)
    assert told("one") == told("two") == 0
    make_teacher(dataset_name="one")
    make_teacher(dataset_name="two")
    assert (told("one"), told("two"), told(None)) == (0, 0, start)
    (datasets / "one" / "dataset.json").unlink()
    assert (told(" one "), told("one"), told("two"), told(None)) == (1, 1, 0, start + 1)
    make_teacher(dataset_name="one")
    assert (told("one"), told(None)) == (1, start + 1)
    for name in ("one", "two"):
        shutil.rmtree(datasets / name)
    assert told(None) == start + 3
    assert (told("one"), told("two")) == (2, 1)
