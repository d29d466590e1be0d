"""A training run inside ComfyUI."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import comfy.model_management
import comfy.model_sampling
from torch import Tensor

from ...distill.checkpoint import load_checkpoint
from ...distill.folder import FolderData, show_sizes
from ...distill.grid import DDPM_GRID, FLUX_GRID, SD3_GRID, TimestepGrid
from ...distill.network import STUDENT, Network
from ...distill.peft_file import LoraInfo, write_peft_folder
from ...distill.run import run_training
from ...distill.sampling import sample_network
from ...distill.settings import DTYPES, DistillSettings
from ...distill.trainer import Trainer
from ...distill.workers import Alone, Workers
from ...errors import InputError
from ...schedule import Schedule
from ..compat import call_known
from ..facts import read_facts
from .architecture import read_architecture
from .gradients import float32_mode, training_mode
from .network import build_network
from .places import lora_folder, run_folder
from .teacher import Dataset

_ALONE = Alone()


class Progress(Protocol):
    """What a run tells while it lasts. Each may raise to stop the run, which keeps what is trained so far."""

    def after_step(self, session: Session, losses: dict[str, float]) -> None:
        """The losses of a step by name."""
        ...

    def within_step(self, step: int, done: int, total: int) -> None:
        """See `swd_core.distill.trainer.WithinStep`."""
        ...


@dataclass
class Session:
    """One run: what it trains, on what, and where it writes. `resumed`: the step that it went on from."""

    model: Any
    name: str
    schedule: Schedule
    dataset: Dataset
    settings: DistillSettings
    network: Network
    trainer: Trainer
    data: FolderData
    resumed: int
    lora_file: Path

    @property
    def idle(self) -> bool:
        """Whether there was nothing left to train."""
        return self.trainer.step == self.resumed

    def preview(self, picture: int = 0) -> Tensor:
        """A clean latent [1, C, H, W] for the prompt of a picture, scale by scale, of the student as it is written."""
        stage, condition = self.data.picture(picture, 0)
        one = {name: value[None].to(self.network.device) for name, value in condition.items()}
        sizes, timesteps = self.dataset.sizes, self.schedule.timesteps
        channels = stage.target.shape[0]
        with self.trainer.as_written():
            return sample_network(self.network, STUDENT, one, channels, sizes, timesteps, self.settings.seed)

    def write_lora(self) -> Path:
        """Write the student's LoRA as a PEFT folder."""
        return write_peft_folder(
            self.lora_file.parent,
            self.trainer.student_weights(),
            LoraInfo(
                rank=self.settings.rank,
                alpha=self.network.adapters.alpha,
                targets=self.settings.targets or read_architecture(self.model.model).patterns,
                scales=self.schedule.scales,
                timesteps=self.schedule.timesteps,
            ),
            DTYPES[self.settings.lora_dtype],
        )


def train(
    model: Any,
    dataset: Dataset,
    schedule: Schedule,
    name: str,
    settings: DistillSettings,
    progress: Progress,
    start_over: bool = False,
    workers: Workers = _ALONE,
) -> Session:
    """Train the LoRA `name` for a ModelPatcher; goes on from the checkpoint of that name if there is one.

    The model keeps its weights.

    Raises:
        InputError: a dataset that was not made for this schedule, a name that is no folder name, a checkpoint of
        another run or one that cannot be removed, a model that cannot be trained.
    """
    folder = run_folder(name)
    data = FolderData(dataset.folder, schedule.sizes(*dataset.sizes[-1]), model.model.process_latent_in)
    patcher = _loaded(model)
    diffusion_model = patcher.model.diffusion_model
    exact = float32_mode(patcher.model) if settings.precision == "fp32" else contextlib.nullcontext()
    with training_mode(diffusion_model), exact:
        session = _prepare(patcher, data, dataset, schedule, name, settings, progress, start_over, workers)
        if start_over and workers.rank == 0:
            # Not before the new run is known to be one, for what is gone is gone. No other process looks at it.
            _remove(folder)
        with session.network.installed():
            run_training(
                session.trainer,
                folder if workers.rank == 0 else None,
                session.write_lora,
                lambda step, losses: progress.after_step(session, losses),
            )
    if workers.rank == 0 and (session.idle or not session.lora_file.is_file()):
        # What is written may have changed, such as its dtype.
        session.write_lora()
    return session


def _loaded(model: Any) -> Any:
    # Training runs on weights that stay where they are; a copy that streams them in has no gradients.
    patcher = call_known(model.clone, disable_dynamic=True)
    call_known(comfy.model_management.load_models_gpu, [patcher], memory_required=1e20, force_full_load=True)
    if getattr(patcher.model, "model_lowvram", False):
        raise InputError(
            "model: ComfyUI keeps its weights out of the memory of the device.",
            found=f"weights that come to {patcher.load_device} a layer at a time, as with --novram",
            allowed="weights that stay there while the LoRA is trained",
            remedy="start ComfyUI without --novram and --lowvram, or choose a smaller model.",
        )
    return patcher


def _prepare(
    patcher: Any,
    data: FolderData,
    dataset: Dataset,
    schedule: Schedule,
    name: str,
    settings: DistillSettings,
    progress: Progress,
    start_over: bool,
    workers: Workers,
) -> Session:
    network = build_network(patcher, settings, data.constants)
    origin = {
        "family": read_facts(patcher.model).family,
        "dataset": dataset.name,
        "sizes": show_sizes(schedule.sizes(*dataset.sizes[-1])),
        "scales": list(schedule.scales),
    }
    grid = _grid(patcher, schedule)
    trainer = Trainer(network, data, schedule.timesteps, grid, settings, workers, origin, progress.within_step)
    if not start_over:
        load_checkpoint(trainer, run_folder(name))
    if trainer.step > settings.steps:
        raise InputError(
            f"lora_name: {name} was trained for longer than this.",
            found=f"a checkpoint of step {trainer.step}",
            allowed=f"at most steps = {settings.steps}",
            remedy="raise steps, choose another name, or start over.",
        )
    file = lora_folder(name) / "adapter_model.safetensors"
    return Session(patcher, name, schedule, dataset, settings, network, trainer, data, trainer.step, file)


def _remove(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise InputError(
            f"existing_run: the run {folder.name} cannot be removed.",
            found=str(error),
            allowed="a folder that ComfyUI may delete",
            remedy="close what uses its files, delete the folder yourself, or choose another name.",
        ) from error


def _grid(patcher: Any, schedule: Schedule) -> TimestepGrid:
    if isinstance(patcher.get_model_object("model_sampling"), comfy.model_sampling.CONST):
        return FLUX_GRID if schedule.model.family.startswith("FLUX") else SD3_GRID
    return DDPM_GRID
