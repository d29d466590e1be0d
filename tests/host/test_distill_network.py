"""ComfyUI's models as networks that can be distilled: their gradients, their weights, their memory."""

from __future__ import annotations

import math
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from bench.architectures import ARCHITECTURES
from bench.models import build
from distilling import FLOW_TIMESTEPS, SIDES, TIMESTEPS, FlatData, condition_of, constants_of, grid_of, settings_for
from peft import LoraConfig, get_peft_model
from reference import CHANNELS, make_text, predict
from running import relative_error
from swd_dev.tiny.loading import load_model
from swd_dev.tiny.models import make_model
from swd_pack.swd_core.distill.network import STUDENT, TEACHER, Network
from swd_pack.swd_core.distill.targets import ATTENTION_AND_MLP, FLUX_LAYERS
from swd_pack.swd_core.distill.trainer import Trainer
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.host.distill.architecture import read_architecture
from swd_pack.swd_core.host.distill.gradients import float32_mode, training_mode
from swd_pack.swd_core.host.distill.network import build_network
from torch import Tensor
from waits import Waits

FAMILIES = tuple(SIDES)
RANK = 4
# Every kind of layer that a table of names may fuse, slice or turn around.
WIDE = {
    "sd35_medium": (*ATTENTION_AND_MLP, "add_q_proj", "add_v_proj", "to_add_out", "norm1_context.linear", "proj_out"),
    "sd35_large": (*ATTENTION_AND_MLP, "add_k_proj", "norm_out.linear", "context_embedder"),
    "flux": (*FLUX_LAYERS, "add_k_proj", "norm.linear", "x_embedder"),
    "sdxl": (*ATTENTION_AND_MLP, "proj_in", "time_emb_proj"),
}


def ready(load: Any, family: str, **values: Any) -> tuple[Any, Network]:
    model = load(family)
    comfy.model_management.load_models_gpu([model])
    settings = settings_for(rank=RANK, precision="fp32", **values)
    return model, build_network(model, settings, constants_of(family))


def trainer_of(network: Network, family: str, stages: int = 3, **values: Any) -> Trainer:
    settings = settings_for(rank=RANK, precision="fp32", **values)
    timesteps = TIMESTEPS.get(family, FLOW_TIMESTEPS)[-stages:]
    return Trainer(network, FlatData(family), timesteps, grid_of(family), settings)


def fill(network: Network, role: str = STUDENT) -> dict[str, tuple[Tensor, Tensor]]:
    """Give a LoRA weights that count, others for each role, and return them."""
    network.adapters.add(role, torch.Generator().manual_seed(3 + len(role)))
    generator = torch.Generator().manual_seed(4 + len(role))
    weights = {}
    for target in network.adapters.targets:
        layer = network.adapters.layer(role, target.name)
        layer.B.data.copy_(torch.randn(layer.B.shape, generator=generator) * 0.05)
        weights[target.name] = (layer.A.data, layer.B.data)
    return weights


def peft_twin(family: str, weights: dict[str, tuple[Tensor, Tensor]], targets: tuple[str, ...]) -> torch.nn.Module:
    """The diffusers model with the same LoRA under PEFT."""
    model = get_peft_model(make_model(family), LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(targets)))
    named = dict(model.named_parameters())
    adapted = {name for name in named if ".lora_A." in name}
    assert len(adapted) == len(weights)
    for name, pair in weights.items():
        for half, values in zip("AB", pair, strict=True):
            named[f"base_model.model.{name}.lora_{half}.default.weight"].data.copy_(values)
    return model


