"""Training from the command line: one process, and two that share the batch through accelerate."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from distilling import FlatData
from safetensors.torch import load_file
from swd_pack.swd_core.distill.files import write_tensors
from swd_pack.swd_core.distill.folder import DatasetFolder, write_stages

FAMILY = "sd35_large"
SIZES = [(4, 4), (6, 6), (8, 8)]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a dataset of four pictures."""
    root = tmp_path_factory.mktemp("output")
    folder, data = DatasetFolder(root / "swd" / "datasets" / "flat"), FlatData(FAMILY)
    shape = {"width": 64, "height": 64, "images_per_prompt": 1, "prompts": list("abcd")}
    folder.write_info({**shape, "constants": {"guidance": 4.5, "width": 64, "height": 64}})
    write_tensors(folder.condition(None), data.unconditional)
    for index in range(len(data)):
        write_tensors(folder.condition(index), data.picture(index, 0)[1])
        write_stages(folder.stages(SIZES, index), [data.picture(index, stage)[0] for stage in range(3)])
    return root


def run(pack: Path, comfyui: Path, output: Path, name: str, processes: int, over: bool = False, **training: Any) -> str:
    values = {"steps": 3, "batch_size": 4, "rank": 4, "learning_rate": 0.005, "fake_steps": 1, "precision": "fp32"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**values, **training}.items()]
    file = output / f"{name}.toml"
    file.write_text(
        f'model = "sd3.5_large_fp8_scaled.safetensors"\ndataset = "flat"\nlora = "{name}"\noutput = "."\n'
        f'models = "{os.environ["SWD_TINY_MODELS"]}"\nscales = [2, 3, 4]\ntimesteps = [1.0, 0.8, 0.6]\n'
        f"start_over = {json.dumps(over)}\n"
        "[training]\n" + "\n".join(lines),
        encoding="utf-8",
    )
    python = [os.environ["SWD_SERVER_PYTHON"], "-m"]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launch = ["accelerate.commands.launch", "--cpu", "--num_processes", processes, "--num_machines", 1]
        python += [*map(str, launch), "--mixed_precision", "no", "--main_process_port", str(port), "-m"]
    done = subprocess.run(
        [*python, "swd_dev.distill", str(file), "--comfyui", str(comfyui), "--cpu"],
        env={**os.environ, "PYTHONPATH": str(pack / "devtools"), "ACCELERATE_USE_CPU": "true"},
        cwd=output,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_processes_give_the_loss_curve_of_one(pack: Path, comfyui: Path, output: Path) -> None:
    printed = run(pack, comfyui, output, "one", 1)
    assert printed.count("step 3 of 3") == 1 and "adapter_model.safetensors" in printed
    # All processes start over, though only one of them removes the old run.
    shutil.copytree(output / "swd/training/one", output / "swd/training/two")
    printed = run(pack, comfyui, output, "two", 2, over=True)
    assert printed.count("step 3 of 3") == 1, "only one process may report"
    histories = [json.loads((output / f"swd/training/{name}/losses.json").read_text()) for name in ("one", "two")]
    assert len(histories[0]) == 3
    for alone, shared in zip(*histories, strict=True):
        assert shared == {name: pytest.approx(value, rel=2e-3, abs=1e-6) for name, value in alone.items()}
    loras = [load_file(output / f"loras/{name}/adapter_model.safetensors") for name in ("one", "two")]
    for key, value in loras[0].items():
        # AdamW turns the rounding of a gradient near 0 into a whole step.
        assert (loras[1][key] - value).abs().mean() < 0.05 * value.abs().mean() + 1e-4, key
