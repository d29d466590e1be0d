"""Mutated LoRA files, as long as `--fuzz-seconds` says: never a crash, a hang, or memory beyond what a file holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_lora.py")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, which only Linux does for all memory")
def test_no_file_crashes_hangs_or_takes_more_memory_than_it_holds(
    pack: Path, comfyui: Path, tiny_models: Path, pytestconfig: pytest.Config, capsys
) -> None:
    """In a process of its own: a crash would take the test run with it."""
    seconds = pytestconfig.getoption("--fuzz-seconds")
    command = [sys.executable, SCRIPT, comfyui, pack, tiny_models, str(seconds)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=seconds + 500, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}"
    outcomes = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\n    {outcomes}", end="")
    assert outcomes["cases"] >= 5 * seconds
    # Both ways out must be taken, or the mutations are too wild or too tame to show anything.
    assert outcomes["refused, refused"] > outcomes["cases"] / 4
    assert outcomes["loaded, saved"] > outcomes["cases"] / 50
