"""Notes where Python reads tensors, which on a GPU waits for the device."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_OPERATORS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")
# On a CPU these read memory without an operator.
_METHODS = ("tolist", "cpu", "numpy")


@dataclass
class Waits:
    """Use as a context, and call `pass_done` after each forward pass.

    `reads`: for each read the passes done before it, the file that asked (the first that is not torch's) and its
    function.
    """

    passes: int = 0
    reads: list[tuple[int, str, str]] = field(default_factory=list)

    def __enter__(self) -> Waits:
        self._modes = (_Operators(self), _Methods(self))
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)

    def pass_done(self) -> None:
        self.passes += 1

    def note(self) -> None:
        own = str(Path(__file__))
        asked = [f for f in traceback.extract_stack() if "/torch/" not in f.filename and f.filename != own][-1]
        self.reads.append((self.passes, asked.filename, asked.name))

    def by(self, folder: Path) -> list[tuple[int, str]]:
        """The reads that files below a folder asked for."""
        return [(passes, name) for passes, file, name in self.reads if Path(file).is_relative_to(folder)]


class _Operators(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__.split(".")[0] in _OPERATORS:
            self.waits.note()
        return function(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in _METHODS:
            self.waits.note()
        return function(*args, **(kwargs or {}))
