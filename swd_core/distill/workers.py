"""One process, or several that train together."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Workers(Protocol):
    """The processes that share a batch. `rank`: the number of this one, from 0; `count`: how many there are."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        ...


class Alone:
    """One process."""

    rank = 0
    count = 1

    def mean(self, value: Tensor) -> Tensor:
        return value
