"""The stage rule, the schedules and their errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.family import ModelFacts
from swd_pack.swd_core.parse import parse_numbers
from swd_pack.swd_core.schedule import Schedule, check_lists, custom_schedule
from swd_pack.swd_core.stages import check_sigmas, plan_stages

FLOW = ModelFacts("SD3.5 Medium", 2, 8)


def make(scales: list[float], timesteps: list[float], multiple: int = 2) -> Schedule:
    return custom_schedule(scales, timesteps, ModelFacts("any", multiple, 8), lambda t: t)


def test_sizes_of_the_six_step_preset_at_1024_and_832x1216() -> None:
    schedule = make([32, 48, 64, 80, 96, 128], [1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022])
    assert schedule.sizes(128, 128) == [(side, side) for side in (32, 48, 64, 80, 96, 128)]
    assert schedule.sizes(152, 104) == [(38, 26), (58, 40), (76, 52), (96, 66), (114, 78), (152, 104)]


def test_sdxl_sizes_are_multiples_of_four() -> None:
    schedule = make([64, 80, 96, 128], [1.0, 0.8, 0.6, 0.4], multiple=4)
    assert schedule.sizes(152, 104) == [(76, 52), (96, 64), (116, 80), (152, 104)]


@given(
    scales=st.lists(st.integers(1, 512), min_size=1, max_size=8).map(sorted),
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    multiple=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_stage_rule(scales: list[float], height: int, width: int, multiple: int) -> None:
    timesteps = [1 - i / (2 * len(scales)) for i in range(len(scales))]
    sizes = make(scales, timesteps, multiple).sizes(height, width)
    assert sizes[-1] == (height, width)
    for scale, (h, w) in zip(scales[:-1], sizes[:-1], strict=True):
        for side, target in ((h, height), (w, width)):
            assert side % multiple == 0
            assert side >= multiple
            assert abs(side - target * scale / scales[-1]) <= multiple / 2 or side == multiple
    assert sizes[:-1] == sorted(sizes[:-1])


def test_a_closing_zero_means_nothing_more() -> None:
    assert make([64, 128], [1.0, 0.5, 0.0]) == make([64, 128], [1.0, 0.5])
    assert make([64, 128], [1.0, 0.5]).sigmas == (1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("scales", "timesteps", "first_line"),
    [
        ([64, 48], [1.0, 0.5], "scales: they must not fall."),
        ([0, 48], [1.0, 0.5], "scales: 0 is not above 0."),
        ([-1, 48], [1.0, 0.5], "scales: -1 is not above 0."),
        ([64, 128], [0.5, 1.0], "timesteps: each must be below the one before."),
        ([64, 128], [1.0, 1.0], "timesteps: each must be below the one before."),
        ([64, 128], [1.5, 1.0], "timesteps: 1.5 is not above 0 and at most 1."),
        ([64, 128], [1.0, 0.0, 0.0], "timesteps: 0 is not above 0 and at most 1."),
        ([64], [0.0], "timesteps: 0 is not above 0 and at most 1."),
        ([64, 128], [1.0], "scales and timesteps: their lengths differ, 2 and 1."),
        ([64], [1.0, 0.5], "scales and timesteps: their lengths differ, 1 and 2."),
    ],
)
def test_wrong_schedules_say_what_is_wrong(scales: list[float], timesteps: list[float], first_line: str) -> None:
    with pytest.raises(InputError) as error:
        make(scales, timesteps)
    lines = str(error.value).splitlines()
    assert lines[0] == first_line
    assert [line.split(":")[0] for line in lines[1:]] == ["Found", "Allowed", "To do"]


@pytest.mark.parametrize(("steps", "end"), [(64, "0.01"), (65, "0.01 and 1 more"), (200, "0.01 and 136 more")])
def test_a_long_list_is_cut_in_a_message(steps: int, end: str) -> None:
    with pytest.raises(InputError) as error:
        make([64] * steps, [0.01] * steps)
    assert str(error.value).splitlines()[1] == "Found: " + "0.01, " * 63 + end


@pytest.mark.parametrize("text", ["64, 80, 96", "64 80 96", " 64;80\n96 ", "64,80,96,"])
def test_numbers_are_read_as_people_type_them(text: str) -> None:
    assert parse_numbers(text, "scales", "64, 80") == (64.0, 80.0, 96.0)


@pytest.mark.parametrize(
    ("text", "first_line"),
    [
        ("", "scales: the list is empty."),
        (" , ", "scales: the list is empty."),
        ("64, big", "scales: 'big' is not a number."),
        ("nan", "scales: 'nan' is not a number."),
        ("inf", "scales: 'inf' is not a number."),
        ("1e999", "scales: '1e999' is not a number."),
    ],
)
def test_wrong_numbers_say_what_is_wrong(text: str, first_line: str) -> None:
    with pytest.raises(InputError) as error:
        parse_numbers(text, "scales", "64, 80")
    assert str(error.value).splitlines()[0] == first_line


def test_the_largest_scale_is_allowed() -> None:
    assert check_lists([64, 1e6], [1.0, 0.5]) == [1.0, 0.5]
    with pytest.raises(InputError, match=r"^scales: 1e\+06 is above 1000000\."):
        check_lists([64, 1e6 + 1], [1.0, 0.5])


def test_a_long_list_of_nothing_is_cut_in_a_message() -> None:
    with pytest.raises(InputError) as error:
        parse_numbers("," * 300, "scales", "64, 80")
    assert str(error.value).splitlines()[1] == f"Found: '{',' * 200}'"


def test_a_long_word_is_cut_in_a_message() -> None:
    with pytest.raises(InputError) as error:
        parse_numbers("x" * 300, "scales", "64, 80")
    assert str(error.value).splitlines()[:2] == [f"scales: '{'x' * 40}' is not a number.", f"Found: {'x' * 200}"]


@pytest.mark.parametrize(
    ("sigmas", "first_line"),
    [
        ([0.5, 0.7, 0.0], "sigmas: they must not rise."),
        ([1.0, 0.5, 0.6], "sigmas: they must not rise."),
        ([0.7, 0.7], "sigmas: they must fall."),
        ([0.7, 0.7, 0.7], "sigmas: they must fall."),
        ([1.02, 0.5], "sigmas: 1.02 is above 1, the highest noise level of this model."),
        ([1.0, -0.5], "sigmas: -0.5 is not a noise level."),
        ([1.0, math.nan], "sigmas: nan is not a noise level."),
        ([math.inf, 1.0], "sigmas: inf is not a noise level."),
    ],
)
def test_what_are_no_noise_levels_is_refused(sigmas: list[float], first_line: str) -> None:
    with pytest.raises(InputError) as error:
        check_sigmas(sigmas, 1.0)
    assert str(error.value).splitlines()[0] == first_line


@pytest.mark.parametrize("sigmas", [[], [0.7], [1.0, 0.0], [1.01, 0.5], [0.7, 0.7, 0.3], [1.0, 0.5, 0.5]])
def test_noise_levels_may_stay_and_start_anywhere(sigmas: list[float]) -> None:
    check_sigmas(sigmas, 1.0)


SIX = make([32, 48, 64, 80, 96, 128], [1.0, 0.9454, 0.8959, 0.7904, 0.7371, 0.6022])


def test_own_sigmas_run_every_stage() -> None:
    stages = plan_stages(SIX, SIX.sigmas, 128, 128)
    assert [stage.size for stage in stages] == SIX.sizes(128, 128)
    assert [stage.index for stage in stages] == [0, 1, 2, 3, 4, 5]
    assert [stage.sigma for stage in stages] == list(SIX.timesteps)


@pytest.mark.parametrize("first", range(6))
def test_a_tail_starts_at_its_stage(first: int) -> None:
    stages = plan_stages(SIX, SIX.sigmas[first:], 128, 128)
    assert [stage.size for stage in stages] == SIX.sizes(128, 128)[first:]
    assert [stage.index for stage in stages] == list(range(6 - first))


def test_any_sigmas_of_the_right_length_are_used_as_given() -> None:
    sigmas = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1]
    assert [stage.sigma for stage in plan_stages(SIX, sigmas, 128, 128)] == sigmas[:-1]


@pytest.mark.parametrize("sigmas", [[], [0.0], [1.0, 0.5, 0.0], list(SIX.sigmas[:4]), [1.0] * 9])
def test_sigmas_of_another_length_name_both_lengths(sigmas: list[float]) -> None:
    with pytest.raises(InputError) as error:
        plan_stages(SIX, sigmas, 128, 128)
    assert str(error.value).splitlines()[0] == f"sigmas: {len(sigmas)} values for a schedule of 7."


@pytest.mark.parametrize(
    ("denoise", "first"), [(1.0, 0), (0.99, 1), (0.9454, 1), (0.9, 2), (0.61, 5), (0.6022, 5), (0.3, 5), (0.0, 5)]
)
def test_denoise_starts_at_the_first_timestep_up_to_it(denoise: float, first: int) -> None:
    assert SIX.first_step(denoise) == first
    assert math.isclose(SIX.timesteps[first], min(max(t for t in SIX.timesteps if t <= max(denoise, 0.6022)), 1.0))
