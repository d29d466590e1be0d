"""A dataset of teacher pictures on disk: one small file for each thing, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from .denoiser import Condition
from .files import damaged, read_json, read_tensors, write_json, write_tensors
from .pairs import Size, StageLatents

FORMAT = 1
INFO = "dataset.json"
# What it has to say.
_NEEDED: Mapping[str, Callable[[Any], bool]] = {
    "prompts": lambda value: isinstance(value, list),
    "images_per_prompt": lambda value: isinstance(value, int) and value > 0,
    "constants": lambda value: isinstance(value, dict),
}


@dataclass(frozen=True)
class DatasetFolder:
    """Where the files of a dataset are.

    dataset.json: what it was made from, with a copy beside the pictures. prompts/N: the condition of a prompt.
    pictures/N: the teacher's latent, as the VAE knows it. stages/SIZES/N: the latents of picture N for every stage of a
    schedule, as the VAE knows them.
    """

    root: Path

    def info(self) -> dict[str, Any] | None:
        """What dataset.json says; None if there is none yet.

        Raises:
            InputError: it is of a later format, or damaged.
        """
        return self._read_info(self.root / INFO)

    def info_of_pictures(self) -> dict[str, Any] | None:
        """What the copy of dataset.json beside the pictures says, from which they are known where it is gone itself.

        Raises:
            InputError: as `info` does.
        """
        return self._read_info(self._copy)

    def _read_info(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        info = read_json(path)
        if info.get("format") != FORMAT:
            raise InputError(
                f"dataset: {self.root.name} has another format.",
                found=repr(info.get("format")),
                allowed=str(FORMAT),
                remedy="make it again with this version under another name.",
            )
        lacking = [name for name, is_sound in _NEEDED.items() if not is_sound(info.get(name))]
        if lacking:
            raise damaged(path, "dataset", f"no {' and no '.join(lacking)}")
        return info

    def write_info(self, info: Mapping[str, Any]) -> None:
        for path in (self.root / INFO, self._copy):
            write_json(path, {"format": FORMAT, **info})

    @property
    def _copy(self) -> Path:
        return self.root / "pictures" / INFO

    def condition(self, prompt: int | None) -> Path:
        """The file of a prompt's condition; None for the negative one."""
        return self.root / "prompts" / ("negative.safetensors" if prompt is None else f"{prompt:06}.safetensors")

    def picture(self, index: int) -> Path:
        """The file of a teacher's latent."""
        return self.root / "pictures" / f"{index:06}.safetensors"

    def stages(self, sizes: Sequence[Size], index: int) -> Path:
        """The file of a picture's latents for the stages of a schedule."""
        name = "_".join(f"{width}x{height}" for height, width in sizes)
        return self.root / "stages" / name / f"{index:06}.safetensors"

    def missing(self, sizes: Sequence[Size], count: int, info: Mapping[str, Any]) -> str:
        """What the first `count` pictures lack for being trained on at the sizes of a schedule; empty if nothing.

        `info`: what dataset.json says.
        """
        stages = _lacking(self.stages(sizes, index) for index in range(count))
        if stages:
            return f"{stages} of {count} pictures missing at {show_sizes(sizes)}"
        prompts = -(-count // int(info["images_per_prompt"]))
        conditions = _lacking(self.condition(prompt) for prompt in range(prompts))
        if conditions:
            return f"the files of {conditions} of {prompts} prompts missing"
        # What was not made by SwD Teacher Dataset need not say its cfg.
        if info.get("cfg", 1) != 1 and not self.condition(None).is_file():
            return "the file of the negative prompt missing"
        return ""

    def is_finished(self, sizes: Sequence[Size], count: int) -> bool:
        """Whether the first `count` pictures can be trained on."""
        info = self.info()
        return info is not None and not self.missing(sizes, count, info)


def _lacking(files: Iterable[Path]) -> int:
    """How many files of one folder are not there."""
    wanted = list(files)
    # One look at the folder: there may be hundreds of thousands.
    there = {path.name for first in wanted[:1] for path in first.parent.glob("*")}
    return sum(path.name not in there for path in wanted)


def write_stages(path: Path, stages: Sequence[StageLatents]) -> None:
    """Write the latents [C, h, w] of one picture for every stage, in half precision."""
    tensors: dict[str, Tensor] = {}
    for number, stage in enumerate(stages):
        tensors[f"target.{number}"] = stage.target.half()
        if stage.previous is not None:
            tensors[f"previous.{number}"] = stage.previous.half()
    write_tensors(path, tensors)


class FolderData:
    """Training data from a dataset folder.

    `sizes`: (height, width) of each stage. `scaled`: from a batch of latents as the VAE knows them to those of the
    model. Reads each file when it is needed, so memory does not grow with the dataset.

    Raises:
        InputError: no dataset there, or pictures that were not made for these sizes.
    """

    def __init__(self, folder: DatasetFolder, sizes: Sequence[Size], scaled: Callable[[Tensor], Tensor]) -> None:
        info = folder.info()
        if info is None:
            raise _refusal(folder, "no dataset.json", "a dataset of SwD Teacher Dataset")
        self._folder, self._sizes, self._scaled = folder, tuple(sizes), scaled
        self._each = int(info["images_per_prompt"])
        self._count = len(info["prompts"]) * self._each
        missing = folder.missing(sizes, self._count, info)
        if missing:
            raise _refusal(folder, missing, "a dataset that was finished for this schedule")
        self.constants: dict[str, Any] = info["constants"]
        negative = folder.condition(None)
        self._unconditional = read_tensors(negative, "dataset")[0] if negative.is_file() else None

    @property
    def unconditional(self) -> Condition | None:
        return self._unconditional

    def __len__(self) -> int:
        return self._count

    def picture(self, index: int, stage: int) -> tuple[StageLatents, Condition]:
        target = f"target.{stage}"
        # The first stage starts from pure noise.
        previous = f"previous.{stage}" if stage else None
        wanted = (target, previous) if previous else (target,)
        tensors, _ = read_tensors(self._folder.stages(self._sizes, index), "dataset", *wanted)
        condition, _ = read_tensors(self._folder.condition(index // self._each), "dataset")
        before = self._of_model(tensors[previous]) if previous else None
        return StageLatents(self._of_model(tensors[target]), before), condition

    def _of_model(self, latent: Tensor) -> Tensor:
        return self._scaled(latent[None].float())[0]


def show_sizes(sizes: Sequence[Size]) -> str:
    """Sizes (height, width) as a user reads them: width x height."""
    return ", ".join(f"{width} x {height}" for height, width in sizes)


def _refusal(folder: DatasetFolder, found: str, allowed: str) -> InputError:
    return InputError(
        f"dataset: {folder.root.name} cannot be trained on.",
        found=found,
        allowed=allowed,
        remedy="run SwD Teacher Dataset with the same name and this schedule; it makes only what is missing.",
    )
