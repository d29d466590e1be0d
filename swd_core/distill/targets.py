"""Which layers a LoRA trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import InputError

# Attention and MLP layers, as in upstream's release scripts (train_sd35_medium.sh); FLUX has two more in its single
# blocks. A name matches whole or as a dotted ending, as PEFT matches target_modules.
ATTENTION_AND_MLP = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
FLUX_LAYERS = (*ATTENTION_AND_MLP, "proj_mlp", "proj_out")


@dataclass(frozen=True)
class Target:
    """One layer that gets a LoRA.

    `name`: the layer's name in the diffusers model, by which the LoRA file calls it. `module`: the Linear's name in
    the model that is trained. `rows`: (start, length) of the output features that are this layer, where the model has
    several fused into one. `reorder`: how rows in the order of the file become rows of the model.
    """

    name: str
    module: str
    rows: tuple[int, int] | None = None
    reorder: Callable[[Tensor], Tensor] | None = None


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a layer's name equals a pattern or ends with it after a dot."""
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns)


def choose_targets(targets: Iterable[Target], patterns: Sequence[str]) -> list[Target]:
    """The targets whose names match one of the patterns.

    Raises:
        InputError: a pattern that matches nothing.
    """
    known = list(targets)
    for pattern in patterns:
        if not any(matches(target.name, [pattern]) for target in known):
            raise InputError(
                f"targets: no layer is called {pattern}.",
                found=", ".join(sorted({target.name for target in known})[:6]) + ", ...",
                allowed="names of linear layers, whole or from a dot on, such as to_q or ff.net.2",
                remedy="leave the list empty for the attention and MLP layers.",
            )
    return [target for target in known if matches(target.name, patterns)]


def linear_targets(model: nn.Module) -> list[Target]:
    """Every Linear of a module whose names are those of diffusers already."""
    return [Target(name, name) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