# FLUX twice: its blocks write into their inputs, which is wrong in one way with checkpointing and in another without.
@pytest.mark.parametrize(
    ("family", "checkpointing"),
    [("sd35_medium", False), ("sd35_large", True), ("flux", False), ("flux", True), ("sdxl", True)],
)
def test_output_and_gradients_are_those_of_peft_on_the_diffusers_model(load, family: str, checkpointing: bool) -> None:
    model, network = ready(load, family, targets=WIDE[family], gradient_checkpointing=checkpointing)
    twin = peft_twin(family, fill(network), WIDE[family])
    side, t = SIDES[family][-1], 0.6
    generator = torch.Generator().manual_seed(5)
    clean, noise, mask = (torch.randn(2, CHANNELS[family], side, side, generator=generator) for _ in range(3))
    timesteps = [t, t]
    one = condition_of(family, 0)
    with training_mode(model.model.diffusion_model), network.installed():
        noisy = network.denoiser.add_noise(clean, noise, timesteps)
        ours = network.clean(STUDENT, noisy, timesteps, {name: torch.stack([v, v]) for name, v in one.items()})
        (ours * mask).sum().backward()
    # ComfyUI's latents of SDXL are those of DDPM times sqrt(1 + sigma^2).
    scale = math.sqrt(1 + float(network.denoiser.sigmas(timesteps, clean)[0]) ** 2) if family == "sdxl" else 1.0
    theirs = predict(family, twin, t, noisy / scale, (96, 96), make_text(family, 0))
    (theirs * mask).sum().backward()
    assert relative_error(ours.detach(), theirs.detach()) < 2e-5
    named = dict(twin.named_parameters())
    for target in network.adapters.targets:
        layer = network.adapters.layer(STUDENT, target.name)
        for half, parameter in (("A", layer.A), ("B", layer.B)):
            expected = named[f"base_model.model.{target.name}.lora_{half}.default.weight"].grad
            # The context of the last block ends there: its queries get no gradient at all.
            error = (parameter.grad - expected).norm()
            assert error <= 2e-3 * expected.norm(), (target.name, half)


def forwards_of(model: torch.nn.Module) -> dict[str, Any]:
    """The methods that stand in for a module's own; a LoRA in ComfyUI's bypass mode leaves some."""
    return {name: vars(module)["forward"] for name, module in model.named_modules() if "forward" in vars(module)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_falls_only_the_lora_learns_and_the_teacher_stays_the_same(load, family: str) -> None:
    model, network = ready(load, family)
    teacher = model.model.diffusion_model
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    replaced = forwards_of(teacher)
    probe = torch.randn(1, CHANNELS[family], 8, 8, generator=torch.Generator().manual_seed(1))
    condition = {name: value[None] for name, value in condition_of(family, 0).items()}
    timesteps = [0.6]

    def teacher_output() -> Tensor:
        with torch.no_grad():
            return network.clean(TEACHER, probe, timesteps, condition)

    expected = teacher_output()
    trainer = trainer_of(network, family, stages=1, dmd=False, gan=False, learning_rate=1e-2)
    start = [parameter.clone() for parameter in network.adapters.parameters(STUDENT)]
    # As older versions of ComfyUI leave them.
    teacher.requires_grad_(True)
    with training_mode(teacher), network.installed():
        losses = [trainer.train_step()["mmd"] for _ in range(10)]
        assert torch.equal(teacher_output(), expected)
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    teacher.requires_grad_(False)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    changed = [not torch.equal(a, b) for a, b in zip(start, network.adapters.parameters(STUDENT), strict=True)]
    assert all(changed)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    after = teacher.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(teacher_output(), expected)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in teacher.modules())
    assert forwards_of(teacher) == replaced


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_waits_for_the_device_once(load, pack: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    model, network = ready(load, family)
    trainer = trainer_of(network, family, micro_batch=1)
    # The noise level of a timestep is looked up once a run.
    network.denoiser.sigmas([*grid_of(family).timesteps, *TIMESTEPS.get(family, FLOW_TIMESTEPS)], torch.ones(1))
    # Whatever the device, the optimiser counts its steps on the CPU, and random numbers are drawn there.
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda optimizer: None)
    with training_mode(model.model.diffusion_model), network.installed(), Waits() as waits:
        trainer.train_step()
    own, draws = pack / "swd_core", pack / "swd_core" / "distill" / "draws.py"
    asked = [name for _, file, name in waits.reads if Path(file).is_relative_to(own) and Path(file) != draws]
    assert asked == ["train_step"]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_that_the_model_is_told_is_fetched_from_the_device(load, monkeypatch, family: str) -> None:
    """Nothing can be copied from torch's meta device, so a pass that tries ends in an error."""
    model, network = ready(load, family)
    told: dict[str, Any] = {}
    monkeypatch.setattr(model.model, "apply_model", lambda noisy, sigma, **given: told.update(given) or noisy)
    noisy = torch.zeros(2, CHANNELS[family], 8, 8, device="meta")
    condition = {name: torch.stack([value, value]).to("meta") for name, value in condition_of(family, 0).items()}
    network.denoiser.clean(noisy, [0.8, 0.6], condition)
    assert len(told["y"]) == len(told["c_crossattn"]) == 2


