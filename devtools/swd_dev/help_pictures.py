"""Draw the pictures of the help pages into a folder: `python -m swd_dev.help_pictures web/docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .core import import_core

plot, presets, resize, schedule = (import_core(name) for name in ("plot", "presets", "resize", "schedule"))
family, noise = import_core("family"), import_core("noise")

_WIDTH, _MARGIN, _TOP, _GAP, _LINE = 720, 20, 50, 18, 34
_PAPER, _INK, _FAINT = (24, 28, 36), (238, 240, 243), (168, 176, 188)
# Latents are drawn with a quarter of their pixels, so that the single ones can be seen.
_COARSE, _PIXEL = 4, 5
_COLOURS = 96


def draw_all() -> dict[str, Image.Image]:
    """Every picture of the help pages by its file name."""
    return {
        "schedule.png": _few_colours(_plot("SD3.5 Medium, 6 steps", 1024, 1024)),
        "custom_schedule.png": _few_colours(_plot_custom()),
        "growing_latent.png": _few_colours(_growing_latent("SD3.5 Medium, 4 steps")),
        "upscale_methods.png": _few_colours(_upscale_methods(("bicubic", "bilinear", "nearest-exact"))),
    }


def _plot(preset_name: str, width: int, height: int) -> Image.Image:
    picture: Image.Image = plot.draw_schedule(_schedule(preset_name), width, height)
    return picture


def _schedule(preset_name: str) -> Any:
    (preset,) = (preset for preset in presets.PRESETS if preset.name == preset_name)
    return schedule.preset_schedule(preset, family.ModelFacts(preset.family, 2, 8), _flow_sigma)


def _plot_custom() -> Image.Image:
    facts = family.ModelFacts(family.SD35_MEDIUM, 2, 8)
    picture: Image.Image = plot.draw_schedule(
        schedule.custom_schedule((1, 2, 3), (1.0, 0.88, 0.66), facts, _flow_sigma), 832, 1216
    )
    return picture


def _flow_sigma(timestep: float) -> float:
    return timestep


def _growing_latent(preset_name: str) -> Image.Image:
    """Noisy and clean latents of every step, at their relative sizes. The clean ones are drawn, not sampled."""
    plan = _schedule(preset_name)
    sizes = [(int(scale) // _COARSE, int(scale) // _COARSE) for scale in plan.scales]
    draw_noise = noise.StageNoise(1, [0]).draw
    clean = [resize.resize(_landscape(128), size, "area") for size in sizes]
    # At the first step the model is given noise alone; afterwards the clean latent of the step before, grown.
    grown = [torch.zeros_like(clean[0]), *map(_bicubic, clean[:-1], sizes[1:])]
    noisy = [
        t * draw_noise((3, *size)) + (1 - t) * before
        for t, size, before in zip(plan.timesteps, sizes, grown, strict=True)
    ]
    return _rows(
        "predict, grow, add new noise, repeat",
        (("noisy latent in", noisy), ("clean latent out", clean)),
        [f"{int(scale)} x {int(scale)}\nt {t:g}" for scale, t in zip(plan.scales, plan.timesteps, strict=True)],
    )


def _upscale_methods(methods: tuple[str, ...]) -> Image.Image:
    small = resize.resize(_landscape(128), (16, 16), "area")
    grown = [resize.resize(small, (32, 32), method) for method in methods]
    return _rows("a latent grown to twice its size", (("", [small, *grown]),), ["before", *methods])


def _bicubic(latent: Tensor, size: tuple[int, int]) -> Tensor:
    grown: Tensor = resize.resize(latent, size, "bicubic")
    return grown


def _landscape(side: int) -> Tensor:
    """A sun over two hills as a latent of three channels [1, 3, side, side] from -1 to 1."""
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    shapes: tuple[tuple[Tensor, tuple[float, float, float]], ...] = (
        (y >= 0, (0.15, 0.45, 0.85)),
        ((x - 0.68) ** 2 + (y - 0.32) ** 2 < 0.024, (1.0, 0.85, 0.25)),
        (y > 0.62 - 0.2 * torch.sin(3.3 * x + 0.2), (0.2, 0.5, 0.45)),
        (y > 0.72 + 0.16 * torch.sin(4.0 * x + 1.2), (0.15, 0.35, 0.2)),
    )
    picture = torch.zeros(3, side, side)
    for mask, colour in shapes:
        picture = torch.where(mask, torch.tensor(colour)[:, None, None], picture)
    return (picture * 2 - 1)[None]


def _rows(title: str, rows: tuple[tuple[str, list[Tensor]], ...], labels: list[str]) -> Image.Image:
    """Rows of latents side by side, each with a name in its top left corner, over labels of the columns."""
    tallest = _PIXEL * max(latent.shape[-1] for latent in rows[0][1])
    bases = [_TOP + (tallest + _GAP) * (row + 1) for row in range(len(rows))]
    lines = max(label.count("\n") for label in labels) + 1
    picture = Image.new("RGB", (_WIDTH, bases[-1] + _GAP + _LINE * lines), _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, 16), title, _INK, _font(30))
    centres = [_MARGIN + (_WIDTH - 2 * _MARGIN) / len(labels) * (index + 0.5) for index in range(len(labels))]
    for base, (name, latents) in zip(bases, rows, strict=True):
        draw.text((_MARGIN, base - tallest), name, _FAINT, _font(24))
        for centre, latent in zip(centres, latents, strict=True):
            image = _to_image(latent)
            picture.paste(image, (round(centre - image.width / 2), base - image.height))
    for centre, label in zip(centres, labels, strict=True):
        for line, text in enumerate(label.split("\n")):
            draw.text((centre, bases[-1] + 10 + _LINE * line), text, (_INK, _FAINT)[line], _font(24), anchor="ma")
    return picture


def _to_image(latent: Tensor) -> Image.Image:
    values = ((latent[0].clamp(-1.6, 1.6) + 1.6) / 3.2 * 255).round().to(torch.uint8)
    _, height, width = values.shape
    image = Image.frombytes("RGB", (width, height), bytes(rearrange(values, "c h w -> (h w c)").tolist()))
    return image.resize((width * _PIXEL, height * _PIXEL), Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _few_colours(picture: Image.Image) -> Image.Image:
    """The picture with a palette, for a small file."""
    return picture.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in draw_all().items():
        picture.save(out / name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
