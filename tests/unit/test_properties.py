"""What holds for every schedule, list, batch and name; hypothesis looks for the case where it does not."""

from __future__ import annotations

import math
import string

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.family import ModelFacts
from swd_pack.swd_core.lora.file import LoraFile
from swd_pack.swd_core.lora.scale import adapter_scale
from swd_pack.swd_core.noise import StageNoise
from swd_pack.swd_core.parse import parse_numbers
from swd_pack.swd_core.schedule import Schedule, custom_schedule
from swd_pack.swd_core.stages import check_sigmas, plan_stages

SIDES = st.integers(1, 2048)
MULTIPLES = st.sampled_from([1, 2, 4, 8, 16])
SCALES = st.lists(st.floats(0.5, 4096), min_size=1, max_size=12).map(sorted)


def falling(count: int) -> list[float]:
    return [1 - i / (count + 1) for i in range(count)]


def schedule(scales: list[float], multiple: int = 2) -> Schedule:
    return custom_schedule(scales, falling(len(scales)), ModelFacts("any", multiple, 8), lambda t: t)


@given(scales=SCALES, height=SIDES, width=SIDES, multiple=MULTIPLES)
def test_sides_grow_in_multiples_and_end_at_the_target(
    scales: list[float], height: int, width: int, multiple: int
) -> None:
    *before, last = schedule(scales, multiple).sizes(height, width)
    assert last == (height, width)
    for side in (0, 1):
        sides = [size[side] for size in before]
        assert sides == sorted(sides)
        assert all(value % multiple == 0 and value >= multiple for value in sides)
        # The full size rounded up is the most that a stage before can have.
        assert all(value <= max(multiple, last[side] + multiple // 2) for value in sides)


@given(scales=SCALES, height=SIDES, width=SIDES, multiple=MULTIPLES)
def test_the_shape_of_the_picture_is_kept_up_to_half_a_multiple(
    scales: list[float], height: int, width: int, multiple: int
) -> None:
    for scale, (h, w) in zip(scales, schedule(scales, multiple).sizes(height, width), strict=True):
        exact = [side * scale / scales[-1] for side in (height, width)]
        if min(exact) < multiple:
            continue
        # Each side is off by half a multiple at most, and the ratio of the sides by both together.
        bound = math.prod(1 + multiple / (2 * side - multiple) for side in exact)
        assert 1 / bound - 1e-9 <= (h / w) / (height / width) <= bound + 1e-9


@given(scales=SCALES, height=SIDES, width=SIDES, multiple=MULTIPLES, power=st.integers(-8, 8))
def test_turning_the_picture_turns_the_stages_and_the_unit_of_scales_is_free(
    scales: list[float], height: int, width: int, multiple: int, power: int
) -> None:
    sizes = schedule(scales, multiple).sizes(height, width)
    assert [size[::-1] for size in sizes] == schedule(scales, multiple).sizes(width, height)
    assume(max(scales) * 2.0**power <= 1e6)
    assert schedule([scale * 2.0**power for scale in scales], multiple).sizes(height, width) == sizes


@given(scales=SCALES, denoise=st.floats(0, 1))
def test_a_run_with_denoise_is_the_tail_of_the_whole_run(scales: list[float], denoise: float) -> None:
    plan = schedule(scales)
    first = plan.first_step(denoise)
    assert all(t > denoise for t in plan.timesteps[:first])
    assert plan.timesteps[first] <= denoise or first == len(scales) - 1
    whole, tail = (plan_stages(plan, plan.sigmas[start:], 64, 96) for start in (0, first))
    assert [(stage.size, stage.sigma) for stage in tail] == [(stage.size, stage.sigma) for stage in whole[first:]]
    assert [stage.index for stage in tail] == list(range(len(scales) - first))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6), st.floats(0.5, 100))
def test_sigmas_pass_if_and_only_if_they_are_falling_noise_levels(sigmas: list[float], top: float) -> None:
    sound = (
        all(0 <= sigma < math.inf for sigma in sigmas)
        and sigmas == sorted(sigmas, reverse=True)
        and (not sigmas or sigmas[0] <= 1.01 * top)
        and (len(sigmas) < 2 or sigmas[0] > sigmas[-1])
    )
    if sound:
        check_sigmas(sigmas, top)
        return
    with pytest.raises(InputError, match=r"^sigmas: "):
        check_sigmas(sigmas, top)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9), st.data())
