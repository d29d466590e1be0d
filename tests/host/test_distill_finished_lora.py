"""What SwD Distill LoRA tells ComfyUI, which runs a node again when that changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from distilling import tensors_of


def test_a_lora_that_is_gone_is_written_again(swd: dict[str, Any], distill, output: Path) -> None:
    def told(name: str | None) -> Any:
        return swd["SWDDistillLora"].fingerprint_inputs(lora_name=name, model=None, steps=2)

    # None: the name comes from another node, so any loss counts.
    start = told(None)
    assert told("one") == told("two") == 0
    distill(lora_name="one", steps=2)
    distill(lora_name="two", steps=2)
    assert (told("one"), told("two"), told(None)) == (0, 0, start), "nothing is trained twice"
    file = output / "loras/one/adapter_model.safetensors"
    before = tensors_of(file)
    file.unlink()
    assert (told(" one "), told("one"), told("two"), told(None)) == (1, 1, 0, start + 1)
    assert distill(lora_name="one", steps=2)[3].startswith("nothing was trained")
    assert all(torch.equal(value, before[key]) for key, value in tensors_of(file).items())
    assert (told("one"), told(None)) == (1, start + 1)
    shutil.rmtree(output / "loras")
    assert (told("one"), told("two"), told(None)) == (2, 1, start + 3)
