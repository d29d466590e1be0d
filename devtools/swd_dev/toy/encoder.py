"""The encoder: principal components of 8 x 8 patches, a linear map that needs no training, also as layers of TAESD.

TAESD halves the side three times with strided convolutions between ReLU blocks. A patch goes through them unharmed: the
first two halvings move pixels into channels (pixels are not negative, so ReLU keeps them), the third projects, once as
it is and once negated, and the last layer puts the two halves together.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT_CHANNELS = 16
FACTOR = 8
# Numbers of TAESD's encoder layers: the first convolution, the three strided ones, the last.
FIRST, HALVINGS, LAST = 0, (2, 6, 10), 14


class PatchEncoder(nn.Module):
    """Pictures [N, 3, H, W] in [0, 1] to latents [N, 16, H/8, W/8]. `weight` [16, 3, 8, 8], `bias` [16]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(LATENT_CHANNELS, 3, FACTOR, FACTOR), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(LATENT_CHANNELS), requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return F.conv2d(pictures, self.weight, self.bias, stride=FACTOR)


def fit_encoder(pictures: Tensor) -> PatchEncoder:
    """Principal components of the patches of pictures [N, 3, H, W].

    Their deviations are drawn together (fourth roots) and scaled to a mean variance of 1: fully equal ones would let
    the diffusion model spend most of its work on faint edges, and TAESD's decoder cuts off latents far above 3.
    """
    patches = F.unfold(pictures, FACTOR, stride=FACTOR).transpose(1, 2).flatten(0, 1).double()
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))
    variances, directions = variances.flip(0)[:LATENT_CHANNELS], directions.flip(1)[:, :LATENT_CHANNELS]
    # The sign of a direction is open; fix it, so that another machine finds the same.
    directions = directions * directions[directions.abs().argmax(0), torch.arange(LATENT_CHANNELS)].sign()
    wanted = variances.pow(0.125)
    wanted = wanted / wanted.square().mean().sqrt()
    projection = (directions * (wanted / variances.sqrt())).T
    encoder = PatchEncoder()
    # The file holds half precision; the numbers used in training are exactly those.
    weight = projection.reshape(encoder.weight.shape).half()
    encoder.weight.copy_(weight)
    encoder.bias.copy_(-(weight.double().flatten(1) @ mean).half())
    return encoder


def encoder_layers(encoder: PatchEncoder) -> dict[str, Tensor]:
    """The encoder as weights of TAESD's layers, "0.weight" and so on, without its zero blocks."""
    first = torch.zeros(3, 3, 3, 3)
    first[range(3), range(3), 1, 1] = 1
    kernel = encoder.weight.detach()
    # Channels of the third halving: [quarter of the patch's pixels, fastest last] as `pixel_unshuffle` orders them.
    order = F.pixel_unshuffle(F.pixel_unshuffle(kernel, 2), 2)
    third = torch.zeros(2 * LATENT_CHANNELS, order.shape[1], 3, 3)
    third[:, :, 1:, 1:] = torch.cat([order, -order])
    last = torch.zeros(LATENT_CHANNELS, 2 * LATENT_CHANNELS, 3, 3)
    last[:, :LATENT_CHANNELS, 1, 1] = torch.eye(LATENT_CHANNELS)
    last[:, LATENT_CHANNELS:, 1, 1] = -torch.eye(LATENT_CHANNELS)
    return {
        f"{FIRST}.weight": first,
        f"{FIRST}.bias": torch.zeros(3),
        f"{HALVINGS[0]}.weight": _pixels_to_channels(3),
        f"{HALVINGS[1]}.weight": _pixels_to_channels(12),
        f"{HALVINGS[2]}.weight": third,
        f"{LAST}.weight": last,
        f"{LAST}.bias": encoder.bias.detach().clone(),
    }


def encoder_from_layers(layers: Mapping[str, Tensor]) -> PatchEncoder:
    """The way back from `encoder_layers`."""
    third = layers[f"{HALVINGS[2]}.weight"][:LATENT_CHANNELS, : 3 * FACTOR * FACTOR // 4, 1:, 1:].float()
    encoder = PatchEncoder()
    encoder.weight.copy_(F.pixel_shuffle(F.pixel_shuffle(third, 2), 2))
    encoder.bias.copy_(layers[f"{LAST}.bias"].float())
    return encoder


def _pixels_to_channels(channels: int) -> Tensor:
    """A 3 x 3 kernel of stride 2 that does `torch.nn.functional.pixel_unshuffle(x, 2)`."""
    kernel = torch.zeros(4 * channels, channels, 3, 3)
    for channel in range(channels):
        for number in range(4):
            kernel[4 * channel + number, channel, 1 + number // 2, 1 + number % 2] = 1
    return kernel
