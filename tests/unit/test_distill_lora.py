"""The adapters of the distillation: what they do to a model, what they are called, and their file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer as PeftLayer
from small_network import make_network, make_trainer
from swd_pack.swd_core.distill.lora import Adapters
from swd_pack.swd_core.distill.network import STUDENT
from swd_pack.swd_core.distill.peft_file import LoraInfo, write_peft_folder
from swd_pack.swd_core.distill.targets import Target, choose_targets, linear_targets
from swd_pack.swd_core.errors import InputError
from swd_pack.swd_core.lora.file import read_lora
from swd_pack.swd_core.lora.metadata import TrainedSchedule, trained_schedule
from torch import nn


def test_a_lora_without_training_changes_nothing_and_leaves_nothing() -> None:
    model, network = make_network()
    x, t, condition = torch.randn(2, 4, 3, 3), torch.tensor([0.5, 0.7]), {"text": torch.randn(2, 6)}
    before, keys = model(x, t, condition), list(model.state_dict())
    network.adapters.add(STUDENT, torch.Generator().manual_seed(0))
    with network.installed():
        assert torch.equal(model(x, t, condition), before)
        with network.adapters.use(STUDENT):
            assert torch.equal(model(x, t, condition), before)
            network.adapters.layer(STUDENT, "blocks.0.to_q").B.data.fill_(0.1)
            assert not torch.equal(model(x, t, condition), before)
        assert torch.equal(model(x, t, condition), before)
    with network.adapters.use(STUDENT):
        assert torch.equal(model(x, t, condition), before)
    assert list(model.state_dict()) == keys and not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("first", [0, 3])
def test_a_slice_of_a_fused_layer_gets_exactly_its_rows(first: int) -> None:
    fused = nn.Sequential(nn.Linear(5, 14, bias=False))
    targets = [Target("k", "0", (first, 2)), Target("turned", "0", (first + 2, 3), lambda rows: rows.flip(0))]
    adapters = Adapters(fused, targets, rank=2, alpha=6)
    adapters.add("one", torch.Generator().manual_seed(0))
    weight = fused[0].weight.detach().clone()
    for target in targets:
        layer = adapters.layer("one", target.name)
        layer.B.data.normal_(generator=torch.Generator().manual_seed(1))
        delta = 3 * layer.B.detach() @ layer.A.detach()
        start, length = target.rows
        weight[start : start + length] += delta.flip(0) if target.reorder else delta
    x = torch.randn(4, 5)
    with adapters.installed(), adapters.use("one"):
        assert torch.allclose(fused(x), x @ weight.T, atol=1e-6)


def test_the_start_is_that_of_peft() -> None:
    model = nn.Sequential(nn.Linear(400, 300))
    peft = get_peft_model(
        nn.Sequential(nn.Linear(400, 300)),
        LoraConfig(r=64, lora_alpha=32, init_lora_weights="gaussian", target_modules=["0"]),
    )
    layer = next(module for module in peft.modules() if isinstance(module, PeftLayer))
    adapters = Adapters(model, linear_targets(model), rank=64, alpha=32)
    adapters.add("one", torch.Generator().manual_seed(0))
    ours = adapters.layer("one", "0")
    assert ours.scale == layer.scaling["default"] == 0.5
    assert ours.A.std().item() == pytest.approx(layer.lora_A["default"].weight.std().item(), rel=0.03)
    assert not ours.B.any() and ours.B.shape == layer.lora_B["default"].weight.shape


def test_names_match_as_in_peft() -> None:
    names = ["a.to_q", "a.to_q.b", "to_q", "a.xto_q", "a.net.2", "a.net.20"]
    chosen = choose_targets([Target(name, name) for name in names], ["to_q", "net.2"])
    assert [target.name for target in chosen] == ["a.to_q", "to_q", "a.net.2"]
    with pytest.raises(InputError, match="no layer is called to_x"):
        choose_targets(chosen, ["to_q", "to_x"])
    with pytest.raises(InputError, match="is not a linear layer"):
        Adapters(nn.Sequential(nn.LayerNorm(3)), [Target("0", "0")], 2)


def test_the_file_carries_its_scale_and_schedule(tmp_path: Path) -> None:
    network = make_network()[1]
    trainer = make_trainer(network, dmd=False, gan=False, alpha=6.0)
    with network.installed():
        trainer.train_step()
    info = LoraInfo(3, 6.0, ["to_q", "to_out"], (2, 3, 4), (1.0, 0.8, 0.6))
    path = write_peft_folder(tmp_path / "one", trainer.student_weights(), info, torch.float16)
    lora = read_lora(path, "one")
    assert trained_schedule(lora.metadata) == TrainedSchedule((2, 3, 4), (1.0, 0.8, 0.6))
    assert lora.config is not None and LoraConfig(**lora.config).lora_alpha == 6
    assert len(lora.tensors) == 8 and {value.dtype for value in lora.tensors.values()} == {torch.float16}
