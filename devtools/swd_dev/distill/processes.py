"""Several processes through Hugging Face accelerate, which need not be installed for one."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from swd_dev.errors import DevError


class AccelerateWorkers:
    """The processes that `accelerate launch` has started; see swd_core.distill.workers.Workers."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.rank = int(accelerator.process_index)
        self.count = int(accelerator.num_processes)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        mean: Tensor = self._accelerator.reduce(value, reduction="mean")
        return mean

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._accelerator.wait_for_everyone()


def make_workers(cpu: bool) -> AccelerateWorkers | None:
    """The processes of this launch; None where this one is alone.

    Raises:
        DevError: several processes, but no accelerate.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise DevError("Training in several processes needs accelerate: pip install accelerate") from error
    return AccelerateWorkers(Accelerator(cpu=cpu))
