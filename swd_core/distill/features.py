"""Looking into a block of a model while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from .denoiser import as_tokens


class StopForwardError(Exception):
    """Ends a forward pass whose rest nobody needs. Raised and caught by FeatureTap."""


class FeatureTap:
    """Reads what one block gives.

    `select`: the image tokens [B, tokens, channels], or a UNet's [B, channels, H, W], among what the block returns.
    """

    def __init__(self, block: nn.Module, select: Callable[[Any], Tensor]) -> None:
        self._block = block
        self._select = select
        self._capturing = False
        self._stop = False
        self._features: Tensor | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Hang the hook into the block for the time of the context."""
        handle = self._block.register_forward_hook(self._hook)
        try:
            yield
        finally:
            handle.remove()

    def features(self, forward: Callable[[], object]) -> Tensor:
        """The features [B, tokens, channels] of a forward pass, which ends after the block."""
        with self._capture(stop=True), contextlib.suppress(StopForwardError):
            forward()
        return self._taken()

    def output_and_features(self, forward: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        """What a whole forward pass gives, and its features."""
        with self._capture(stop=False):
            output = forward()
        return output, self._taken()

    @contextlib.contextmanager
    def _capture(self, stop: bool) -> Iterator[None]:
        self._capturing, self._stop, self._features = True, stop, None
        try:
            yield
        finally:
            self._capturing = False

    def _hook(self, module: nn.Module, inputs: object, output: Any) -> None:
        if not self._capturing:
            return
        features = as_tokens(self._select(output))
        # A copy, for some models go on to write into this very tensor.
        self._features = features.clone()
        if self._stop:
            raise StopForwardError

    def _taken(self) -> Tensor:
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError("the block did not run")
        return features
