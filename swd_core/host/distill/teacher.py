"""Pictures of the teacher, made with any of ComfyUI's samplers and kept on disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from einops import rearrange
from torch import Tensor

from ...distill.files import read_tensors, write_tensors
from ...distill.folder import DatasetFolder, write_stages
from ...distill.pairs import Size, StageLatents, encode_stages
from ...errors import InputError
from ...lora.check import is_finite
from ...schedule import Schedule
from ..facts import check_pictures, read_facts
from .architecture import read_architecture
from .places import dataset_folder

# Both compute in float16 on some devices, in which large numbers overflow.
_MODEL_REMEDY = "start ComfyUI with --bf16-unet, or take LoRAs off the model."
_VAE_REMEDY = "start ComfyUI with --bf16-vae or --fp32-vae, or load another VAE."

OnPicture = Callable[[int, int, Tensor | None], None]
"""(pictures done, of how many, the picture [H, W, 3] from 0 to 1 or None if it was there already)."""


@dataclass(frozen=True)
class TeacherSettings:
    """How the teacher draws. `width` and `height` in image pixels; `guidance`: embedded guidance of FLUX."""

    width: int
    height: int
    images_per_prompt: int
    first_seed: int
    steps: int
    cfg: float
    sampler_name: str
    scheduler: str
    guidance: float


@dataclass(frozen=True)
class Dataset:
    """A finished dataset, as it goes from node to node. `sizes`: (height, width) of each stage in latent pixels."""

    name: str
    sizes: tuple[Size, ...]
    count: int

    @property
    def folder(self) -> DatasetFolder:
        return DatasetFolder(dataset_folder(self.name))

    @staticmethod
    def of(name: str, schedule: Schedule, info: Mapping[str, Any]) -> Dataset:
        """The dataset of that name at the sizes of a schedule, from what its dataset.json says."""
        pixels = schedule.model.pixels_per_latent
        height, width = (max(1, round(info[side] / pixels)) for side in ("height", "width"))
        return Dataset(name, tuple(schedule.sizes(height, width)), len(info["prompts"]) * info["images_per_prompt"])


def split_prompts(text: str) -> list[str]:
    """One prompt a line; empty lines do not count.

    Raises:
        InputError: no prompt at all.
    """
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise InputError(
            "prompts: the list is empty.", found="no text", allowed="one prompt per line", remedy="write one."
        )
    return prompts


def make_dataset(
    model: Any,
    clip: Any,
    vae: Any,
    schedule: Schedule,
    name: str,
    prompts: Sequence[str],
    negative: str,
    settings: TeacherSettings,
    on_picture: OnPicture,
) -> Dataset:
    """Make what is missing of a dataset: conditions, teacher latents, and their latents for the stages of a schedule.

    Picture n has the seed `first_seed` + n, modulo 2^64, and stays the same however often the run is cut off. More
    prompts may be added at the end later.

    Raises:
        InputError: a model that cannot be trained, a name that is no folder name, or that holds a dataset of another
        model, of other prompts or settings.
    """
    check_pictures(model.model)
    # Hours of pictures would be in vain for a model that SwD Distill LoRA refuses.
    read_architecture(model.model)
    folder = DatasetFolder(dataset_folder(name))
    info = _claim(folder, read_facts(model.model).family, prompts, negative, settings)
    dataset = Dataset.of(folder.root.name, schedule, info)
    maker = _Maker(model, clip, vae, folder, prompts, negative, settings, dataset.sizes[-1])
    for index in range(dataset.count):
        path = folder.stages(dataset.sizes, index)
        picture = None
        if not path.is_file():
            picture = maker.picture(index)
            stages = encode_stages(
                rearrange(picture, "b h w c -> b c h w"), dataset.sizes, maker.encode, schedule.model.pixels_per_latent
            )
            latents = [latent for stage in stages for latent in (stage.target, stage.previous) if latent is not None]
            maker.check(index, "vae", _VAE_REMEDY, *latents)
            write_stages(path, [_first(stage) for stage in stages])
        maker.keep_conditions(index)
        on_picture(index + 1, dataset.count, None if picture is None else picture[0])
    return dataset


def _first(stage: StageLatents) -> StageLatents:
    return StageLatents(stage.target[0], None if stage.previous is None else stage.previous[0])


def _claim(
    folder: DatasetFolder, family: str, prompts: Sequence[str], negative: str, settings: TeacherSettings
) -> dict[str, Any]:
    wanted = {"model": family, "negative": negative, **asdict(settings)}
    found = folder.info() or folder.info_of_pictures()
    if found is not None:
        changed = [*_changed_settings(found, wanted), *_changed_prompts(found["prompts"], prompts)]
        if changed:
            raise InputError(
                f"dataset_name: {folder.root.name} holds another dataset.",
                found=f"changed: {', '.join(changed)}",
                allowed="the same model and settings, and the same prompts with new ones only at the end",
                remedy="choose another name, or set these back.",
            )
    constants = {"guidance": settings.guidance, "width": settings.width, "height": settings.height}
    own = {"prompts": list(prompts), "family": family, "negative": negative}
    info = {**own, "constants": constants, **asdict(settings)}
    folder.write_info(info)
    return info


def _changed_settings(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What a dataset was made with and is not any more; what it does not say, such as its model, is no change."""
    before = {"model": found.get("family"), **found["constants"], **found}
    known = {name: before[name] for name in wanted if before.get(name) is not None}
    return [f"{name} ({was!r:.60}, now {wanted[name]!r:.60})" for name, was in known.items() if was != wanted[name]]


