"""The student: a LoRA for the toy teacher, distilled with the pack's own trainer on the teacher's set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from swd_dev.core import import_core
from swd_dev.errors import DevError
from swd_dev.toy.autoencoder import FACTOR, Autoencoder
from swd_dev.toy.model import CONTEXT_WEIGHT, POOLED_WEIGHT, TIMESTEPS
from swd_dev.toy.pictures import to_pictures
from swd_dev.toy.sampling import GUIDANCE, STUDENT_SIDES, STUDENT_TIMESTEPS
from swd_dev.toy.sheets import save_sheet
from swd_dev.toy.teacher_set import TeacherSet
from swd_dev.toy.text import CLIP_L_WIDTH, Features

_pairs = import_core("distill.pairs")
_targets = import_core("distill.targets")
_network = import_core("distill.network")
_peft = import_core("distill.peft_file")
_checkpoint = import_core("distill.checkpoint")
Adapters = import_core("distill.lora").Adapters
FeatureTap = import_core("distill.features").FeatureTap
FlowDenoiser = import_core("distill.denoiser").FlowDenoiser
DistillSettings = import_core("distill.settings").DistillSettings
SD3_GRID = import_core("distill.grid").SD3_GRID
Trainer = import_core("distill.trainer").Trainer
draw_losses = import_core("distill.loss_plot").draw_losses
run_training = import_core("distill.run").run_training
sample_network = import_core("distill.sampling").sample_network

SIZES = tuple((side, side) for side in STUDENT_SIDES)
FEATURE_BLOCK = 1
SHEET_EVERY = 250

# Upstream's losses. The rest is for a small model: a rate far above upstream's 5e-6, and fewer updates of the
# fake-score network, which here keeps up with the student as it is.
SETTINGS: dict[str, Any] = {
    "steps": 4000,
    "teacher_cfg": GUIDANCE,
    "batch_size": 16,
    "rank": 32,
    "learning_rate": 1e-3,
    "fake_learning_rate": 1e-3,
    "beta2": 0.99,
    "warmup": 20,
    "decay": "cosine",
    "gan": False,
    "fake_steps": 2,
    "precision": "fp32",
    "gradient_checkpointing": False,
    "lora_dtype": "fp16",
    "save_every": 50,
}


class StudentData:
    """The teacher's set as training data: latents for every stage, and the features of the captions."""

    def __init__(self, stages: Sequence[Any], features: Features, empty: Features) -> None:
        self._stages, self._features, self._empty = stages, features, empty

    @property
    def unconditional(self) -> dict[str, Tensor]:
        """The condition without a prompt; see swd_core.distill.data.TrainingData."""
        return self._condition(self._empty, 0)

    def __len__(self) -> int:
        return len(self._features.context)

    def picture(self, index: int, stage: int) -> tuple[Any, dict[str, Tensor]]:
        """One picture; see swd_core.distill.data.TrainingData."""
        latents = self._stages[stage]
        previous = None if latents.previous is None else latents.previous[index].float()
        return _pairs.StageLatents(latents.target[index].float(), previous), self._condition(self._features, index)

    @staticmethod
    def _condition(features: Features, index: int) -> dict[str, Tensor]:
        return {"context": features.context[index].float(), "pooled": features.pooled[index].float()}


def begin(folder: Path, sources: Sequence[Path]) -> None:
    """Make the folder of a run, or empty it where it was begun with other files than `sources`."""
    folder.mkdir(parents=True, exist_ok=True)
    made_from = folder / "made_from.txt"
    now = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sources)
    if made_from.is_file() and made_from.read_text(encoding="utf-8") == now:
        return
    for path in folder.iterdir():
        path.unlink()
    made_from.write_text(now, encoding="utf-8")


def make_pairs(path: Path, teacher_set: TeacherSet, autoencoder: Autoencoder, batch: int = 64) -> list[Any]:
    """The latents of all pictures for every stage, from decoded and shrunk pictures; kept in a file."""
    count = len(teacher_set.captions)
    stored = load_file(path) if path.is_file() else {}
    if not stored:
        parts: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for start in range(0, count, batch):
                pixels = autoencoder.decode(teacher_set.latents[start : start + batch]).clamp(0, 1)
                for number, stage in enumerate(_pairs.encode_stages(pixels, SIZES, autoencoder.encode, FACTOR)):
                    parts.setdefault(f"target.{number}", []).append(stage.target.half())
                    if stage.previous is not None:
                        parts.setdefault(f"previous.{number}", []).append(stage.previous.half())
        stored = {name: torch.cat(tensors) for name, tensors in parts.items()}
        save_file(stored, path)
    return [_pairs.StageLatents(stored[f"target.{n}"], stored.get(f"previous.{n}")) for n in range(len(STUDENT_SIDES))]


