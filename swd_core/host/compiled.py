"""torch.compile for a model whose latent grows: one graph for each size."""

from __future__ import annotations

import itertools
import logging
import time
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn
from torch import compile as torch_compile

from .compat import call_known

logger = logging.getLogger("swd")

KEY = "swd_compile"
# ComfyUI's own compile node; two compilations of one model would run inside each other.
_COMFYUI_KEY = "torch.compile"
# Graphs that a model keeps. The six sizes of a preset, for a few aspect ratios, batches and lengths of prompt.
_GRAPHS = 32
# Up to this many latent pixels a forward pass is so short that a GPU waits for Python to launch its kernels.
_SMALL = 64 * 64
# Characters of a reason that the log shows: some of torch's list every option there is.
_LONGEST = 300
# What may stand in transformer_options without changing what the model computes; all else is a patch.
_NO_PATCHES = {"sigmas", "sample_sigmas", "cond_or_uncond", "uuids", "prefetch_dynamic_vbars", "wrappers", "callbacks"}

# The first that lets its caller choose the guards of a graph. torch compares its version as one, not as text.
_OLDEST_TORCH = "2.8"

_NUMBERS = itertools.count()

# Graphs by model, so that another LoRA, strength or prompt finds them again: the clones of a MODEL share its modules.
_MODELS: WeakKeyDictionary[nn.Module, dict[tuple[Any, bool], Graphs]] = WeakKeyDictionary()
# For a model with dynamic memory the one without that stands in for it.
_PLAIN: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def compile_stages(model: Any, cuda_graphs: bool, backend: Any = "inductor") -> Any:
    """A clone of a ModelPatcher whose forward passes are compiled, each size when it is first met.

    `cuda_graphs`: record small sizes as CUDA graphs. `backend`: of torch.compile, a name or a function.
    """
    clone = _plain_clone(model)
    clone.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, _COMFYUI_KEY)
    clone.remove_wrappers_with_key(WrappersMP.APPLY_MODEL, KEY)

    def apply(executor: Any, *arguments: Any, **named: Any) -> Any:
        base_model = executor.class_obj
        with _replaced(base_model, _graphs_of(base_model.diffusion_model, backend, cuda_graphs)):
            return executor(*arguments, **named)

    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, apply)
    return clone


def _plain_clone(model: Any) -> Any:
    """A clone without dynamic memory, whose weights torch can look at."""
    if not getattr(model, "is_dynamic", bool)():
        return model.clone()
    # Unless told which model to take, ComfyUI reads one more from the file each time, for which no graph was made.
    clone = call_known(model.clone, disable_dynamic=True, model_override=_PLAIN.get(model.model))
    if hasattr(clone, "get_clone_model_override"):
        _PLAIN[model.model] = clone.get_clone_model_override()
    return clone


def _graphs_of(diffusion_model: nn.Module, backend: Any, cuda_graphs: bool) -> Graphs:
    # As ComfyUI does from 0.30 on. Before, weights want gradients until a LoRA changes them, and torch compiles anew.
    diffusion_model.requires_grad_(False)
    known = _MODELS.setdefault(diffusion_model, {})
    return known.setdefault((backend, cuda_graphs), Graphs(backend, cuda_graphs))


@contextmanager
def _replaced(base_model: Any, graphs: Graphs) -> Iterator[None]:
    diffusion_model = base_model.diffusion_model
    base_model.diffusion_model = _Compiled(diffusion_model, graphs)
    try:
        yield
    finally:
        base_model.diffusion_model = diffusion_model


class _Compiled(nn.Module):
    """Stands in for a diffusion model while it is called."""

    def __init__(self, diffusion_model: nn.Module, graphs: Graphs) -> None:
        super().__init__()
        # In a tuple, so that it does not become a child whose weights would be listed twice.
        self._own = (diffusion_model, graphs)

    def forward(self, *arguments: Any, **named: Any) -> Any:
        diffusion_model, graphs = self._own
        return graphs.run(diffusion_model, arguments, named)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._own[0], name)


class _CannotCompile(Exception):
    """torch.compile refuses before it sees the model: an option, this Python or this system."""