def test_all_three_losses_train_both_networks(load) -> None:
    family = "sd35_medium"
    model, network = ready(load, family)
    trainer = trainer_of(network, family, batch_size=2, fake_steps=1)
    with training_mode(model.model.diffusion_model), network.installed():
        losses = trainer.train_step()
    assert set(losses) >= {"mmd", "dmd", "gan", "fake score", "discriminator"}
    assert all(math.isfinite(value) for value in losses.values())
    for role in ("student", "fake"):
        assert all(parameter.any() for parameter in network.adapters.parameters(role))


def saved_bytes(network: Network, model: Any, family: str) -> int:
    """Bytes that autograd keeps for the backward pass of one forward pass of the student."""
    network.adapters.add(STUDENT, torch.Generator().manual_seed(3))
    noisy = torch.randn(2, CHANNELS[family], 24, 24, generator=torch.Generator().manual_seed(1))
    condition = {name: torch.stack([value, value]) for name, value in condition_of(family, 0).items()}
    own = {parameter.data_ptr() for parameter in model.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with training_mode(model.model.diffusion_model), network.installed(), ExitStack() as stack:
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        output = network.clean(STUDENT, noisy, [0.6, 0.6], condition)
    assert output.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_keeps_a_fraction_of_the_activations(load, family: str, figure) -> None:
    plain, checkpointed = (
        saved_bytes(*reversed(ready(load, family, gradient_checkpointing=on)), family) for on in (False, True)
    )
    figure(f"activations kept with checkpointing, {family}", checkpointed / plain, 0.5)
    assert checkpointed < 0.5 * plain


def test_weights_that_were_loaded_in_inference_mode_can_be_trained_on(tiny_models) -> None:
    # The nodes of ComfyUI run in inference mode, loaders included.
    with torch.inference_mode():
        model, network = ready(lambda family: load_model(family, tiny_models), "sd35_large")
        assert any(parameter.is_inference() for parameter in model.model.diffusion_model.parameters())
        values = {name: value.clone() for name, value in model.model.state_dict().items()}
        with training_mode(model.model.diffusion_model), network.installed():
            trainer = trainer_of(network, "sd35_large", dmd=False, gan=False)
            assert math.isfinite(trainer.train_step()["mmd"])
            assert trainer.history[0]["gradient norm"] > 0
    after = model.model.state_dict()
    assert all(torch.equal(after[name].clone(), value.clone()) for name, value in values.items())


def test_other_models_and_blocks_are_refused(load) -> None:
    from swd_dev.tiny.families import load_family

    # Chroma and FLUX.2 have FLUX's blocks, SD1.5 those of SDXL.
    for family in ("auraflow", "chroma", "flux2", "sd15"):
        with pytest.raises(InputError, match="cannot train a LoRA"):
            read_architecture(load_family(family).model)
    with pytest.raises(InputError, match="0 to 2"):
        read_architecture(load("sd35_large").model, 3)
    with pytest.raises(InputError, match="no layer is called to_z"):
        ready(load, "flux", targets=("to_q", "to_z"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_fp32_is_float32_whatever_the_weights_have(family: str, dtype: torch.dtype) -> None:
    """A model computes in the type of its weights, which on a GPU are of half precision (here they are by choice)."""
    architecture = ARCHITECTURES["middle"][family]
    half, whole = (build(architecture, torch.device("cpu"), kind) for kind in (dtype, torch.float32))
    whole.model.diffusion_model.load_state_dict(half.model.diffusion_model.state_dict())
    tokens, width, pooled = architecture.text
    generator = torch.Generator().manual_seed(1)
    text = {
        "cross_attn": torch.randn(1, tokens, width, generator=generator),
        "pooled_output": torch.randn(1, pooled, generator=generator),
    }
    noisy = torch.randn(1, architecture.channels, 8, 8, generator=generator)

    def clean(model: Any, exact: bool) -> Tensor:
        comfy.model_management.load_models_gpu([model])
        network = build_network(model, settings_for(rank=RANK, precision="fp32"), constants_of(family))
        with training_mode(model.model.diffusion_model), float32_mode(model.model) if exact else nullcontext():
            return network.denoiser.clean(noisy, [0.8], text).detach()

    expected, before = clean(whole, False), clean(half, False)
    assert relative_error(clean(half, True), expected) < 1e-5
    assert relative_error(before, expected) > 1e-4
    assert torch.equal(clean(half, False), before), "all is put back"
