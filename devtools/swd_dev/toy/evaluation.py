"""The evaluation: captions that no training saw, a fixed protocol, one row for each model and way to sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swd_dev.toy import ways
from swd_dev.toy.autoencoder import Autoencoder
from swd_dev.toy.captions import Caption
from swd_dev.toy.classifier import Classifier
from swd_dev.toy.compute import gflop, image_tokens
from swd_dev.toy.metrics import Quality, judge
from swd_dev.toy.pictures import draw_batch
from swd_dev.toy.text import Features

SEED, BATCH = 31_000, 32
# Real pictures that the distance is measured to, for each caption.
REFERENCES = 4

# Label, model, way.
ROWS: tuple[tuple[str, str, ways.Way], ...] = (
    ("Teacher, 28 Euler steps at full size, guided", "teacher", ways.EULER),
    ("Teacher, 4 steps at full size, guided", "teacher", ways.GUIDED_FULL_SIZE),
    ("Teacher, 4 steps at full size", "teacher", ways.FULL_SIZE),
    ("Student, 4 steps at full size", "student", ways.FULL_SIZE),
    ("Student, 4 steps scale-wise (SwD)", "student", ways.SCALE_WISE),
    ("Teacher, 4 steps scale-wise, guided, not distilled", "teacher", ways.GUIDED_SCALE_WISE),
    ("Teacher, 4 steps scale-wise, not distilled", "teacher", ways.SCALE_WISE),
    ("Student, scale-wise, nearest instead of bicubic", "student", ways.NEAREST),
    ("Student, scale-wise, noise then upscale", "student", ways.NOISE_THEN_UPSCALE),
    ("Student, ComfyUI's SamplerLCMUpscale", "student", ways.LCM_UPSCALE),
)


@dataclass(frozen=True)
class Row:
    """A line of the table; `gflop` and `tokens` are those of one picture (0 for real ones)."""

    label: str
    quality: Quality
    gflop: float = 0.0
    tokens: int = 0


@dataclass(frozen=True)
class Protocol:
    """What every row shares. `features` belong to `captions`, one row each; `empty` to no caption."""

    captions: Sequence[Caption]
    features: Features
    empty: Features
    autoencoder: Autoencoder
    classifier: Classifier
    depth: int


def evaluate(protocol: Protocol, models: Mapping[str, Any]) -> tuple[list[Row], dict[str, Tensor]]:
    """All rows whose model is in `models` (ComfyUI's), and each label's pictures [N, 3, 128, 128]."""
    captions, classifier = protocol.captions, protocol.classifier
    reference = real_features(classifier, captions)
    real = draw_batch(captions, lambda number: SEED + number)
    pictures = {"Real pictures": real, "Real pictures through the autoencoder": _through(protocol.autoencoder, real)}
    rows = [Row(label, judge(classifier, made, captions, reference)) for label, made in pictures.items()]
    for label, name, way in ROWS:
        if name not in models:
            continue
        made = make_pictures(protocol, models[name], way)
        quality = judge(classifier, made, captions, reference)
        rows.append(Row(label, quality, gflop(way.sides, protocol.depth), image_tokens(way.sides)))
        pictures[label] = made
        print(f"{label}: all right {quality.all_right:.1f} %, distance {quality.frechet:.2f}", flush=True)
    return rows, pictures


def real_features(classifier: Classifier, captions: Sequence[Caption]) -> Tensor:
    """Features of `REFERENCES` other real pictures of each caption."""
    seeds = [range(SEED + 7919 * n, SEED + 7919 * n + len(captions)) for n in range(1, REFERENCES + 1)]
    with torch.no_grad():
        return torch.cat([classifier.features(draw_batch(captions, part.__getitem__)) for part in seeds])


def make_pictures(protocol: Protocol, model: Any, way: ways.Way) -> Tensor:
    """One picture for each caption, in batches; picture k has the seed SEED + k in every row."""
    made = []
    for start in range(0, len(protocol.captions), BATCH):
        rows = torch.arange(start, min(start + BATCH, len(protocol.captions)))
        texts = ways.Texts(protocol.features.at(rows), protocol.empty)
        made.append(protocol.autoencoder.decode(way.sample(model, texts, SEED + start)))
    return torch.cat(made)


def _through(autoencoder: Autoencoder, pictures: Tensor) -> Tensor:
    return torch.cat([autoencoder.decode(autoencoder.encode(part)) for part in torch.split(pictures, BATCH)])


def as_markdown(rows: Sequence[Row]) -> str:
    """The table as it stands in the README."""
    lines = [
        "| | captions all right | attributes right | Frechet distance | image tokens | GFLOP |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cost = f"{row.tokens} | {row.gflop:.2f}" if row.tokens else "- | -"
        quality = row.quality
        shares = f"{quality.all_right:.1f} % | {quality.attributes:.1f} % | {quality.frechet:.1f}"
        lines.append(f"| {row.label} | {shares} | {cost} |")
    return "\n".join(lines) + "\n"


def save_results(rows: Sequence[Row], folder: Path) -> None:
    """Write evaluation.md and evaluation.json."""
    (folder / "evaluation.md").write_text(as_markdown(rows), encoding="utf-8")
    content = json.dumps([asdict(row) for row in rows], indent=1)
    (folder / "evaluation.json").write_text(content + "\n", encoding="utf-8")
