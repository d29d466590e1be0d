"""The note of a template: where its model files come from, where they go, and how to use it."""

from __future__ import annotations

from collections.abc import Sequence

from swd_dev.graph import File
from swd_dev.templates.bases import Base


def note(base: Base, files: Sequence[File], hints: Sequence[str]) -> str:
    """Links and folders of all files, in the manner of ComfyUI's own templates. `files`: those beside the LoRA."""
    lora, config = base.lora, base.lora_config
    lines = [
        *_links(files),
        "**loras**", "",
        f"- [{lora.name}]({lora.url}): the hub calls it adapter_model.safetensors. Save it under this name: "
        "the preset auto knows its schedule by it.",
        f"- [{config.name}]({config.url}): optional, holds the scale of the LoRA. The hub calls it "
        "adapter_config.json.", "",
        "## Model Storage Location", "", "```", "ComfyUI/models/",
        *(f"  {file.directory}/{file.name}" for file in (*files, lora, config)), "```", "",
        "## Use", "", *(f"- {hint}" for hint in (*hints, *base.hints)), "",
        "## Licences", "", f"- {base.licence}",
        f"- The LoRA: see [its page]({base.page}).",
    ]  # fmt: skip
    return "\n".join(lines)


def note_without_lora(files: Sequence[File], hints: Sequence[str], licence: str) -> str:
    """The note of a template that loads no LoRA."""
    lines = [
        *_links(files),
        "## Model Storage Location", "", "```", "ComfyUI/models/",
        *(f"  {file.directory}/{file.name}" for file in files), "```", "",
        "## Use", "", *(f"- {hint}" for hint in hints), "",
        "## Licences", "", f"- {licence}",
    ]  # fmt: skip
    return "\n".join(lines)


def _links(files: Sequence[File]) -> list[str]:
    lines = ["## Model Links", ""]
    for directory in dict.fromkeys(file.directory for file in files):
        lines += [f"**{directory}**", ""]
        lines += [f"- [{file.name}]({file.url}) ({file.size})" for file in files if file.directory == directory] + [""]
    return lines
