"""The options of dev.py: those of a command are told by its --help, and reach what it starts as they were given."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from swd_dev.cli import _parse
from swd_dev.options import (
    FIGURES,
    STAND_INS_MISSING,
    add_bench_options,
    add_demo_options,
    add_mutate_options,
    as_arguments,
)
from swd_dev.prompts import STAND_INS, WORKFLOWS

PACK = Path(__file__).resolve().parents[2]
COMMANDS = {"demo": add_demo_options, "bench": add_bench_options, "mutate": add_mutate_options}
LINES = [
    ["demo", "--size", "64x64", "--seed", "0", "-a fox"],
    ["bench"],
    ["bench", "--only", "lora", "--only", "imports", "--true-size", "--device", "cuda", "--json", "a file.json"],
    ["mutate", "--sample", "3", "loop", "lora/scale"],
]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_the_arguments_reach_the_program_as_they_were_given(line: list[str]) -> None:
    command, *arguments = line
    arguments = [*arguments[:-1], "--", arguments[-1]] if command == "demo" else arguments
    add = COMMANDS[command]
    parser = argparse.ArgumentParser()
    add(parser)
    options, extra = _parse([command, *arguments])
    assert extra == []
    assert parser.parse_args(as_arguments(options, add)) == parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("command", "words"), [("bench", ("--only", "--device", "--true-size")), ("mutate", ("--seed",))]
)
def test_the_help_names_the_options(command: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _parse([command, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(word in told for word in words)


def test_the_templates_that_need_a_stand_in_are_named() -> None:
    """dev.py serve says that these do not run in its page."""
    values = [value for rule in STAND_INS for value in rule.where.values()]
    needy = [path for path in WORKFLOWS.glob("*.json") if any(f'"{value}"' in path.read_text() for value in values)]
    assert len(needy) == 2
    assert all(path.stem.split(" - ")[1].split(",")[0] in STAND_INS_MISSING for path in needy)


def test_the_figures_are_the_files_of_the_bench() -> None:
    files = {path.stem for path in (PACK / "tests" / "bench" / "figures").glob("*.py")}
    assert {*FIGURES, "__init__"} == files
