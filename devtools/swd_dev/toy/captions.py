"""The captions: every sentence of a small grammar, split into those to train on and those held out."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cache

COUNTS = {1: "a", 2: "two", 3: "three"}
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle")
# No "below" and no "right of": with them, which group comes first means nothing without the relation, and that took a
# teacher of this size more training than two CPU cores can give.
RELATIONS = ("above", "left of")
PLACES = ("in the middle", "at the top", "at the bottom", "on the left", "on the right")
# The first is drawn where a caption names none.
BACKGROUNDS = ("white", "black", "gray")

SPLIT_SEED = 2024
HELD_OUT_PAIRS, HELD_OUT_SINGLES = 360, 40
TRAINING_PAIRS, TRAINING_SINGLES = 4000, 500


@dataclass(frozen=True)
class Group:
    """One to three equal shapes."""

    count: int
    colour: str
    shape: str

    @property
    def text(self) -> str:
        return f"{COUNTS[self.count]} {self.colour} {self.shape}" + ("s" if self.count > 1 else "")


@dataclass(frozen=True)
class Caption:
    """A group, where it is, and the second group that a relation of `RELATIONS` needs (None with one of `PLACES`)."""

    first: Group
    where: str
    second: Group | None
    background: str

    @property
    def text(self) -> str:
        parts = [self.first.text, self.where]
        if self.second:
            parts.append(self.second.text)
        if self.background != BACKGROUNDS[0]:
            parts.append(f"on a {self.background} background")
        return " ".join(parts)


DEMO_CAPTION = Caption(Group(2, "red", "circle"), "above", Group(1, "blue", "square"), "white")


def _groups() -> list[Group]:
    return [Group(*parts) for parts in itertools.product(COUNTS, COLOURS, SHAPES)]


def all_pairs() -> list[Caption]:
    """Every caption of two groups that differ in colour or shape."""
    return [
        Caption(first, where, second, background)
        for first, where, second, background in itertools.product(_groups(), RELATIONS, _groups(), BACKGROUNDS)
        if (first.colour, first.shape) != (second.colour, second.shape)
    ]


def all_singles() -> list[Caption]:
    """Every caption of one group at a place."""
    parts = itertools.product(_groups(), PLACES, BACKGROUNDS)
    return [Caption(group, where, None, background) for group, where, background in parts]


@dataclass(frozen=True)
class Split:
    """Captions to train on and captions that no training ever sees; the demo's is the first of the held out."""

    training: tuple[Caption, ...]
    held_out: tuple[Caption, ...]


@cache
def split() -> Split:
    """The split, always the same."""
    order = random.Random(SPLIT_SEED)
    pairs = [caption for caption in all_pairs() if caption != DEMO_CAPTION]
    singles = all_singles()
    order.shuffle(pairs)
    order.shuffle(singles)
    held_out = [DEMO_CAPTION, *pairs[: HELD_OUT_PAIRS - 1], *singles[:HELD_OUT_SINGLES]]
    training = [
        *pairs[HELD_OUT_PAIRS : HELD_OUT_PAIRS + TRAINING_PAIRS],
        *singles[HELD_OUT_SINGLES : HELD_OUT_SINGLES + TRAINING_SINGLES],
    ]
    return Split(tuple(training), tuple(held_out))
