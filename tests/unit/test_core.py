"""Noise, resize and the loop, in plain torch."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.loop import sample_scalewise
from swd_pack.swd_core.noise import NoiseAhead, StageNoise, recover_items
from swd_pack.swd_core.resize import METHODS, resize
from swd_pack.swd_core.stages import Stage


@given(seed=st.integers(0, 2**64 - 1), items=st.lists(st.integers(0, 100), min_size=1, max_size=4))
def test_each_picture_draws_as_if_it_were_alone(seed: int, items: list[int]) -> None:
    together = StageNoise(seed, items)
    first, second = together.draw((4, 3, 5)), together.draw((4, 6, 10))
    for position, item in enumerate(items):
        generator = torch.Generator("cpu").manual_seed((seed + item) % 2**64)
        assert torch.equal(first[position], torch.randn(4, 3, 5, generator=generator))
        assert torch.equal(second[position], torch.randn(4, 6, 10, generator=generator))


@given(seed=st.integers(0, 2**64 - 1), pinned=st.booleans())
def test_noise_drawn_ahead_is_that_of_the_rule(seed: int, pinned: bool) -> None:
    """Also where a system has no pinned memory to give, as this one may."""
    shapes = [(4, 3, 5), (4, 6, 10), (4, 2, 16, 24)]
    ahead, source = NoiseAhead(StageNoise(seed, (0, 3)), shapes, pinned), StageNoise(seed, (0, 3))
    for shape in shapes:
        assert torch.equal(ahead.take(), source.draw(shape))


def test_what_goes_wrong_while_noise_is_drawn_reaches_the_run() -> None:
    with pytest.raises(RuntimeError, match="negative dimension"):
        NoiseAhead(StageNoise(0, (0,)), [(4, -1, 5)]).take()


class CountedNoise(StageNoise):
    """Notes how many draws have ended."""

    def __init__(self) -> None:
        super().__init__(0, (0,))
        self.ended: SimpleQueue[None] = SimpleQueue()

    def draw(self, shape: Sequence[int], pinned: bool = False) -> torch.Tensor:
        noise = super().draw(shape, pinned)
        self.ended.put(None)
        return noise


def test_noise_is_drawn_one_stage_ahead_and_no_more() -> None:
    """The noise of all stages of a large batch would be held for nothing."""
    source = CountedNoise()
    ahead = NoiseAhead(source, [(4, 3, 5)] * 4)
    for _ in range(3):
        source.ended.get(timeout=60)
        ahead.take()
    source.ended.get(timeout=60)
    assert source.ended.empty()
    ahead.take()
    with pytest.raises(IndexError):
        ahead.take()


def test_the_thread_of_the_noise_ends_after_the_last_draw_and_after_an_interrupt() -> None:
    threads = set(threading.enumerate())
    whole, interrupted = (NoiseAhead(StageNoise(0, (0,)), [(4, 3, 5)] * 2) for _ in range(2))
    whole.take(), whole.take()
    interrupted.take()
    started = set(threading.enumerate()) - threads
    del interrupted
    for thread in started:
        thread.join(60)
    assert started
    assert not any(thread.is_alive() for thread in started)


@given(
    seed=st.integers(0, 2**64 - 1),
    items=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    height=st.integers(1, 13),
    width=st.integers(1, 21),
)
def test_the_number_of_a_picture_is_known_by_the_beginning_of_its_noise(
    seed: int, items: list[int], height: int, width: int
) -> None:
    """As ComfyUI draws it: one generator, picture after picture, of any number of values."""
    generator = torch.Generator("cpu").manual_seed(seed)
    pictures = [torch.randn(4, height, width, generator=generator) for _ in range(10)]
    assert recover_items(torch.stack([pictures[item] for item in items]), seed) == items


@given(seed=st.integers(0, 2**64 - 1), batch=st.integers(1, 4), height=st.integers(1, 33), width=st.integers(1, 33))
def test_pictures_of_a_latent_without_batch_index_count_by_position(
    seed: int, batch: int, height: int, width: int
) -> None:
    """As ComfyUI draws it then: all pictures at once, of any number of values."""
    noise = torch.randn(batch, 4, height, width, generator=torch.Generator("cpu").manual_seed(seed))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        assert recover_items(noise.to(dtype), seed) == list(range(batch))


def test_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    StageNoise(7, range(3)).draw((4, 8, 8))
    recover_items(torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_absent_noise_counts_by_position_and_foreign_noise_is_not_taken_for_comfyuis() -> None:
    assert recover_items(torch.zeros(3, 4, 8, 8), 5) == [0, 1, 2]
    assert recover_items(torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(99)), 5) is None


@pytest.mark.parametrize("method", ["bicubic", "bilinear", "nearest-exact", "area"])
def test_resize_is_torch_interpolate_in_float32(method: str) -> None:
    latent = torch.randn(2, 4, 6, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize(latent, (9, 15), method), F.interpolate(latent, size=(9, 15), mode=method))
    half = resize(latent.half(), (9, 15), method)
    assert half.dtype == torch.float16
    assert torch.equal(half, F.interpolate(latent.half().float(), size=(9, 15), mode=method).half())


class OnOldApple(torch.Tensor):
    """A tensor on a device for which this torch has no bicubic: it refuses as torch does, until it is on the CPU."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.interpolate:
            raise NotImplementedError("The operator 'aten::upsample_bicubic2d.out' is not currently implemented")
        if function is torch.Tensor.cpu:
            with torch._C.DisableTorchFunctionSubclass():
                return args[0].as_subclass(torch.Tensor)
        return super().__torch_function__(function, types, args, kwargs or {})


