"""Mutation testing: small faults put into the core one by one, and whether the unit tests notice.

Run by `python dev.py mutate [--sample N] [--seed S] [NAME ...]`. A mutant that no test notices has survived: either a
test is missing, or the change makes no difference. docs/mutation.md holds the result of the last run, and why each
survivor is one. The work is done in a copy of the checkout.
"""

import argparse
import itertools
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import use_db

from .errors import DevError
from .options import add_mutate_options
from .paths import REPO, venv_program
from .progress import say

# The pure files of the core, and the unit tests that are to notice a fault in each.
_SAMPLING = ("core", "finite", "schedule", "presets", "properties", "plot")
_LORA = ("lora", "lora_standard", "lora_check", "lora_convert", "properties")
_TRAINING = tuple(
    f"distill_{test}" for test in ("checkpoint", "files", "folder", "hooks", "lora", "losses", "names", "training")
)
_TRAINED = (
    *("checkpoint", "checkpointing", "data", "denoiser", "dmd", "draws", "features", "files", "folder", "gan", "grid"),
    *("history", "identity", "lora", "loss_plot", "mmd", "names", "network", "objective", "pairs", "peft_file", "run"),
    *("sampling", "settings", "targets", "trainer", "update"),
)
TESTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("cost", "family", "finite", "loop", "noise", "parse", "presets", "resize"), _SAMPLING),
        **dict.fromkeys(("schedule", "stages"), _SAMPLING),
        **dict.fromkeys(("lora/check", "lora/convert", "lora/file", "lora/layers", "lora/metadata"), _LORA),
        **dict.fromkeys(("lora/scale", "lora/standard"), _LORA),
        **{f"distill/{name}": _TRAINING for name in _TRAINED},
    }
)
SECONDS = 180.0
COPIED = ("swd_core", "nodes", "tests", "devtools", "__init__.py", "pyproject.toml", "workflows")
# In annotations, which nothing evaluates, this is the union of two types.
NOT_MUTATED = "core/ReplaceBinaryOperator_BitOr"


def main(arguments: Sequence[str]) -> int:
    """Run a sample of mutants and print every survivor; returns 0, also where there are some."""
    parser = argparse.ArgumentParser(prog="dev.py mutate", description=__doc__)
    add_mutate_options(parser)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - TESTS.keys())
    if unknown:
        parser.error(f"no test is named for {', '.join(unknown)}; the files are {', '.join(TESTS)}")
    with tempfile.TemporaryDirectory(prefix="swd-mutation-") as folder:
        copy = Path(folder)
        _copy(copy)
        os.chdir(copy)
        names = options.names or list(TESTS)
        _check_sound(names)
        return _run(_sample(copy, names, options.sample, options.seed))


def _copy(target: Path) -> None:
    for part in COPIED:
        source = REPO / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__", "bench", "browser"))
        else:
            shutil.copy2(source, target / part)


def _command(name: str) -> str:
    """The tests of a file, stopped by the first that fails."""
    pytest = venv_program(Path(sys.prefix), "pytest")
    files = [f"tests/unit/test_{test}.py" for test in TESTS[name]]
    options = ("-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile", "quick")
    return shlex.join([str(pytest), *(file for file in files if Path(file).is_file()), *options])


def _check_sound(names: Iterable[str]) -> None:
    for command in sorted({_command(name) for name in names}):
        start = time.monotonic()
        done = subprocess.run(shlex.split(command), capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise DevError(f"the tests fail without any mutant:\n{done.stdout[-2000:]}")
        say(f"the tests pass without a mutant in {time.monotonic() - start:.0f} s: {command}")


def _sample(copy: Path, names: Sequence[str], count: int, seed: int) -> list[tuple[str, Any]]:
    """Mutants as (name of the file, work item), taken in turn from every file so that small ones have their share."""
    chance = random.Random(seed)
    of_file: list[list[tuple[str, Any]]] = []
    for name in names:
        with use_db(copy / "mutants.sqlite") as database:
            init([Path("swd_core") / f"{name}.py"], database, {})
            items = [item for item in database.work_items if not _operator(item).startswith(NOT_MUTATED)]
        items.sort(key=lambda item: (_operator(item), item.mutations[0].occurrence))
        chance.shuffle(items)
        say(f"{name}: {len(items)} possible mutants")
        of_file.append([(name, item) for item in items])
    return list(itertools.islice(_in_turn(of_file), count))


def _operator(item: Any) -> str:
    name: str = item.mutations[0].operator_name
    return name


def _in_turn(lists: Iterable[list[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
    for row in itertools.zip_longest(*lists):
        yield from (entry for entry in row if entry is not None)


def _run(mutants: Sequence[tuple[str, Any]]) -> int:
    tried: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for number, (name, item) in enumerate(mutants, 1):
        result = mutate_and_test(item.mutations, _command(name), SECONDS)
        tried[name] += 1
        killed[name] += bool(result.is_killed)
        say(f"{number} of {len(mutants)}: {name} {'killed' if result.is_killed else 'SURVIVED'}")
        if not result.is_killed:
            say(_changed_lines(result.diff or ""))
    say("\n| file | mutants | killed |\n|---|---|---|")
    for name, count in tried.items():
        say(f"| {name}.py | {count} | {killed[name]} |")
    say(f"| all | {tried.total()} | {killed.total()} |")
    return 0


def _changed_lines(diff: str) -> str:
    return "\n".join(line for line in diff.splitlines() if line.startswith(("@@", "-", "+")))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DevError as error:
        sys.exit(f"dev.py: {error}")