def _changed_prompts(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The first prompt that is not as it was; more of them at the end are no change."""
    for number, (was, is_now) in enumerate(itertools.zip_longest(before, now[: len(before)], fillvalue=""), start=1):
        if was != is_now:
            return [f"prompts (number {number} was {was!r:.60}, now {is_now!r:.60})"]
    return []


@dataclass
class _Maker:
    """Makes one picture after another; remembers the conditions of the last prompt and of the negative one."""

    model: Any
    clip: Any
    vae: Any
    folder: DatasetFolder
    prompts: Sequence[str]
    negative: str
    settings: TeacherSettings
    size: Size
    known: dict[int | None, Any] = field(default_factory=dict)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] from 0 to 1 to latents as the VAE knows them."""
        latent: Tensor = self.vae.encode(rearrange(pixels, "b c h w -> b h w c"))
        return latent.float()

    def picture(self, index: int) -> Tensor:
        """Picture [1, H, W, 3] from 0 to 1, decoded from the teacher's latent, which is made if it is missing."""
        path = self.folder.picture(index)
        if not path.is_file():
            write_tensors(path, {"latent": self._sample(index)[0]})
        latent, _ = read_tensors(path, "dataset")
        decoded: Tensor = self.vae.decode(latent["latent"][None])
        return decoded[..., :3].float().clamp(0, 1)

    def keep_conditions(self, index: int) -> None:
        """See to it that the conditions of a picture are there, also where they were deleted since it was made."""
        for prompt in (index // self.settings.images_per_prompt, *([None] if self.settings.cfg != 1 else [])):
            if not self.folder.condition(prompt).is_file():
                self.known.pop(prompt, None)
                self._condition(prompt)

    def _sample(self, index: int) -> Tensor:
        settings = self.settings
        empty = torch.zeros(1, int(self.model.model.latent_format.latent_channels), *self.size)
        seed = (settings.first_seed + index) % 2**64
        positive = self._condition(index // settings.images_per_prompt)
        latent: Tensor = comfy.sample.sample(
            self.model,
            comfy.sample.prepare_noise(empty, seed),
            settings.steps,
            settings.cfg,
            settings.sampler_name,
            settings.scheduler,
            positive,
            self._condition(None) if settings.cfg != 1 else positive,
            empty,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        self.check(index, "model", _MODEL_REMEDY, latent)
        return latent.float().cpu()

    def check(self, index: int, who: str, remedy: str, *latents: Tensor) -> None:
        """Refuse a picture before it is kept: training on it would fail, and blame the learning rate."""
        if not all(is_finite(latent) for latent in latents):
            count = len(self.prompts) * self.settings.images_per_prompt
            raise InputError(
                f"{who}: picture {index + 1} of {count} is not finite.",
                found="NaN or infinity among its numbers",
                allowed="finite numbers",
                remedy=f"{remedy} Then run again, which goes on with this picture.",
            )

    def _condition(self, prompt: int | None) -> Any:
        """The CONDITIONING of a prompt, None for the negative one; its tensors go to disk the first time."""
        if prompt not in self.known:
            text = self.negative if prompt is None else self.prompts[prompt]
            conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))
            tokens, values = conditioning[0]
            tensors = {
                "cross_attn": tokens,
                **{key: value for key, value in values.items() if isinstance(value, Tensor)},
            }
            write_tensors(self.folder.condition(prompt), {key: value[0].clone() for key, value in tensors.items()})
            extra = {name: getattr(self.settings, name) for name in ("guidance", "width", "height")}
            # The negative prompt is needed again and again, the others never.
            self.known = {key: known for key, known in self.known.items() if key is None}
            self.known[prompt] = [[tokens, {**values, **extra}]]
        return self.known[prompt]
