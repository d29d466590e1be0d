"""The node that makes what an SwD LoRA is trained on.

What trains is imported when it runs: it is half of the pack, and most sessions of ComfyUI never need it.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..swd_core.host.choices import sampler_names, scheduler_names
from .types import CATEGORY, TRAINING_ALIASES, DatasetType, ScheduleType


class SWDTeacherDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDTeacherDataset",
            display_name="SwD Teacher Dataset",
            category=CATEGORY,
            description="Makes the pictures that an SwD LoRA learns from, with the full model, and keeps them on disk. "
            "A run that was cut off goes on where it stopped.",
            search_aliases=[*TRAINING_ALIASES, "training data"],
            is_experimental=True,
            is_output_node=True,
            inputs=[*_teacher_inputs(), *_sampling_inputs()],
            outputs=[
                DatasetType.Output(display_name="dataset", tooltip="For SwD Distill LoRA."),
                io.String.Output(display_name="report", tooltip="How many pictures there are, and where."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        schedule: Any,
        prompts: str,
        negative_prompt: str,
        dataset_name: str,
        **settings: Any,
    ) -> io.NodeOutput:
        from ..swd_core.host.distill.distillation import build_dataset
        from ..swd_core.host.distill.teacher import TeacherSettings

        dataset, report = build_dataset(
            model, clip, vae, schedule, dataset_name, prompts, negative_prompt, TeacherSettings(**settings)
        )
        return io.NodeOutput(dataset, report)

    @classmethod
    def fingerprint_inputs(cls, dataset_name: str | None = None, **others: Any) -> int:
        # The files may have been deleted since; None where the name comes from another node.
        from ..swd_core.host.distill.finished import times_lost

        return times_lost(dataset_name)


def _teacher_inputs() -> list[Any]:
    return [
        io.Model.Input("model", tooltip="The teacher: the full model, without a few-step LoRA."),
        io.Clip.Input("clip", tooltip="The text encoders of the model."),
        io.Vae.Input("vae", tooltip="The VAE of the model. Pictures shrink in pixels and are encoded at every scale."),
        ScheduleType.Input("schedule", tooltip="The schedule that the LoRA is trained for."),
        io.String.Input(
            "prompts", multiline=True, default="", tooltip="One prompt per line. You may add lines at the end later."
        ),
        io.String.Input("negative_prompt", multiline=True, default="", tooltip="Only used where cfg is not 1.0."),
        io.String.Input(
            "dataset_name", default="teacher", tooltip="The folder in output/swd/datasets that keeps the pictures."
        ),
    ]


def _sampling_inputs() -> list[Any]:
    return [
        io.Int.Input("images_per_prompt", default=1, min=1, max=1000, tooltip="Pictures of each prompt."),
        io.Int.Input("width", default=1024, min=64, max=16384, step=8, tooltip="Width of the pictures, in pixels."),
        io.Int.Input("height", default=1024, min=64, max=16384, step=8, tooltip="Height of the pictures, in pixels."),
        io.Int.Input(
            "first_seed",
            default=0,
            min=0,
            max=2**64 - 1,
            tooltip="Picture n has this seed + n. Another seed asks for another dataset name.",
        ),
        io.Int.Input("steps", default=28, min=1, max=1000, tooltip="Steps of the teacher; use many."),
        io.Float.Input(
            "cfg",
            default=4.5,
            min=1.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Guidance of the teacher: 4.5 for SD3.5, 7.5 for SDXL, 1.0 for FLUX.",
        ),
        io.Combo.Input("sampler_name", options=sampler_names(), default="euler", tooltip="Sampler of the teacher."),
        io.Combo.Input(
            "scheduler",
            options=scheduler_names(),
            default="normal",
            tooltip="Noise levels of the teacher.",
        ),
        io.Float.Input(
            "guidance",
            default=4.5,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="Embedded guidance of FLUX, in the pictures and in training. Other models ignore it.",
        ),
    ]


NODES = [SWDTeacherDataset]
