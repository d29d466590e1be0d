"""SwD Compile: a graph a size, made once; the same latent; no patch and no failure is lost silently."""

from __future__ import annotations

import gc
import logging
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import comfy.ldm.modules.attention as attention
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict
from reference import make_text
from running import advanced, conditioning, empty_latent, relative_error
from swd_dev.tiny.loading import load_model
from swd_pack.swd_core.host.compiled import compile_stages
from torch._dynamo.testing import CompileCounter
from torch.torch_version import TorchVersion

# Few stages: torch takes seconds to trace each, and most of a minute for a UNet.
TWO = ("1, 2", "1.0, 0.6")
LORAS = {"sd35_large": "swd-large-4-steps", "flux": "swd_flux", "sdxl": "swd-sdxl"}


@pytest.fixture(autouse=True)
def pytorch_attention(monkeypatch) -> Iterator[None]:
    """ComfyUI's attention for a GPU. Its choice for a CPU asks the system for free memory, which no graph can hold."""
    for module in list(sys.modules.values()):
        if getattr(module, "optimized_attention", None) is attention.attention_sub_quad:
            monkeypatch.setattr(module, "optimized_attention", attention.attention_pytorch)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def counter() -> CompileCounter:
    return CompileCounter()


def run(
    swd: dict[str, Any],
    model: Any,
    family: str,
    preset: Any = TWO,
    size: Any = (16, 16),
    length: int = 12,
    seed: int = 1,
) -> torch.Tensor:
    text = make_text(family, seed, length)
    return advanced(swd, model, conditioning(family, text), empty_latent(family, size), seed, preset)["samples"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "swd"]


@pytest.mark.parametrize("family", LORAS)
def test_one_graph_a_size_and_none_for_another_prompt_seed_lora_or_strength(
    swd, load, counter, figure, family: str
) -> None:
    model = load(family)
    stages = 1 if family == "sdxl" else 2
    preset = ("1", "1.0") if family == "sdxl" else TWO
    plain = run(swd, model, family, preset)
    error = relative_error(run(swd, compile_stages(model, False, counter), family, preset), plain)
    figure("relative error", error, 1e-6)
    assert error <= 1e-6
    assert counter.frame_count == stages, "one graph a stage"
    for strength in (0.7, 1.0):
        name = f"{LORAS[family]}/adapter_model.safetensors"
        loaded = swd["SWDLoraLoader"].execute(model=model, lora_name=name, strength_model=strength).result[0]
        other = run(swd, compile_stages(loaded, False, counter), family, preset, seed=2)
        assert relative_error(other, run(swd, loaded, family, preset, seed=2)) <= 1e-6
    assert counter.frame_count == stages


def test_more_sizes_than_torch_allows_recompilations(swd, load, counter) -> None:
    """Each size is a function of its own to torch, which gives up on one after eight; here after two."""
    compiled = compile_stages(load("sd35_large"), False, counter)
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(2):
            run(swd, compiled, "sd35_large", "SD3.5 Large, 4 steps")
            assert counter.frame_count == 4


def test_a_longer_prompt_gets_graphs_of_its_own(swd, load, counter) -> None:
    compiled = compile_stages(load("sd35_large"), False, counter)
    for length, graphs in ((12, 2), (20, 4), (12, 4)):
        run(swd, compiled, "sd35_large", length=length)
        assert counter.frame_count == graphs


