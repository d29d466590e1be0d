"""How good a set of pictures is: attributes that the classifier reads, and a distance in its feature space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swd_dev.toy.captions import Caption
from swd_dev.toy.classifier import QUESTIONS, Classifier, answers


@dataclass(frozen=True)
class Quality:
    """Shares in percent: right answers of each question, and pictures with every answer right. `frechet`: see below."""

    by_question: dict[str, float]
    all_right: float
    frechet: float

    @property
    def attributes(self) -> float:
        """Right answers of all questions together, in percent."""
        return sum(self.by_question.values()) / len(self.by_question)


def judge(classifier: Classifier, pictures: Tensor, captions: Sequence[Caption], real_features: Tensor) -> Quality:
    """Judge pictures [N, 3, 128, 128] in [0, 1], one for each caption, against features [M, F] of real pictures."""
    pictures = pictures.clamp(0, 1)
    right = (classifier.read(pictures) == answers(captions)).float()
    shares = (100 * right.mean(0)).tolist()
    with torch.no_grad():
        features = classifier.features(pictures)
    return Quality(
        by_question=dict(zip(QUESTIONS, shares, strict=True)),
        all_right=100 * right.prod(1).mean().item(),
        frechet=frechet_distance(features, real_features),
    )


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of two Gaussians fitted to features [N, F] (Heusel et al. 2017, as in FID)."""
    first, second = a.double(), b.double()
    difference = first.mean(0) - second.mean(0)
    cov_a, cov_b = torch.cov(first.T), torch.cov(second.T)
    # The trace of the root of a product: its eigenvalues are not negative, up to rounding.
    root_trace = torch.linalg.eigvals(cov_a @ cov_b).real.clamp_min(0).sqrt().sum()
    return float(difference @ difference + cov_a.trace() + cov_b.trace() - 2 * root_trace)
