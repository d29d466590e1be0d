"""A small autoencoder that a TAESD3 file can hold.

TAESD has 64 channels at every resolution, which costs seconds a picture on a CPU. This one has the same layers with
fewer channels; in the file the others are zero and stay zero through every ReLU block, so ComfyUI computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LATENT_CHANNELS = 16
FACTOR = 8
# SD3: model latent = (VAE latent - shift) * scale.
SCALE, SHIFT = 1.5305, 0.0609
# Channels at 1/1, 1/2, 1/4 and 1/8 of the picture's side, and in TAESD.
WIDTHS = (8, 16, 24, 48)
TAESD_WIDTH = 64


class Clamp(nn.Module):
    """TAESD's soft limit of the latents to -3 to 3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Three convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


def _conv(n_in: int, n_out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1, stride=stride, bias=bias)


def _encoder() -> nn.Sequential:
    a, b, c, d = WIDTHS
    layers: list[nn.Module] = [_conv(3, a), Block(a)]
    for n_in, n_out in ((a, b), (b, c), (c, d)):
        layers += [_conv(n_in, n_out, stride=2, bias=False), Block(n_out), Block(n_out), Block(n_out)]
    return nn.Sequential(*layers, _conv(d, LATENT_CHANNELS))


def _decoder() -> nn.Sequential:
    a, b, c, d = WIDTHS
    layers: list[nn.Module] = [Clamp(), _conv(LATENT_CHANNELS, d), nn.ReLU()]
    for n_in, n_out in ((d, c), (c, b), (b, a)):
        layers += [Block(n_in), Block(n_in), Block(n_in), nn.Upsample(scale_factor=2), _conv(n_in, n_out, bias=False)]
    return nn.Sequential(*layers, Block(a), _conv(a, 3))


class Autoencoder(nn.Module):
    """Pictures [N, 3, H, W] in [0, 1] to and from model latents [N, 16, H/8, W/8] of about unit variance."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _encoder()
        self.decoder = _decoder()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, pictures: Tensor) -> Tensor:
        latents: Tensor = self.encoder(pictures.to(memory_format=torch.channels_last))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        pictures: Tensor = self.decoder(latents.to(memory_format=torch.channels_last))
        return pictures


def _prefixed(name: str) -> str:
    return f"taesd_{name}"


def to_taesd(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `Autoencoder` in TAESD's shapes, float16, with SD3's scale and shift."""
    file: dict[str, Tensor] = {}
    for name, weight in weights.items():
        shape = [size if size in _edges(name) else TAESD_WIDTH for size in weight.shape[:2]]
        padded = torch.zeros(*shape, *weight.shape[2:])
        padded[tuple(slice(size) for size in weight.shape)] = weight
        file[_prefixed(name)] = padded.half()
    return {**file, "vae_scale": torch.tensor(SCALE), "vae_shift": torch.tensor(SHIFT)}


def _edges(name: str) -> tuple[int, ...]:
    """Sizes at the outside of the network, which keep theirs: a picture's 3 channels and the latent's 16."""
    last = {"encoder.14", "decoder.19"}
    return (3, LATENT_CHANNELS) if name.rpartition(".")[0] in {"encoder.0", "decoder.1"} | last else ()


def save_autoencoder(autoencoder: Autoencoder, path: Path) -> None:
    """Write the file that ComfyUI's VAELoader takes."""
    save_file(to_taesd(autoencoder.state_dict()), path, metadata={"format": "pt"})


def load_autoencoder(path: Path) -> Autoencoder:
    """The autoencoder of a file of `save_autoencoder`, frozen, float32."""
    file = load_file(path)
    autoencoder = Autoencoder()
    weights = {
        name: file[_prefixed(name)][tuple(slice(size) for size in weight.shape)].float()
        for name, weight in autoencoder.state_dict().items()
    }
    autoencoder.load_state_dict(weights)
    return autoencoder.requires_grad_(False).eval()
