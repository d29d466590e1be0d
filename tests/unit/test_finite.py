"""NaN and infinity are found without waiting for the device."""

from __future__ import annotations

import math

import pytest
import torch
from swd_pack.swd_core.finite import FiniteWatch, read_extremes
from swd_pack.swd_core.loop import sample_scalewise
from swd_pack.swd_core.stages import Stage
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

STAGES = [Stage(0, 2, 2, 1.0), Stage(1, 4, 4, 0.5), Stage(2, 4, 6, 0.25)]


def run(watch: FiniteWatch, bad: dict[int, float], device: str = "cpu") -> None:
    def predict(stage: Stage, clean: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        x0 = noise.clone()
        if stage.index in bad:
            x0[0, 0, -1, -1] = bad[stage.index]
        return x0

    sample_scalewise(STAGES, watch.over(predict), lambda stage: torch.zeros(1, 4, *stage.size, device=device))


@pytest.mark.parametrize(
    ("bad", "expected"),
    [({}, None), ({0: math.nan}, 0), ({1: math.inf}, 1), ({2: -math.inf}, 2), ({2: math.nan, 1: math.inf}, 1)],
)
def test_the_first_stage_that_is_not_finite_is_named(bad: dict[int, float], expected: int | None) -> None:
    watch = FiniteWatch()
    run(watch, bad)
    assert watch.first_bad() == expected


def test_nothing_waits_for_a_gpu_until_the_run_is_over() -> None:
    """A fake device has no values, so whatever would read one, and so wait for it, fails. No GPU is needed."""
    watch = FiniteWatch()
    with FakeTensorMode():
        run(watch, {}, "cuda")
        with pytest.raises(DataDependentOutputException):
            watch.first_bad()


def test_the_extremes_of_each_tensor_whatever_its_type_and_size() -> None:
    values = [torch.tensor([[3.0, -2.0], [0.5, 1.0]]), torch.tensor([7.0], dtype=torch.float16), torch.zeros(0, 4)]
    assert read_extremes(values) == [(-2.0, 3.0), (7.0, 7.0), (0.0, 0.0)]


def test_one_tensor_is_enough() -> None:
    assert read_extremes([torch.tensor([2.0, -1.0])]) == [(-1.0, 2.0)]


def test_nan_is_both_extremes_of_its_tensor() -> None:
    (ends, sound) = read_extremes([torch.tensor([1.0, math.nan, math.inf]), torch.ones(2)])
    assert all(map(math.isnan, ends))
    assert sound == (1.0, 1.0)