class Graphs:
    """The compiled graphs of one model, the most recently used last."""

    def __init__(self, backend: Any, cuda_graphs: bool) -> None:
        self.backend = backend
        self.cuda_graphs = cuda_graphs
        self.by_shapes: OrderedDict[tuple[Any, ...], Callable[..., Any]] = OrderedDict()
        self.broken = False
        self.told: set[str] = set()

    def run(self, diffusion_model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """One forward pass, compiled if that works, else as it is."""
        patches = _patches(named.get("transformer_options", {}))
        if patches:
            self._tell(f"the model is not compiled while it is patched ({', '.join(patches)})")
        if patches or self.broken:
            return diffusion_model(*arguments, **named)
        shapes = _shapes(arguments, named)
        if shapes in self.by_shapes:
            return self._call(shapes, diffusion_model, arguments, named)
        try:
            return self._first_call(shapes, diffusion_model, arguments, named)
        except _compile_errors(self._is_recorded(arguments[0])) as error:
            # Where the model itself is at fault, this says so.
            result = diffusion_model(*arguments, **named)
            self.broken = True
            self._tell(f"torch.compile does not work here, so the model runs as it is: {_reason(error)}")
            return result

    def _first_call(
        self, shapes: tuple[Any, ...], diffusion_model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        start = time.perf_counter()
        self.by_shapes[shapes] = _compile(self.backend, self._is_recorded(arguments[0]))
        if len(self.by_shapes) > _GRAPHS:
            self.by_shapes.popitem(last=False)
        try:
            result = self._call(shapes, diffusion_model, arguments, named)
        except BaseException:
            del self.by_shapes[shapes]
            raise
        height, width = arguments[0].shape[-2:]
        logger.info("SwD: compiled the model for %s x %s in %.0f s", width, height, time.perf_counter() - start)
        return result

    def _call(
        self, shapes: tuple[Any, ...], diffusion_model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        self.by_shapes.move_to_end(shapes)
        if not self._is_recorded(arguments[0]):
            return self.by_shapes[shapes](diffusion_model, arguments, named)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        # The next replay of a CUDA graph writes over its output.
        return self.by_shapes[shapes](diffusion_model, arguments, named).clone()

    def _is_recorded(self, x: Tensor) -> bool:
        return self.cuda_graphs and x.device.type == "cuda" and x.shape[0] * x.shape[-2] * x.shape[-1] <= _SMALL

    def _tell(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            logger.warning("SwD: %s", text)


def _compile(backend: Any, recorded: bool) -> Callable[..., Any]:
    if torch.__version__ < _OLDEST_TORCH:
        raise _CannotCompile(f"this is torch {torch.__version__}, and SwD Compile needs {_OLDEST_TORCH} or newer")
    options: dict[str, Any] = {"guard_filter_fn": _guards, **({"triton.cudagraphs": True} if recorded else {})}
    # One code object a size: torch counts recompilations by code object, and gives up after eight.
    code = _forward.__code__.replace(co_name=f"swd_forward_{next(_NUMBERS)}")
    function = types.FunctionType(code, _forward.__globals__)
    try:
        compiled: Callable[..., Any] = torch_compile(function, backend=backend, dynamic=False, options=options)
    except RuntimeError as error:
        raise _CannotCompile(str(error)) from error
    return compiled


def _forward(diffusion_model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return diffusion_model(*arguments, **named)


def _guards(entries: Any) -> list[bool]:
    """Which guards a graph keeps: transformer_options hold new objects at every step, and what in them changes the
    result is looked at before."""
    return ["transformer_options" not in entry.name for entry in entries]


def _patches(options: Mapping[str, Any]) -> list[str]:
    """Names of patches that the model itself looks up: a graph would keep those that it was compiled with."""
    found = [name for name, value in options.items() if name not in _NO_PATCHES and not _is_nothing(value)]
    if any(options.get("wrappers", {}).get(WrappersMP.DIFFUSION_MODEL, {}).values()):
        found.append("wrappers")
    return sorted(found)


def _is_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (dict, list, tuple)) and not value)


def _shapes(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """Shape, type and device of every tensor that the model is called with, and the names of what else there is."""
    values = [*enumerate(arguments), *named.items()]
    return tuple(
        (name, tuple(value.shape), value.dtype, value.device) if isinstance(value, Tensor) else (name, value is None)
        for name, value in values
    )


def _reason(error: Exception) -> str:
    """The first line that says something: torch begins with the name of the backend."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.strip().endswith("raised:")]
    return lines[0][:_LONGEST] if lines else type(error).__name__


def _compile_errors(recorded: bool) -> tuple[type[Exception], ...]:
    # Imported only once something has failed: ComfyUI starts faster without.
    from torch._dynamo.exc import TorchDynamoException

    # Of CUDA graphs in a thread that has none (pytorch issue 123177).
    return (TorchDynamoException, _CannotCompile, *((AssertionError,) if recorded else ()))
