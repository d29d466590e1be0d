"""Distribution matching distillation: the gradient of a KL divergence, from a teacher and a fake-score network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dmd_loss(sample: Tensor, real_clean: Tensor, fake_clean: Tensor) -> Tensor:
    """A loss whose gradient by `sample` is (fake_clean - real_clean) / mean |sample - real_clean| / elements.

    `sample` [B, C, H, W]: the student's clean latent, with its graph. `real_clean`, `fake_clean`: what the teacher and
    the fake-score network see in the same noised sample. The mean runs over each picture (arXiv 2311.18828, equations
    7 and 8).
    """
    with torch.no_grad():
        size = (sample - real_clean).abs().mean(dim=tuple(range(1, sample.ndim)), keepdim=True)
        gradient = torch.nan_to_num((fake_clean - real_clean) / size)
        goal = (sample - gradient).float()
    return 0.5 * F.mse_loss(sample.float(), goal)


def fake_score_loss(sample: Tensor, fake_clean: Tensor) -> Tensor:
    """What trains the fake-score network: the squared error of its clean estimate of a student's sample."""
    return F.mse_loss(fake_clean.float(), sample.float())
