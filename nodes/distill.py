"""The node that trains an SwD LoRA.

What trains is imported when it runs: it is half of the pack, and most sessions of ComfyUI never need it.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..swd_core.distill.settings import DistillSettings
from .types import CATEGORY, TRAINING_ALIASES, DatasetType, ScheduleType

_DEFAULTS = DistillSettings()
_CONTINUE, _START_OVER = "continue", "start over"


class SWDDistillLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDDistillLora",
            display_name="SwD Distill LoRA",
            category=CATEGORY,
            description="Trains an SwD LoRA for a schedule on the pictures of SwD Teacher Dataset, and writes it to "
            "output/loras. Stopping keeps what is trained so far; the next run goes on from there.",
            search_aliases=TRAINING_ALIASES,
            is_experimental=True,
            is_output_node=True,
            inputs=[*_run_inputs(), *_loss_inputs(), *_detail_inputs()],
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with the trained LoRA."),
                io.String.Output(display_name="lora_name", tooltip="The name that LoRA loaders list the file by."),
                io.Image.Output(display_name="loss_plot", tooltip="Every loss over the steps."),
                io.String.Output(display_name="report", tooltip="What was trained, and where the file is."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        dataset: Any,
        schedule: Any,
        lora_name: str,
        existing_run: str,
        training_seed: int,
        **values: Any,
    ) -> io.NodeOutput:
        from ..swd_core.host.distill.distillation import distill

        settings = DistillSettings(seed=training_seed, fake_learning_rate=values["learning_rate"], **values)
        results = distill(model, dataset, schedule, lora_name, settings, existing_run == _START_OVER)
        return io.NodeOutput(*results, ui=ui.PreviewImage(results[2], cls=cls))

    @classmethod
    def fingerprint_inputs(cls, lora_name: str | None = None, **others: Any) -> int:
        # The file may have been deleted since; None where the name comes from another node.
        from ..swd_core.host.distill.finished import times_lora_lost

        return times_lora_lost(lora_name)


def _run_inputs() -> list[Any]:
    return [
        io.Model.Input("model", tooltip="The model to train a LoRA for: the one that made the dataset."),
        DatasetType.Input("dataset", tooltip="From SwD Teacher Dataset."),
        ScheduleType.Input("schedule", tooltip="The schedule to train for; the dataset must have its sizes."),
        io.String.Input("lora_name", default="my-swd-lora", tooltip="The folder in output/loras for the LoRA."),
        io.Combo.Input(
            "existing_run",
            options=[_CONTINUE, _START_OVER],
            default=_CONTINUE,
            tooltip="What to do with a run of the same name: continue resumes it, after a stop or with more steps.",
        ),
        io.Int.Input(
            "steps", default=_DEFAULTS.steps, min=1, max=1_000_000, tooltip="Updates of the LoRA. Upstream: about 3000."
        ),
        io.Int.Input(
            "batch_size",
            default=_DEFAULTS.batch_size,
            min=1,
            max=4096,
            tooltip="Pictures per update. Upstream: 64 for SD3.5 Medium and SDXL, 24 to 32 for larger models.",
        ),
        io.Int.Input(
            "rank", default=_DEFAULTS.rank, min=1, max=1024, tooltip="Rank of the LoRA. Upstream: 64, FLUX 128."
        ),
        io.Float.Input(
            "learning_rate",
            default=_DEFAULTS.learning_rate,
            min=1e-9,
            max=1.0,
            step=1e-7,
            round=False,
            tooltip="Step size of AdamW. Upstream: 5e-6. A small batch or a small model needs more.",
        ),
        io.Int.Input(
            "training_seed",
            default=_DEFAULTS.seed,
            min=0,
            max=2**64 - 1,
            tooltip="Start of the LoRA, order of the pictures and all noise.",
        ),
    ]


def _loss_inputs() -> list[Any]:
    return [
        io.Boolean.Input(
            "mmd", default=True, tooltip="Match block features. Alone it is a whole method, and the fastest."
        ),
        io.Boolean.Input(
            "dmd", default=True, tooltip="Distribution matching with a second LoRA; several times the work of MMD."
        ),
        io.Boolean.Input(
            "gan", default=True, tooltip="A small discriminator on block features, beside the second LoRA."
        ),
        io.Combo.Input(
            "mmd_kernel",
            options=["linear", "rbf"],
            default="linear",
            advanced=True,
            tooltip="How the features are compared. Upstream: linear.",
        ),
        io.Float.Input(
            "teacher_cfg",
            default=_DEFAULTS.teacher_cfg,
            min=1.0,
            max=100.0,
            step=0.1,
            advanced=True,
            tooltip="Guidance of the teacher within DMD. Needs a dataset made with cfg above 1.",
        ),
        io.Int.Input(
            "fake_steps",
            default=_DEFAULTS.fake_steps,
            min=1,
            max=100,
            advanced=True,
            tooltip="Updates of the second LoRA for each of the student, with DMD or GAN.",
        ),
    ]


def _detail_inputs() -> list[Any]:
    return [
        io.Int.Input(
            "micro_batch",
            default=1,
            min=0,
            max=4096,
            advanced=True,
            tooltip="Pictures per forward pass: less memory, the same result. 0 for the whole batch.",
        ),
        io.Combo.Input(
            "precision",
            options=["bf16", "fp32"],
            default="bf16",
            advanced=True,
            tooltip="Precision of the forward passes. The LoRA itself is trained in 32 bits.",
        ),
        io.Combo.Input(
            "lora_dtype",
            options=["fp32", "bf16", "fp16"],
            default="bf16",
            advanced=True,
            tooltip="Data type of the LoRA file.",
        ),
        io.Boolean.Input(
            "gradient_checkpointing",
            default=True,
            advanced=True,
            tooltip="Far less memory for about a third more time.",
        ),
        io.Float.Input(
            "ema",
            default=0.0,
            min=0.0,
            max=0.9999,
            step=0.0001,
            round=False,
            advanced=True,
            tooltip="Decay of an average of the weights, which is then what is written; 0 for none, as upstream.",
        ),
        io.Int.Input(
            "save_every",
            default=250,
            min=0,
            max=100_000,
            advanced=True,
            tooltip="Steps between checkpoints; 0 saves only at the end or at a stop.",
        ),
        io.Int.Input(
            "preview_every",
            default=50,
            min=0,
            max=100_000,
            advanced=True,
            tooltip="Steps between previews; 0 for none.",
        ),
    ]


NODES = [SWDDistillLora]
