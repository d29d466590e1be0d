"""A small autoencoder in a file that ComfyUI's VAELoader takes as TAESD3.

TAESD has 64 channels at every resolution, which costs seconds a picture on a CPU. The decoder here has the same layers
with fewer channels; in the file the others are zero and stay zero through every ReLU block: ComfyUI computes the same.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from swd_dev.toy.encoder import FACTOR, LATENT_CHANNELS, PatchEncoder, encoder_from_layers, encoder_layers

__all__ = ["FACTOR", "LATENT_CHANNELS", "SCALE", "SHIFT", "Autoencoder", "load_autoencoder", "save_autoencoder"]

# SD3: model latent = (VAE latent - shift) * scale.
SCALE, SHIFT = 1.5305, 0.0609
# Channels of the decoder at 1/8, 1/4, 1/2 and 1/1 of the picture's side, and of TAESD.
WIDTHS = (48, 32, 16, 12)
TAESD_WIDTH = 64
TAESD_BLOCKS = (1, 3, 4, 5, 7, 8, 9, 11, 12, 13)


class Clamp(nn.Module):
    """TAESD's soft limit of the latents to -3 to 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Three convolutions around a skip; at the start the skip alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))
        nn.init.zeros_(self.conv[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


def _conv(n_in: int, n_out: int, *, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias)
    nn.init.kaiming_normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [Clamp(), _conv(LATENT_CHANNELS, WIDTHS[0]), nn.ReLU()]
    for n_in, n_out in itertools.pairwise(WIDTHS):
        layers += [Block(n_in), Block(n_in), Block(n_in), nn.Upsample(scale_factor=2), _conv(n_in, n_out, bias=False)]
    return nn.Sequential(*layers, Block(WIDTHS[-1]), _conv(WIDTHS[-1], 3))


class Autoencoder(nn.Module):
    """Pictures [N, 3, H, W] in [0, 1] to and from model latents [N, 16, H/8, W/8] of about unit variance."""

    def __init__(self, encoder: PatchEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = _decoder()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, pictures: Tensor) -> Tensor:
        latents: Tensor = self.encoder(pictures)
        return latents.contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        pictures: Tensor = self.decoder(latents.to(memory_format=torch.channels_last))
        return pictures.contiguous()


def save_autoencoder(autoencoder: Autoencoder, path: Path) -> None:
    """Write the file that ComfyUI's VAELoader takes: TAESD's shapes, float16, SD3's scale and shift."""
    file = {f"taesd_encoder.{name}": _grown(name, weight, 14) for name, weight in _whole_encoder(autoencoder).items()}
    for name, weight in autoencoder.decoder.state_dict().items():
        file[f"taesd_decoder.{name}"] = _grown(name, weight, 19)
    save_file({**file, "vae_scale": torch.tensor(SCALE), "vae_shift": torch.tensor(SHIFT)}, path, {"format": "pt"})


def load_autoencoder(path: Path) -> Autoencoder:
    """The autoencoder of a file of `save_autoencoder`, frozen, float32."""
    file = load_file(path)
    encoder = {name.removeprefix("taesd_encoder."): weight for name, weight in file.items() if "_encoder." in name}
    autoencoder = Autoencoder(encoder_from_layers(encoder))
    decoder = {
        name: file[f"taesd_decoder.{name}"][tuple(slice(size) for size in weight.shape)].float()
        for name, weight in autoencoder.decoder.state_dict().items()
    }
    autoencoder.decoder.load_state_dict(decoder)
    return autoencoder.requires_grad_(False).eval()


def _whole_encoder(autoencoder: Autoencoder) -> dict[str, Tensor]:
    """All layers of TAESD's encoder: ours, and blocks whose convolutions are zero, which leave what is not negative."""
    layers = encoder_layers(autoencoder.encoder)
    for block in TAESD_BLOCKS:
        for number in (0, 2, 4):
            layers[f"{block}.conv.{number}.weight"] = torch.zeros(1, 1, 3, 3)
            layers[f"{block}.conv.{number}.bias"] = torch.zeros(1)
    return layers


def _grown(name: str, weight: Tensor, last: int) -> Tensor:
    """A weight in TAESD's shape. Only the network's own ends keep their number of channels."""
    layer = int(name.partition(".")[0])
    shape = [TAESD_WIDTH] * min(weight.ndim, 2)
    if layer == last:
        shape[0] = weight.shape[0]
    if layer in (0, 1) and ".conv." not in name and weight.ndim > 1:
        shape[1] = weight.shape[1]
    grown = torch.zeros(*shape, *weight.shape[2:])
    grown[tuple(slice(size) for size in weight.shape)] = weight
    return grown.half()