def test_numbers_come_back_from_text_whatever_stands_between_them(numbers: list[float], data: st.DataObject) -> None:
    between = st.text(alphabet=",; \t\n\uff0c\u3001\uff1b\u060c\u061b\u3000", min_size=1, max_size=4)
    text = data.draw(between).join(repr(number) for number in numbers)
    assert parse_numbers(data.draw(between) + text + data.draw(between), "scales", "1") == tuple(numbers)


@given(st.text(max_size=60) | st.text(alphabet="0123456789.,;+-eE_ \n\tinfa", max_size=60))
def test_any_text_is_finite_numbers_or_an_error_that_names_the_input(text: str) -> None:
    try:
        numbers = parse_numbers(text, "scales", "64, 80")
    except InputError as error:
        assert str(error).startswith("scales: ")
        assert len(str(error).splitlines()) == 4
    else:
        assert numbers
        assert all(math.isfinite(number) for number in numbers)


@given(
    scales=st.lists(st.floats(), max_size=5), timesteps=st.lists(st.floats(), max_size=5), multiple=MULTIPLES,
    height=SIDES, width=SIDES,
)  # fmt: skip
def test_any_two_lists_are_a_schedule_that_can_run_or_an_error(
    scales: list[float], timesteps: list[float], multiple: int, height: int, width: int
) -> None:
    """What `parse_numbers` lets through: finite numbers, at least one."""
    scales, timesteps = ([value for value in values if math.isfinite(value)] or [1.0] for values in (scales, timesteps))
    try:
        made = custom_schedule(scales, timesteps, ModelFacts("any", multiple, 8), lambda t: t)
    except InputError as error:
        assert len(str(error).splitlines()) == 4
        return
    stages = plan_stages(made, made.sigmas, height, width)
    assert stages[-1].size == (height, width)
    assert all(stage.height > 0 and stage.width > 0 and 0 < stage.sigma <= 1 for stage in stages)


@given(seed=st.integers(-(2**70), 2**70), items=st.lists(st.integers(0, 2**20), min_size=1, max_size=4), data=st.data())
def test_a_picture_does_not_depend_on_the_batch_around_it(seed: int, items: list[int], data: st.DataObject) -> None:
    shapes = [(4, 2, 3), (4, 4, 6), (4, 2, 5, 3)]
    order = data.draw(st.permutations(range(len(items))))
    together, shuffled = StageNoise(seed, items), StageNoise(seed, [items[i] for i in order])
    for shape in shapes:
        drawn = together.draw(shape)
        assert torch.equal(shuffled.draw(shape), drawn[list(order)])
        assert drawn.shape == (len(items), *shape)
        assert drawn.dtype == torch.float32


@given(seed=st.integers(0, 2**63), shift=st.integers(0, 1000), turns=st.integers(-3, 3))
def test_picture_k_is_the_single_picture_with_seed_plus_k_also_around_the_end_of_the_seeds(
    seed: int, shift: int, turns: int
) -> None:
    one, other = StageNoise(seed + turns * 2**64, [shift]), StageNoise((seed + shift) % 2**64, [0])
    assert torch.equal(one.draw((4, 3, 3)), other.draw((4, 3, 3)))


@pytest.mark.filterwarnings("ignore:Possible (nested set|set difference|set)")
@given(st.text(alphabet=string.printable, max_size=30))
def test_any_pattern_is_used_or_refused(pattern: str) -> None:
    config = {"lora_alpha": 2, "r": 1, "alpha_pattern": {pattern: 3}}
    try:
        scale = adapter_scale(LoraFile("file", {}, {}, config))
    except InputError as error:
        assert str(error).splitlines()[0] == "lora_name: alpha_pattern in adapter_config.json cannot be used."
    else:
        assert scale is not None
        assert scale.of("a.b.to_q" * 10, 1) in (2, 3)
