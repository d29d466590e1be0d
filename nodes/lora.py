"""Nodes for LoRA files."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..swd_core.errors import InputError
from ..swd_core.host.lora import load_lora, lora_fingerprint, lora_names, lora_path
from ..swd_core.host.lora_save import save_lora
from .types import CATEGORY


class SWDLoraLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDLoraLoader",
            display_name="SwD LoRA Loader",
            category=CATEGORY,
            description="Loads a LoRA as it was published, PEFT folders included, and says what it loaded.",
            search_aliases=["SwD", "scale-wise", "few step", "PEFT LoRA", "flux lora", "adapter_model", "yandex"],
            inputs=[
                io.Model.Input("model", tooltip="The base model."),
                _lora_name_input(),
                io.Float.Input(
                    "strength_model",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Factor on top of the LoRA's own scale. SwD LoRAs were trained for 1.0.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with the LoRA on it."),
                io.String.Output(display_name="report", tooltip="How many layers were loaded, and at which scale."),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora_name: str | None) -> bool | str:
        return _check_listed(lora_name)

    @classmethod
    def fingerprint_inputs(cls, model: Any, lora_name: str | None, strength_model: float) -> str:
        return lora_fingerprint(lora_name) if lora_name else ""

    @classmethod
    def execute(cls, model: Any, lora_name: str, strength_model: float) -> io.NodeOutput:
        return io.NodeOutput(*load_lora(model, lora_name, strength_model))


class SWDLoraSave(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDLoraSave",
            display_name="SwD LoRA Save",
            category=CATEGORY,
            description="Writes a LoRA in the form that every other loader takes, its scale included.",
            search_aliases=["SwD", "convert LoRA", "PEFT to safetensors", "export LoRA", "scale-wise"],
            is_output_node=True,
            inputs=[
                _lora_name_input(),
                io.String.Input(
                    "filename_prefix",
                    default="loras/SwD",
                    tooltip="Folder and beginning of the file's name, inside ComfyUI's output folder.",
                ),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="What was written, and where.")],
        )

    @classmethod
    def validate_inputs(cls, lora_name: str | None) -> bool | str:
        return _check_listed(lora_name)

    @classmethod
    def fingerprint_inputs(cls, lora_name: str | None, filename_prefix: str) -> str:
        return lora_fingerprint(lora_name) if lora_name else ""

    @classmethod
    def execute(cls, lora_name: str, filename_prefix: str) -> io.NodeOutput:
        return io.NodeOutput(save_lora(lora_name, filename_prefix))


def _lora_name_input() -> io.Combo.Input:
    return io.Combo.Input(
        "lora_name",
        options=lora_names() or [""],
        tooltip="A file in models/loras. Keep its adapter_config.json in a folder with it, or as "
        "NAME.adapter_config.json: the scale is written there.",
    )


def _check_listed(lora_name: str | None) -> bool | str:
    # A node that checks its name itself is spared the check against the list, which knows only this system's separator.
    try:
        return lora_name is None or bool(lora_path(lora_name))
    except InputError as error:
        return str(error)


NODES = [SWDLoraLoader, SWDLoraSave]
