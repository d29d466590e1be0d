"""A small network that reads a picture's attributes: the judge of whether a picture shows its caption."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from swd_dev.toy.captions import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    PLACES,
    RELATIONS,
    SHAPES,
    Caption,
    all_pairs,
    all_singles,
    split,
)
from swd_dev.toy.pictures import draw_batch

# The answer where there is no second group.
NONE = "-"
_COUNTS = tuple(str(count) for count in COUNTS)
QUESTIONS: dict[str, tuple[str, ...]] = {
    "where": (*RELATIONS, *PLACES),
    "first count": _COUNTS,
    "first colour": COLOURS,
    "first shape": SHAPES,
    "second count": (*_COUNTS, NONE),
    "second colour": (*COLOURS, NONE),
    "second shape": (*SHAPES, NONE),
    "background": BACKGROUNDS,
}
FEATURES = 64
POOL, STEPS, BATCH, RATE, SEED = 8000, 1500, 48, 2e-3, 77
SINGLES_SHARE = 0.15
# The judge must not mind the faint grain of decoded latents.
GRAIN = 0.03


def answers(captions: Sequence[Caption]) -> Tensor:
    """The right answer of each question as its number, [N, questions]."""
    return torch.tensor([_answers(caption) for caption in captions])


def _answers(caption: Caption) -> list[int]:
    words = {"where": caption.where, "background": caption.background}
    for name, group in (("first", caption.first), ("second", caption.second)):
        words[f"{name} count"] = str(group.count) if group else NONE
        words[f"{name} colour"] = group.colour if group else NONE
        words[f"{name} shape"] = group.shape if group else NONE
    return [choices.index(words[question]) for question, choices in QUESTIONS.items()]


class Classifier(nn.Module):
    """Pictures [N, 3, 128, 128] in [0, 1] to `FEATURES` features, and to scores of all answers of all questions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64 * 8 * 8, FEATURES), nn.ReLU()),
        )
        self.head = nn.Linear(FEATURES, sum(len(choices) for choices in QUESTIONS.values()))

    def features(self, pictures: Tensor) -> Tensor:
        found: Tensor = self.body(pictures)
        return found

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Scores [N, answers] for each question."""
        scores: Tensor = self.head(self.features(pictures))
        return torch.split(scores, [len(choices) for choices in QUESTIONS.values()], dim=1)

    @torch.no_grad()
    def read(self, pictures: Tensor) -> Tensor:
        """The likeliest answer of each question, [N, questions]."""
        return torch.stack([scores.argmax(1) for scores in self(pictures)], dim=1)


def train_classifier(path: Path, *, pool: int = POOL, steps: int = STEPS, seed: int = SEED) -> list[float]:
    """Train on real pictures of captions that are not held out; write the weights, return the losses."""
    torch.manual_seed(seed)
    captions = training_captions(pool, random.Random(seed))
    pictures = draw_batch(captions, lambda number: seed + number)
    wanted = answers(captions)
    classifier = Classifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    losses = []
    for _ in range(steps):
        rows = torch.randint(pool, (BATCH,))
        grainy = pictures[rows] + GRAIN * torch.randn(BATCH, *pictures.shape[1:])
        scores = classifier(grainy)
        loss = torch.stack([F.cross_entropy(s, wanted[rows, n]) for n, s in enumerate(scores)]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    save_file({name: weight.half() for name, weight in classifier.state_dict().items()}, path)
    return losses


def training_captions(count: int, order: random.Random) -> list[Caption]:
    """Random captions, of those not held out."""
    held_out = set(split().held_out)
    pairs = [caption for caption in all_pairs() if caption not in held_out]
    singles = [caption for caption in all_singles() if caption not in held_out]
    return [order.choice(singles if order.random() < SINGLES_SHARE else pairs) for _ in range(count)]


def load_classifier(path: Path) -> Classifier:
    """A trained classifier, frozen."""
    classifier = Classifier()
    classifier.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    return classifier.requires_grad_(False).eval()
