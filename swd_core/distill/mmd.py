"""Maximum mean discrepancy between the features of real and of generated pictures, picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

HUBER_C = 0.001
RBF_SIGMA = 100.0


def linear_mmd(real: Tensor, fake: Tensor, c: float = HUBER_C) -> Tensor:
    """Pseudo-Huber distance of the token means: mean of sqrt(d^2 + c^2) - c over pictures and channels.

    `real`, `fake`: [B, tokens, channels]. The linear kernel of arXiv 2503.16397v2, equation 2; the pseudo-Huber form is
    that of upstream's code (losses.py).
    """
    distance = real.float().mean(dim=1) - fake.float().mean(dim=1)
    # The floor keeps the gradient of the root finite where both means agree and c is 0.
    return ((distance.square() + c**2).clamp_min(1e-10).sqrt() - c).mean()


def rbf_mmd(real: Tensor, fake: Tensor, sigma: float = RBF_SIGMA) -> Tensor:
    """Unbiased squared MMD with the kernel exp(-|x - y|^2 / (2 sigma^2)) over the tokens of each picture.

    `real`, `fake`: [B, tokens, channels]. Gretton et al. 2012, lemma 6, but for the mixed term, which runs over all
    pairs. A picture of one token has the mixed term alone.
    """
    real, fake = real.float(), fake.float()
    tokens = real.shape[1]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-_squared_distances(a, b) / (2 * sigma**2)).sum(dim=(1, 2))

    # A token's kernel with itself is 1 and does not count. One token has no others, and 0 / 0 is no number.
    own = (kernel(real, real) + kernel(fake, fake) - 2 * tokens) / (tokens * max(1, tokens - 1))
    mixed = kernel(real, fake) / tokens**2
    return (own - 2 * mixed).mean()


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    # Not torch.cdist: the gradient of its root is not finite at 0.
    squares = a.square().sum(dim=2).unsqueeze(2) + b.square().sum(dim=2).unsqueeze(1)
    return (squares - 2 * a @ b.transpose(1, 2)).clamp_min(0)


def make_mmd(kernel: str, c: float, sigma: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The MMD of a kernel named in KERNELS, as a function of real and fake features."""
    kernels: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
        "linear": lambda real, fake: linear_mmd(real, fake, c),
        "rbf": lambda real, fake: rbf_mmd(real, fake, sigma),
    }
    return kernels[kernel]


KERNELS = ("linear", "rbf")
