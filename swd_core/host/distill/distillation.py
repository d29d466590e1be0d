"""Distillation as the nodes ask for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from ...distill.folder import show_sizes
from ...distill.loss_plot import draw_losses
from ...distill.settings import DistillSettings
from ...lora.file import LoraFile, read_lora
from ...plot import image_of
from ...schedule import Schedule
from ..lora import apply_lora
from ..progress import errors_announced
from .finished import note_finished, note_lora
from .progress import DatasetProgress, TrainingProgress, stop_announced
from .session import Session, train
from .teacher import Dataset, TeacherSettings, make_dataset, split_prompts


@stop_announced()
@errors_announced()
def build_dataset(
    model: Any,
    clip: Any,
    vae: Any,
    schedule: Schedule,
    name: str,
    prompts: str,
    negative: str,
    settings: TeacherSettings,
) -> tuple[Dataset, str]:
    """The dataset of the prompts in a text, one a line, and a line about it. Raises InputError as `make_dataset`."""
    lines = split_prompts(prompts)
    dataset = make_dataset(model, clip, vae, schedule, name, lines, negative, settings, DatasetProgress())
    note_finished(dataset)
    made = f"{dataset.count} pictures of {len(lines)} prompts, latents at {show_sizes(dataset.sizes)}"
    return dataset, f"{made}\nin {dataset.folder.root}"


@stop_announced()
@errors_announced()
def distill(
    model: Any, dataset: Dataset, schedule: Schedule, name: str, settings: DistillSettings, start_over: bool
) -> tuple[Any, str, Tensor, str]:
    """Train a LoRA and load it from its file again.

    Returns the MODEL with the LoRA, the name that the LoRA loaders list it by, a plot of the losses as an IMAGE, and a
    report. Raises InputError as `train` does.
    """
    session = train(model, dataset, schedule, name, settings, TrainingProgress(), start_over)
    note_lora(name, session.lora_file)
    listed = f"{session.lora_file.parent.name}/{session.lora_file.name}"
    student, loaded = apply_lora(model, _unmapped(read_lora(session.lora_file, listed)), 1.0)
    plot = image_of(draw_losses(session.trainer.history, f"{name}, {session.trainer.step} steps"))
    return student, listed, plot, f"{_report(session)}\n{loaded}\n{session.lora_file}"


def _unmapped(lora: LoraFile) -> LoraFile:
    # ComfyUI keeps the MODEL, and Windows would not let the next run replace a file that is mapped.
    return replace(lora, tensors={key: value.clone() for key, value in lora.tensors.items()})


def _report(session: Session) -> str:
    settings, trainer = session.settings, session.trainer
    adapters = session.network.adapters
    count = sum(parameter.numel() for parameter in adapters.parameters("student"))
    last = trainer.history[-1] if trainer.history else {}
    losses = ", ".join(f"{name} {value:.4g}" for name, value in last.items())
    done = f"{trainer.step} steps of {settings.batch_size} pictures"
    if session.idle:
        done = f"nothing was trained, for this run had its {trainer.step} steps already: raise steps to go on"
    elif session.resumed:
        done += f", went on from {session.resumed}"
    size = f"rank {settings.rank}, {len(adapters.targets)} layers, {count / 1e6:.2f} M numbers"
    if settings.dmd and settings.teacher_cfg > 1 and session.data.unconditional is None:
        size += "\nteacher_cfg has no effect: the dataset was made with cfg 1.0, without a negative prompt"
    return f"{done}; {size}\nlast step: {losses}"
