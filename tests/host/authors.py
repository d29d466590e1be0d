"""The authors' own code, read from a clone of github.com/yandex-research/swd, which SWD_AUTHORS names.

Written for @9c51e19 of March 2026.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

Texts = Mapping[str, Tensor]

CLONE = os.environ.get("SWD_AUTHORS", "")
needed = pytest.mark.skipif(not CLONE, reason="needs a clone of github.com/yandex-research/swd, named by SWD_AUTHORS")


def load(file: str) -> ModuleType:
    """A file of the clone as a module."""
    path = Path(CLONE, file)
    spec = importlib.util.spec_from_file_location(f"authors_{path.stem}", path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(model_name: str, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """The options of a published training run: those of its script, and the defaults for all others."""
    script = Path(CLONE, f"train_sd35_{model_name}.sh").read_text(encoding="utf-8")
    words = shlex.split(script.partition("main.py")[2].replace("\\\n", " "))
    # It asks for packages that are of no use for reading options.
    train = ModuleType("train")
    train.train = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "train", train)
    found: Namespace = load("main.py").parse_args(words)
    return found


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The one of SD3.5 with the shift that they train with."""
    return FlowMatchEulerDiscreteScheduler(shift=3.0)


def solver(scales: Sequence[int], boundaries: Sequence[int], noise_scheduler: Any) -> Any:
    """Their sampler, which also knows the scale of each step."""
    solve = load("src/flow_matching_sampler.py").FlowMatchingSolver
    return solve(noise_scheduler, 28, len(scales), list(scales), list(boundaries))


class Training:
    """Their losses for a student and a fake-score network of PEFT's, without an update of either."""

    def __init__(self, options: Namespace, student: nn.Module, fake: nn.Module, scales: Sequence[int]) -> None:
        code = load("src/transformer_with_discriminator.py")
        fake.forward = MethodType(code.forward_with_feature_extraction, fake)
        self.student = student
        # What accelerate wraps it in has it as `module`; without a GPU this does nothing else.
        self.fake = nn.DataParallel(code.TransformerCls(options, fake))
        self.head = list(self.fake.module.cls_pred_branch.parameters())
        self.losses = load("src/losses.py")
        self.options = options
        self.scheduler = scheduler()
        self.solver = solver(scales, options.boundaries, self.scheduler)

    def fake_loss(self, stage: int, latents: tuple[Tensor, Tensor], text: Texts) -> float:
        """What trains the fake-score network and the head. `latents`: of this stage and of the one before."""
        loss: Tensor = self.losses.fake_diffusion_loss(**self._given(stage, latents, text, self.fake))
        return loss.item()

    def student_loss(self, stage: int, latents: tuple[Tensor, Tensor], text: Texts, empty: Texts) -> float:
        """What trains the student. `empty`: the empty prompt, without a batch axis."""
        size = len(latents[0])
        total: Tensor = self.losses.generator_loss(
            **self._given(stage, latents, text, self.student),
            transformer_teacher=self.student,
            uncond_prompt_embeds=empty["cross_attn"].expand(size, -1, -1),
            uncond_pooled_prompt_embeds=empty["pooled_output"].expand(size, -1),
        )[0]
        return total.item()

    def _given(self, stage: int, latents: tuple[Tensor, Tensor], text: Texts, trained: nn.Module) -> dict[str, Any]:
        target, before = latents
        start = torch.tensor([self.options.boundaries[stage]] * len(target))
        return {
            "transformer": self.student,
            "transformer_fake": self.fake,
            "prompt_embeds": text["cross_attn"],
            "pooled_prompt_embeds": text["pooled_output"],
            "model_input": target,
            "model_input_down": before,
            "timesteps_start": self.scheduler.timesteps[start],
            "idx_start": start,
            "optimizer": torch.optim.SGD(trained.parameters(), lr=0),
            "params_to_optimize": [],
            "weight_dtype": torch.float32,
            "noise_scheduler": self.scheduler,
            "fm_solver": self.solver,
            "accelerator": Accelerator(cpu=True),
            "args": self.options,
        }
