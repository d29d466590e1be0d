"""Sampler, losses and settings beside the authors' own code, where a clone of it is at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import authors
import pytest
import torch
from distilling import condition_of, settings_for
from peft import PeftModel
from reference import CHANNELS, VAE_SCALE, ItemNoise, make_text, sample
from running import relative_error
from swd_dev.tiny.models import make_model
from swd_pack.swd_core.distill.denoiser import Condition
from swd_pack.swd_core.distill.draws import Draws, Purpose
from swd_pack.swd_core.distill.gan import Discriminator
from swd_pack.swd_core.distill.grid import SD3_GRID, Range
from swd_pack.swd_core.distill.network import FAKE, STUDENT, Network
from swd_pack.swd_core.distill.objective import Objective
from swd_pack.swd_core.distill.pairs import Pair, StageLatents, make_pair
from swd_pack.swd_core.distill.settings import DistillSettings
from swd_pack.swd_core.distill.targets import ATTENTION_AND_MLP
from swd_pack.swd_core.host.distill.architecture import read_architecture
from swd_pack.swd_core.host.distill.gradients import training_mode
from swd_pack.swd_core.presets import PRESETS
from test_distill_network import fill, peft_twin, ready
from torch import Tensor, nn

pytestmark = authors.needed

FAMILIES = {"sd35_medium": "medium", "sd35_large": "large"}
# Of the latents of the losses; a single token would make their radial kernel 0 / 0.
SIDES = [4, 6, 8, 10]
ITEMS = (11, 12)
SETTINGS = {
    "rank": "lora_rank", "learning_rate": "learning_rate", "fake_learning_rate": "learning_rate_cls",
    "beta1": "adam_beta1", "beta2": "adam_beta2", "weight_decay": "adam_weight_decay", "epsilon": "adam_epsilon",
    "max_grad_norm": "max_grad_norm", "mmd": "do_mmd_loss", "mmd_weight": "mmd_loss_weight",
    "mmd_kernel": "mmd_kernel", "mmd_c": "huber_c", "mmd_sigma": "mmd_rbf_sigma", "dmd": "do_dmd_loss",
    "dmd_weight": "dmd_loss_weight", "fake_cfg": "cfg_fake", "fake_steps": "n_steps_fake_dmd", "gan": "do_gan_loss",
    "gan_weight": "gen_cls_loss_weight", "discriminator_weight": "disc_cls_loss_weight",
    "discriminator_layers": "num_discriminator_layers", "seed": "seed",
    "gradient_checkpointing": "gradient_checkpointing",
}  # fmt: skip


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if "SD3.5" in preset.family], ids=lambda p: p.name)
def test_the_reference_gives_the_latent_of_the_authors_sampler(preset: Any, figure) -> None:
    family = "sd35_medium" if "Medium" in preset.family else "sd35_large"
    model, text = make_model(family).eval(), make_text(family)
    scales = [side // 4 for side in preset.scales]
    solver = authors.solver(scales, [*range(len(scales) + 1)], authors.scheduler())
    sigmas = torch.tensor([*preset.timesteps, 0.0])
    theirs = solver.sampling(
        model,
        torch.zeros(1),
        text.tokens,
        text.pooled,
        None,
        None,
        torch.tensor([0]),
        torch.tensor([len(scales)]),
        cfg_scale=1.0,
        sigmas=sigmas,
        timesteps=1000 * sigmas[:-1],
        generator=torch.Generator().manual_seed(9),
    )
    scale, shift = VAE_SCALE[family]
    ours = sample(family, model, text, scales, preset.timesteps, (32, 32), ItemNoise(9, (0,)))
    error = relative_error(ours, theirs / scale + shift)
    figure("relative error", error, 0)
    assert error == 0


@pytest.mark.parametrize(("family", "name"), FAMILIES.items())
def test_the_settings_are_those_of_the_authors_training(load, family: str, name: str, monkeypatch) -> None:
    theirs, ours = authors.options(name, monkeypatch), DistillSettings()
    for own, other in SETTINGS.items():
        assert getattr(ours, own) == getattr(theirs, other), own
    assert SD3_GRID.boundaries == tuple(theirs.boundaries)
    assert SD3_GRID.mmd == (theirs.mmd_noise_start_idx, theirs.mmd_noise_end_idx)
    assert SD3_GRID.dmd == (theirs.dmd_noise_start_idx, theirs.dmd_noise_end_idx)
    scheduler = authors.scheduler()
    scheduler.set_timesteps(theirs.num_timesteps)
    assert SD3_GRID.timesteps == pytest.approx((scheduler.timesteps / 1000).tolist(), rel=1e-5)
    targets = {target.name for target in read_architecture(load(family).model).targets}
    assert theirs.apply_lora_to_attn_projections and theirs.apply_lora_to_mlp_projections
    endings = ("to_k", "to_q", "to_v", "to_out.0", "net.0.proj", "net.2")
    chosen = {target for target in targets if target.endswith(endings)}
    assert chosen == {target for target in targets if target.endswith(ATTENTION_AND_MLP)}


def gradient_error(network: Network, role: str, theirs: PeftModel) -> float:
    """The largest relative error of a gradient of a LoRA."""
    named = dict(theirs.named_parameters())
    errors = []
    for target in network.adapters.targets:
        layer = network.adapters.layer(role, target.name)
        for half, parameter in (("A", layer.A), ("B", layer.B)):
            expected = named[f"base_model.model.{target.name}.lora_{half}.default.weight"].grad
            if parameter.grad is None or expected is None:
                # Of a layer on which nothing depends, such as what follows the text's part of the last block.
                assert all(grad is None or not grad.any() for grad in (parameter.grad, expected)), target.name
            else:
                errors.append(float(relative_error(parameter.grad, expected)))
    return max(errors)


@dataclass
class Step:
    """What a step of both trainings is given. `latents`: [2, C, h, w] of the stage and of the one before."""

    stage: int
    latents: tuple[Tensor, Tensor]
    condition: dict[str, Tensor]
    empty: Condition
    draws: Draws

    @staticmethod
    def of(family: str, stage: int) -> Step:
        generator = torch.Generator().manual_seed(8)
        target, before = (
            torch.randn(2, CHANNELS[family], side, side, generator=generator)
            for side in (SIDES[stage], SIDES[max(0, stage - 1)])
        )
        texts = [condition_of(family, item) for item in ITEMS]
        condition = {name: torch.stack([text[name] for text in texts]) for name in texts[0]}
        return Step(stage, (target, before), condition, condition_of(family, 99), Draws(42, ITEMS))

    def pair(self, network: Network) -> Pair:
        target, before = self.latents
        latents = StageLatents(target, before if self.stage else None)
        noise = self.draws.noise(Purpose.INPUT, target.shape[1:])
        timesteps = [SD3_GRID.stage_timesteps()[self.stage]] * len(target)
        return make_pair(latents, noise, timesteps, self.condition, network.denoiser)

    @contextmanager
    def drawing(self, ranges: Mapping[Purpose, Range | None]) -> Iterator[None]:
        """Let their code draw what ours does: noise, and noise levels by their place on the grid."""
        shape = self.latents[0].shape[1:]
        noise = [self.draws.noise(purpose, shape) for purpose in (Purpose.INPUT, *ranges)]
        places = [
            torch.tensor([SD3_GRID.timesteps.index(t) for t in self.draws.levels(purpose, SD3_GRID.values(span))])
            for purpose, span in ranges.items()
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn_like", lambda like: noise.pop(0))
            patch.setattr(torch, "randint", lambda first, end, size: places.pop(0))
            yield
        assert not noise and not places


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize(("family", "name"), FAMILIES.items())
def test_losses_and_gradients_are_those_of_the_authors(
    load, family: str, name: str, stage: int, kernel: str, monkeypatch: pytest.MonkeyPatch, figure
) -> None:
    model, network = ready(load, family, gradient_checkpointing=False)
    options = authors.options(name, monkeypatch)
    architecture = read_architecture(model.model)
    block = next(index for index, own in enumerate(architecture.blocks) if own is architecture.features)
    vars(options).update(cls_blocks=[block], mmd_blocks=[block], train_batch_size=2, mmd_kernel=kernel, cfg_fake=2.0)
    student, fake = (peft_twin(family, fill(network, role), ATTENTION_AND_MLP) for role in (STUDENT, FAKE))
    theirs = authors.Training(options, student, fake, SIDES)
    head = Discriminator(student.inner_dim, options.num_discriminator_layers, torch.Generator().manual_seed(5))
    for own, other in zip(head.parameters(), theirs.head, strict=True):
        other.data.copy_(own.data)
    settings = settings_for(mmd_kernel=kernel, teacher_cfg=options.cfg_teacher, fake_cfg=2.0)
    step = Step.of(family, stage)
    ours, pair = Objective(network, SD3_GRID, settings, head, step.empty), step.pair(network)

    def compare(role: str, total: Tensor, expected: float, twin: nn.Module) -> None:
        total.backward()
        for what, error in (
            ("loss", abs(total.item() / expected - 1)),
            ("gradient", gradient_error(network, role, twin)),
        ):
            figure(f"relative error of the {what}, {role}", error, 1e-4)
            assert error <= 1e-4

    with training_mode(model.model.diffusion_model), network.installed():
        with step.drawing({Purpose.FAKE_SAMPLE: None}):
            expected = theirs.fake_loss(stage, step.latents, step.condition)
        compare(FAKE, ours.fake(pair, step.draws)["total"], expected, fake)
        for own, other in zip(head.parameters(), theirs.head, strict=True):
            assert relative_error(own.grad, other.grad) <= 1e-5
        with step.drawing({Purpose.DMD: SD3_GRID.dmd, Purpose.MMD: SD3_GRID.mmd}):
            expected = theirs.student_loss(stage, step.latents, step.condition, step.empty)
        compare(STUDENT, ours.student(pair, step.draws)["total"], expected, student)