def test_a_device_without_bicubic_resizes_on_the_cpu() -> None:
    latent = torch.randn(2, 4, 6, 10, generator=torch.Generator().manual_seed(0))
    grown = resize(latent.as_subclass(OnOldApple), (9, 15))
    assert torch.equal(grown, resize(latent, (9, 15)))


@pytest.mark.parametrize("method", METHODS)
def test_resize_grows_height_and_width_of_every_frame_alone(method: str) -> None:
    video = torch.randn(2, 4, 3, 6, 10, generator=torch.Generator().manual_seed(0))
    grown = resize(video, (9, 15), method)
    assert grown.shape == (2, 4, 3, 9, 15)
    for frame in range(3):
        assert torch.equal(grown[:, :, frame], resize(video[:, :, frame], (9, 15), method))


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_latent_stays_constant(method: str) -> None:
    latent = torch.tensor([0.5, -1.0, 2.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert torch.allclose(resize(latent, (7, 9), method), latent[..., :1, :1].expand(1, 3, 7, 9), atol=1e-6)


def test_bislerp_keeps_lengths_where_bilinear_shrinks_them() -> None:
    latent = F.normalize(torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    assert torch.allclose(resize(latent, (12, 12), "bislerp").norm(dim=1), torch.ones(1, 12, 12), atol=1e-5)
    assert resize(latent, (12, 12), "bilinear").norm(dim=1).min() < 0.9


def test_bislerp_of_one_direction_is_bilinear() -> None:
    """There is no arc to follow, only lengths."""
    latent = torch.zeros(1, 3, 4, 5)
    latent[:, 1] = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) + 0.5
    assert torch.allclose(resize(latent, (7, 9), "bislerp"), resize(latent, (7, 9), "bilinear"), atol=1e-6)


def test_resize_to_the_same_size_is_the_same_tensor() -> None:
    latent = torch.randn(1, 4, 6, 6)
    assert resize(latent, (6, 6)) is latent


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match=r"^upscale_method: no such method\."):
        resize(torch.zeros(1, 4, 2, 2), (4, 4), "lanczos")


def test_the_loop_predicts_then_upscales_then_noises() -> None:
    """With a model that answers 10, 11, ... the input of each stage can be written down by hand."""
    stages = [Stage(0, 2, 2, 1.0), Stage(1, 4, 4, 0.5), Stage(2, 4, 6, 0.25)]
    noise = {stage.index: torch.full((1, 1, *stage.size), float(stage.index)) for stage in stages}
    seen: list[tuple[Stage, torch.Tensor | None, torch.Tensor]] = []

    def predict(stage: Stage, clean: torch.Tensor | None, drawn: torch.Tensor) -> torch.Tensor:
        seen.append((stage, clean, drawn))
        return torch.full((1, 1, *stage.size), 10.0 + stage.index)

    result = sample_scalewise(stages, predict, lambda stage: noise[stage.index])
    assert [stage for stage, _, _ in seen] == stages
    assert seen[0][1] is None
    assert torch.equal(seen[1][1], torch.full((1, 1, 4, 4), 10.0))
    assert torch.allclose(seen[2][1], torch.full((1, 1, 4, 6), 11.0))
    assert all(drawn is noise[stage.index] for stage, _, drawn in seen)
    assert torch.equal(result, torch.full((1, 1, 4, 6), 12.0))


def test_the_core_needs_no_comfyui(pack: Path, tmp_path: Path) -> None:
    """All of swd_core outside host imports in a process that cannot see ComfyUI."""
    modules = [
        f"swd_core.{path.relative_to(pack / 'swd_core').with_suffix('').as_posix().replace('/', '.')}"
        for path in sorted((pack / "swd_core").rglob("*.py"))
        if "host" not in path.parts and path.name != "__init__.py"
    ]
    assert len(modules) >= 10
    code = (
        f"import importlib, sys; sys.path.insert(0, {str(pack)!r}); "
        f"[importlib.import_module(name) for name in {modules!r}]; "
        "bad = {name.split('.')[0] for name in sys.modules} & {'comfy', 'comfy_api', 'folder_paths', 'server'}; "
        "sys.exit(repr(bad) if bad else 0)"
    )
    # Not in the current folder, which Python puts on its path.
    subprocess.run([sys.executable, "-c", code], check=True, env={}, cwd=tmp_path)