def make_network(teacher: Any, rank: int) -> Any:
    """The teacher as a network with LoRAs. It takes text of CLIP-L's width alone: the other columns are zero."""
    _narrow(teacher, CONTEXT_WEIGHT)
    _narrow(teacher, POOLED_WEIGHT)

    def velocity(latents: Tensor, timesteps: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        predicted: Tensor = teacher(latents, condition["context"], condition["pooled"], timesteps * TIMESTEPS).sample
        return predicted

    targets = _targets.choose_targets(_targets.linear_targets(teacher), _targets.ATTENTION_AND_MLP)
    return _network.Network(
        denoiser=FlowDenoiser(velocity),
        adapters=Adapters(teacher, targets, rank),
        tap=FeatureTap(teacher.transformer_blocks[FEATURE_BLOCK], lambda output: output[1]),
    )


def _narrow(teacher: nn.Module, weight: str) -> None:
    parent, _, name = weight.removesuffix(".weight").rpartition(".")
    holder = teacher.get_submodule(parent)
    wide = getattr(holder, name)
    if wide.weight[:, CLIP_L_WIDTH:].any():
        raise DevError(f"{weight}: this teacher reads more than CLIP-L's features; the student's data holds no others.")
    narrow = nn.Linear(CLIP_L_WIDTH, wide.out_features)
    with torch.no_grad():
        narrow.weight.copy_(wide.weight[:, :CLIP_L_WIDTH])
        narrow.bias.copy_(wide.bias)
    setattr(holder, name, narrow.requires_grad_(False))


def train_student(
    folder: Path, teacher: Any, data: StudentData, autoencoder: Autoencoder, shown: Features, **changes: Any
) -> None:
    """Train from the folder's checkpoint on, and write the LoRA, the losses and sample sheets of `shown` captions."""
    settings = DistillSettings(**{**SETTINGS, **changes})
    folder.mkdir(parents=True, exist_ok=True)
    network = make_network(teacher, settings.rank)
    trainer = Trainer(network, data, STUDENT_TIMESTEPS, SD3_GRID, settings)
    _checkpoint.load_checkpoint(trainer, folder)
    condition = {"context": shown.context.float(), "pooled": shown.pooled.float()}

    def pictures(role: str | None, sizes: Sequence[tuple[int, int]]) -> list[Any]:
        latents = sample_network(network, role, condition, 16, sizes, STUDENT_TIMESTEPS, seed=1)
        with torch.no_grad():
            return to_pictures(autoencoder.decode(latents))

    def sheet() -> None:
        rows = {
            "teacher, 4 steps at full size": pictures(None, [SIZES[-1]] * len(SIZES)),
            "teacher, scale-wise": pictures(None, SIZES),
            f"student, scale-wise, step {trainer.step}": pictures("student", SIZES),
        }
        half = len(condition["pooled"]) // 2
        halves = (slice(0, half), slice(half, None))
        save_sheet([(label, row[part]) for part in halves for label, row in rows.items()], folder / "sheet.png")

    def write_lora() -> None:
        info = _peft.LoraInfo(
            settings.rank, settings.rank, _targets.ATTENTION_AND_MLP, STUDENT_SIDES, STUDENT_TIMESTEPS
        )
        _peft.write_peft_folder(folder, trainer.student_weights(), info, torch.float16)
        draw_losses(trainer.history, f"toy student, {trainer.step} steps").save(folder / "losses.png")

    def after_step(step: int, losses: dict[str, float]) -> None:
        if step % 20 == 0:
            recent = trainer.history[-20:]
            means = {name: sum(entry[name] for entry in recent) / len(recent) for name in losses}
            print(step, ", ".join(f"{name} {value:.4g}" for name, value in means.items()), flush=True)
        if step % SHEET_EVERY == 0:
            sheet()

    with network.installed():
        run_training(trainer, folder, write_lora, after_step)
        sheet()
