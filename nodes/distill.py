"""Nodes that train an SwD LoRA.

What trains is imported when it runs: it is half of the pack, and most sessions of ComfyUI never need it.
"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..swd_core.distill.settings import DistillSettings
from ..swd_core.host.choices import sampler_names, scheduler_names
from .types import CATEGORY, ScheduleType

DatasetType = io.Custom("SWD_DATASET")
_ALIASES = ["SwD", "train LoRA", "distillation", "few step", "scale-wise", "DMD", "MMD"]
_DEFAULTS = DistillSettings()
_CONTINUE, _START_OVER = "continue", "start over"


class SWDTeacherDataset(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDTeacherDataset",
            display_name="SwD Teacher Dataset",
            category=CATEGORY,
            description="Makes the pictures that an SwD LoRA learns from, with the full model, and keeps them on disk. "
            "A run that was cut off goes on where it stopped.",
            search_aliases=[*_ALIASES, "training data"],
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


class SWDDistillLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SWDDistillLora",
            display_name="SwD Distill LoRA",
            category=CATEGORY,
            description="Trains an SwD LoRA for a schedule on the pictures of SwD Teacher Dataset, and writes it to "
            "output/loras. Stopping keeps what is trained so far; the next run goes on from there.",
            search_aliases=_ALIASES,
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


NODES = [SWDTeacherDataset, SWDDistillLora]
