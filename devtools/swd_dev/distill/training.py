"""A training file, carried out on ComfyUI. Import this after `use_comfyui`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import comfy.sd
import folder_paths

from swd_dev.core import import_core
from swd_dev.distill.config import TrainingFile
from swd_dev.distill.processes import AccelerateWorkers
from swd_dev.errors import DevError

_session = import_core("host.distill.session")
_schedules = import_core("host.schedules")
_places = import_core("host.distill.places")
DatasetFolder = import_core("distill.folder").DatasetFolder
Dataset = import_core("host.distill.teacher").Dataset
draw_losses = import_core("distill.loss_plot").draw_losses
settings_from = import_core("distill.settings").settings_from
Alone = import_core("distill.workers").Alone
AUTO = import_core("presets").AUTO

KINDS = ("diffusion_models", "checkpoints")


def train_file(file: TrainingFile, workers: AccelerateWorkers | None) -> None:
    """Train the LoRA of a training file; goes on from its checkpoint. Process 0 prints, and writes losses.json and
    losses.png beside the checkpoint.

    Raises:
        DevError: no such model. InputError: whatever is wrong with the dataset, the schedule or the settings.
    """
    folder_paths.set_output_directory(str(file.output))
    model = load_model(file)
    schedule = (
        _schedules.schedule_from_numbers(model, file.scales, file.timesteps)
        if file.scales
        else _schedules.schedule_from_preset(model, AUTO)
    )
    settings = settings_from(file.training)
    dataset = _dataset(file.dataset, schedule)
    first = workers is None or workers.rank == 0
    session = _session.train(
        model, dataset, schedule, file.lora, settings, _Lines(first), file.start_over, workers or Alone()
    )
    if first:
        folder = _places.run_folder(file.lora)
        (folder / "losses.json").write_text(json.dumps(session.trainer.history), encoding="utf-8")
        draw_losses(session.trainer.history, file.lora).save(folder / "losses.png")
        print(session.lora_file)


class _Lines:
    """Progress as one printed line a step, of process 0."""

    def __init__(self, first: bool) -> None:
        self._first = first

    def after_step(self, session: Any, losses: dict[str, float]) -> None:
        if self._first:
            shown = ", ".join(f"{name} {value:.5g}" for name, value in losses.items())
            print(f"step {session.trainer.step} of {session.settings.steps}: {shown}", flush=True)

    def within_step(self, step: int, done: int, total: int) -> None:
        pass


def load_model(file: TrainingFile) -> Any:
    """The MODEL of a training file, by ComfyUI's own loaders."""
    for kind in KINDS:
        if file.models is not None:
            folder_paths.add_model_folder_path(kind, str(file.models / kind))
        if file.model in folder_paths.get_filename_list(kind):
            path = Path(folder_paths.get_full_path_or_raise(kind, file.model))
            if kind == "diffusion_models":
                return comfy.sd.load_diffusion_model(str(path))
            return comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]
    raise DevError(f"model: {file.model} is in none of {', '.join(f'models/{kind}' for kind in KINDS)}.")


def _dataset(name: str, schedule: Any) -> Any:
    info = DatasetFolder(_places.dataset_folder(name)).info()
    if info is None:
        raise DevError(
            f"dataset: there is no {name} in {_places.dataset_folder(name).parent}; make it with SwD Teacher Dataset."
        )
    return Dataset.of(name, schedule, info)
