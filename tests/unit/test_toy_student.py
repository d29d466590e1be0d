"""The student of the toy world: its data, its network, and a LoRA that is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from swd_dev.errors import DevError
from swd_dev.toy import student
from swd_dev.toy.model import load_teacher, make_trainee, make_transformer, save_teacher
from swd_dev.toy.teacher_set import TeacherSet
from swd_dev.toy.text import Features
from torch import Tensor


class Boxes:
    """Stands for the autoencoder: a latent pixel is the mean of 8 x 8 pixels, in 16 channels."""

    def encode(self, pixels: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(pixels, 8)[:, :1].repeat(1, 16, 1, 1)

    def decode(self, latents: Tensor) -> Tensor:
        return latents[:, :3].repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "teacher.safetensors"
    trainee = make_trainee(2, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in trainee.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    save_teacher(trainee.state_dict(), path)
    return path


def features(count: int) -> Features:
    generator = torch.Generator().manual_seed(3)
    return Features(torch.randn(count, 16, 768, generator=generator), torch.randn(count, 768, generator=generator))


def test_the_narrow_text_embedder_changes_nothing(teacher_file: Path) -> None:
    words, latents, t = features(2), torch.randn(2, 16, 8, 8), torch.tensor([0.9, 0.4])
    wide = words.padded()
    expected = load_teacher(teacher_file)(latents, wide.context.float(), wide.pooled.float(), t * 1000).sample
    network = student.make_network(load_teacher(teacher_file), 4)
    condition = {"context": words.context, "pooled": words.pooled}
    velocity = network.denoiser.velocity(latents, t, condition)
    assert torch.allclose(velocity, expected, atol=1e-5)
    with pytest.raises(DevError, match="reads more than CLIP-L's features"):
        student.make_network(make_transformer(2), 4)


def test_a_student_is_trained_goes_on_and_starts_anew_with_another_teacher(teacher_file: Path, tmp_path: Path) -> None:
    folder, words = tmp_path / "student", features(3)
    made = TeacherSet(torch.rand(3, 16, 16, 16), ["a", "b", "c"])
    student.begin(folder, [teacher_file])
    stages = student.make_pairs(folder / "pairs.safetensors", made, Boxes())
    assert [tuple(stage.target.shape) for stage in stages] == [(3, 16, side, side) for side in (8, 10, 12, 16)]
    data = student.StudentData(stages, words, features(1))
    small = {"batch_size": 2, "rank": 2, "fake_steps": 1}
    student.train_student(folder, load_teacher(teacher_file), data, Boxes(), words, steps=1, **small)
    student.begin(folder, [teacher_file])
    student.train_student(folder, load_teacher(teacher_file), data, Boxes(), words, steps=2, **small)
    lora = load_file(folder / "adapter_model.safetensors")
    assert all(value.dtype == torch.float16 for value in lora.values())
    assert any(value.any() for name, value in lora.items() if ".lora_B." in name)
    written = {"adapter_config.json", "checkpoint.safetensors", "losses.png", "made_from.txt", "pairs.safetensors"}
    assert {path.name for path in folder.iterdir()} == {*written, "adapter_model.safetensors", "sheet.png"}
    other = tmp_path / "other.safetensors"
    other.write_bytes(teacher_file.read_bytes() + b" ")
    student.begin(folder, [other])
    assert [path.name for path in folder.iterdir()] == ["made_from.txt"]
