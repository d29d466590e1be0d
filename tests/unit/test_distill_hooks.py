"""What training hangs into a model, and takes off again."""

from __future__ import annotations

from typing import NoReturn

import pytest
import torch
from small_network import TinyModel, make_network
from swd_pack.swd_core.distill.features import FeatureTap
from swd_pack.swd_core.distill.network import STUDENT
from torch import Tensor


def forward(model: TinyModel) -> Tensor:
    return model(torch.ones(1, 4, 2, 2), torch.ones(1), {"text": torch.ones(1, 6)})


def test_blocks_get_their_own_forward_back() -> None:
    model, network = make_network(checkpointing=True)
    # As a LoRA in ComfyUI's bypass mode leaves one.
    bypass = model.blocks[1].forward = model.blocks[1].forward
    with network.installed():
        assert all(vars(block)["forward"] is not bypass for block in model.blocks)
    assert "forward" not in vars(model.blocks[0]) and vars(model.blocks[1])["forward"] is bypass


@pytest.mark.parametrize(("checkpointing", "passes"), [(False, 1), (True, 2)])
def test_a_checkpointed_block_runs_again_in_the_backward_pass_alone(checkpointing: bool, passes: int) -> None:
    model, network = make_network(checkpointing=checkpointing)
    network.adapters.add(STUDENT, torch.Generator().manual_seed(0))
    ran: list[int] = []
    model.blocks[1].to_q.register_forward_hook(lambda *given: ran.append(1))
    with network.installed(), network.adapters.use(STUDENT):
        with torch.no_grad():
            forward(model)
        assert len(ran) == 1
        forward(model).sum().backward()
    assert len(ran) == 1 + passes


def test_a_block_is_looked_into_only_when_asked() -> None:
    def refuse(output: object) -> NoReturn:
        raise AssertionError("looked into")

    model = TinyModel()
    tap = FeatureTap(model.blocks[0], refuse)
    with tap.installed():
        forward(model)
        with pytest.raises(AssertionError, match="looked into"):
            tap.features(lambda: forward(model))
        forward(model)


def test_what_comes_after_the_block_is_not_run_for_its_features() -> None:
    model = TinyModel()
    tap = FeatureTap(model.blocks[0], lambda output: output)
    ran: list[int] = []
    model.blocks[1].register_forward_hook(lambda *given: ran.append(1))
    with tap.installed():
        features = tap.features(lambda: forward(model))
        assert not ran
        output, same = tap.output_and_features(lambda: forward(model))
    assert len(ran) == 1 and torch.equal(features, same) and output.shape == (1, 4, 2, 2)


def test_a_block_that_does_not_run_is_no_silent_nothing() -> None:
    model = TinyModel()
    tap = FeatureTap(model.blocks[0], lambda output: output)
    with tap.installed():
        tap.features(lambda: forward(model))
        with pytest.raises(RuntimeError, match="the block did not run"):
            tap.features(lambda: None)
