"""The toy world's files in a real ComfyUI: what its loaders make of them is what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import comfy.utils
import pytest
import torch
from swd_dev.toy.autoencoder import SCALE, SHIFT, Autoencoder, load_autoencoder, save_autoencoder
from swd_dev.toy.captions import split
from swd_dev.toy.encoder import fit_encoder
from swd_dev.toy.model import load_teacher, make_trainee, save_teacher
from swd_dev.toy.sampling import velocity_of
from swd_dev.toy.text import FULL, SHORT, CaptionCache, Features, encode_batch, load_clip
from swd_dev.toy.world import forward_with_features


@pytest.fixture(scope="module")
def vae_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained decoder: its equality with ComfyUI's does not depend on training."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("toy") / "vae.safetensors"
    save_autoencoder(Autoencoder(fit_encoder(torch.rand(2, 3, 64, 64))), path)
    return path


def test_comfyui_decodes_and_encodes_as_the_autoencoder(vae_file: Path) -> None:
    own = load_autoencoder(vae_file)
    vae = comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(vae_file)))
    assert vae.latent_channels == 16
    latents = torch.randn(2, 16, 8, 12)
    theirs = vae.decode(latents / SCALE + SHIFT).movedim(-1, 1)
    assert torch.allclose(own.decode(latents).clamp(0, 1), theirs, atol=1e-4)
    pictures = torch.rand(2, 3, 64, 96)
    encoded = (vae.encode(pictures.movedim(1, -1)) - SHIFT) * SCALE
    assert torch.allclose(own.encode(pictures), encoded, atol=1e-4)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained teacher whose blocks do something."""
    model = make_trainee(3, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    path = tmp_path_factory.mktemp("toy") / "teacher.safetensors"
    save_teacher(model.state_dict(), path)
    return path


def _features(count: int, tokens: int) -> Features:
    generator = torch.Generator().manual_seed(2)
    context = torch.randn(count, tokens, 768, generator=generator)
    return Features(context, torch.randn(count, 768, generator=generator))


@pytest.mark.parametrize("size", [(16, 16), (10, 10), (12, 20)])
def test_comfyui_computes_the_velocity_of_the_training_side(teacher_file: Path, size: tuple[int, int]) -> None:
    patcher = comfy.sd.load_diffusion_model(str(teacher_file), model_options={"dtype": torch.float32})
    assert type(patcher.model).__name__ == "SD3"
    comfy.model_management.load_models_gpu([patcher], force_full_load=True)
    features = _features(2, FULL).padded()
    latents, sigma = torch.randn(2, 16, *size), torch.tensor([0.2, 0.9])
    with torch.no_grad():
        own = velocity_of(load_teacher(teacher_file))(latents, features, sigma)
        theirs = patcher.model.diffusion_model(latents, sigma * 1000, context=features.context, y=features.pooled)
    assert own.std() > 0.01
    assert torch.allclose(own, theirs, atol=1e-4 * own.abs().max())


def test_block_features_are_the_middle_blocks_image_tokens(teacher_file: Path) -> None:
    model = load_teacher(teacher_file)
    features = _features(2, SHORT).padded()
    latents, sigma = torch.randn(2, 16, 8, 12), torch.tensor([0.2, 0.9])
    with torch.no_grad():
        velocity, tokens = forward_with_features(model, latents, features, sigma)
        assert torch.equal(velocity, velocity_of(model)(latents, features, sigma))
    assert tokens.shape == (2, 4 * 6, 64 * 3)
    _, first = forward_with_features(model, latents, features, sigma, block=0)
    assert not torch.equal(first, tokens)


@pytest.fixture(scope="module")
def clip_file(tiny_models: Path) -> Path:
    return tiny_models / "text_encoders" / "clip_l.safetensors"


@pytest.fixture(scope="module")
def clip(clip_file: Path) -> Any:
    return load_clip(clip_file)


def test_features_in_a_batch_are_what_the_clip_loader_gives(clip: Any) -> None:
    captions = [split().held_out[0].text, "three yellow triangles right of two green triangles on a gray background"]
    batch = encode_batch(clip, captions)
    short = encode_batch(clip, captions, SHORT)
    for number, caption in enumerate(captions):
        context, pooled = clip.encode_from_tokens(clip.tokenize(caption), return_pooled=True)
        wide = batch.at(torch.tensor([number])).padded()
        assert torch.allclose(wide.context, context, atol=1e-4)
        assert torch.allclose(wide.pooled, pooled, atol=1e-4)
        assert torch.allclose(short.context[number], context[0, :SHORT, :768], atol=1e-4)
        assert torch.allclose(short.pooled[number], pooled[0, :768], atol=1e-4)


def test_every_caption_ends_within_the_short_length(clip: Any) -> None:
    end = 49407
    for caption in [*split().training, *split().held_out]:
        tokens = [token for token, *_ in clip.tokenize(caption.text)["l"][0]]
        assert end in tokens[:SHORT], caption.text


def test_the_cache_keeps_what_it_encoded(clip_file: Path, tmp_path: Path) -> None:
    captions = [caption.text for caption in split().held_out[:3]]
    made = CaptionCache(tmp_path / "captions.safetensors", clip_file, SHORT).encode(captions[:2])
    kept = CaptionCache(tmp_path / "captions.safetensors", tmp_path / "no such file", SHORT)
    again = kept.encode([captions[1], captions[0]])
    assert torch.equal(again.context, made.context.flip(0))
    assert torch.equal(again.pooled, made.pooled.flip(0))
    with pytest.raises(Exception, match="no such file"):
        kept.encode(captions)
