"""Datasets and LoRAs that were finished since ComfyUI started, and how often one of them was deleted again."""

from __future__ import annotations

from pathlib import Path

from .teacher import Dataset

_finished: set[Dataset] = set()
_lost: dict[str, int] = {}
_loras: set[tuple[str, Path]] = set()
_lost_loras: dict[str, int] = {}


def note_finished(dataset: Dataset) -> None:
    """Remember a dataset whose files are all there."""
    _finished.add(dataset)


def times_lost(name: str | None) -> int:
    """How often files of a dataset went missing after it was finished; None for those of all datasets.

    ComfyUI runs a node again when this changes. It is the same before a dataset is made and after, so that nothing runs
    twice, and another once files are gone that ComfyUI still believes in.
    """
    for dataset in [known for known in _finished if name is None or known.name == name.strip()]:
        if not dataset.folder.is_finished(dataset.sizes, dataset.count):
            _finished.remove(dataset)
            _lost[dataset.name] = _lost.get(dataset.name, 0) + 1
    return sum(_lost.values()) if name is None else _lost.get(name.strip(), 0)


def note_lora(name: str, file: Path) -> None:
    """Remember the file of a LoRA that was trained."""
    _loras.add((name.strip(), file))


def times_lora_lost(name: str | None) -> int:
    """How often the file of a LoRA went missing after it was trained; see `times_lost`."""
    for known, file in [lora for lora in _loras if name is None or lora[0] == name.strip()]:
        if not file.is_file():
            _loras.remove((known, file))
            _lost_loras[known] = _lost_loras.get(known, 0) + 1
    return sum(_lost_loras.values()) if name is None else _lost_loras.get(name.strip(), 0)