def halved(model: Any) -> Any:
    """A clone whose second block is another one."""

    def halve(given: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        return {"img": given["img"] * 0.5, "txt": given["txt"]}

    clone = model.clone()
    clone.set_model_patch_replace(halve, "dit", "double_block", 1)
    return clone


def test_a_patch_that_comes_later_counts(swd, load, counter, caplog) -> None:
    """A graph that was made before would go on without it, as that of ComfyUI's own node does: see below."""
    model = load("sd35_large")
    plain = run(swd, compile_stages(model, False, counter), "sd35_large")
    expected = run(swd, halved(model), "sd35_large")
    with caplog.at_level(logging.WARNING, logger="swd"):
        actual = run(swd, compile_stages(halved(model), False, counter), "sd35_large")
    assert relative_error(plain, expected) > 0.01
    assert torch.equal(actual, expected)
    assert warnings(caplog) == ["SwD: the model is not compiled while it is patched (patches_replace)"]


def test_what_comfyuis_own_node_does_with_such_a_patch(swd, load, counter) -> None:
    """The reason why there is a node of our own. Should this fail, ComfyUI has mended it."""

    def compiled(model: Any) -> Any:
        clone = model.clone()
        options = {"guard_filter_fn": skip_torch_compile_dict}
        set_torch_compile_wrapper(model=clone, backend=counter, options=options)
        return clone

    model = load("sd35_large")
    plain = run(swd, compiled(model), "sd35_large")
    assert torch.equal(run(swd, compiled(halved(model)), "sd35_large"), plain), "the patch is lost without a word"


def test_where_compiling_fails_the_model_runs_as_it_is_and_one_line_says_so(swd, load, caplog) -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    model = load("sd35_large")
    compiled = compile_stages(model, False, no_compiler)
    with caplog.at_level(logging.WARNING, logger="swd"):
        first, second = (run(swd, compiled, "sd35_large") for _ in range(2))
    assert torch.equal(first, run(swd, model, "sd35_large"))
    assert torch.equal(second, first)
    (line,) = warnings(caplog)
    assert line.startswith("SwD: torch.compile does not work here, so the model runs as it is: RuntimeError: Failed to")


def test_an_option_that_torch_refuses_is_such_a_failure_too(swd, load, caplog) -> None:
    model = load("sd35_large")
    with caplog.at_level(logging.WARNING, logger="swd"):
        latent = run(swd, compile_stages(model, False, "no such backend"), "sd35_large")
    assert torch.equal(latent, run(swd, model, "sd35_large"))
    (line,) = warnings(caplog)
    assert "no such backend" in line


def test_an_error_of_the_model_is_not_taken_for_one_of_the_compiler(swd, load, counter) -> None:
    compiled = compile_stages(load("sd35_large"), False, counter)
    narrow = conditioning("sd35_large", make_text("sd35_large"))
    narrow[0][0] = narrow[0][0][..., :100]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        advanced(swd, compiled, narrow, empty_latent("sd35_large", (16, 16)), 1, TWO)
    before = counter.frame_count
    run(swd, compiled, "sd35_large")
    assert counter.frame_count == before + 2, "it still compiles"


def test_graphs_go_with_their_model(swd, tiny_models, counter) -> None:
    model = load_model("sd35_large", tiny_models)
    run(swd, compile_stages(model, False, counter), "sd35_large")
    gone = weakref.ref(model.model.diffusion_model)
    del model
    torch._dynamo.reset()
    gc.collect()
    assert gone() is None


def test_the_node_compiles_a_clone_and_leaves_the_model_alone(swd, load) -> None:
    model = load("sd35_large")
    compiled = swd["SWDCompile"].execute(model=model, cuda_graphs=False).result[0]
    assert compiled is not model
    assert not model.wrappers.get("apply_model"), "the model that came in is as it was"
    assert list(compiled.wrappers["apply_model"]) == ["swd_compile"]


@pytest.mark.parametrize(
    "version, complaint, reason",
    [
        ("2.7.1", "", "this is torch 2.7.1, and SwD Compile needs 2.8 or newer"),
        (torch.__version__, "no such option, " + "known are these, " * 99, "RuntimeError: no such option, "),
    ],
)
def test_why_compiling_fails_is_one_short_line(swd, load, caplog, monkeypatch, version, complaint, reason) -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError(complaint)

    model = load("sd35_large")
    plain = run(swd, model, "sd35_large")
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    with caplog.at_level(logging.WARNING, logger="swd"):
        assert torch.equal(run(swd, compile_stages(model, False, no_compiler), "sd35_large"), plain)
    (line,) = warnings(caplog)
    assert line.removeprefix("SwD: torch.compile does not work here, so the model runs as it is: ").startswith(reason)
    assert len(line) < 400
