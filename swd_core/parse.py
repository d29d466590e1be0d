"""Lists of numbers as people type them."""

from __future__ import annotations

import math
import re

from .errors import InputError

# Those of Latin, Chinese, Japanese and Arabic keyboards.
_SEPARATORS = re.compile(r"[,;\uff0c\u3001\uff1b\u060c\u061b\s]+")


def parse_numbers(text: str, name: str, example: str) -> tuple[float, ...]:
    """Read numbers separated by commas or semicolons of any script, or white space.

    Raises:
        InputError: nothing there, or something that is not a finite number. `name` and `example` go into the message.
    """
    words = [word for word in _SEPARATORS.split(text.strip()) if word]
    if not words:
        raise InputError(
            f"{name}: the list is empty.",
            found=repr(text[:200]),
            allowed=f"numbers separated by commas, such as {example}",
            remedy="write one number per step.",
        )
    return tuple(_number(word, name, example) for word in words)


def _number(word: str, name: str, example: str) -> float:
    try:
        # Python's own numbers may hold underscores; in a list for people one is a slip.
        value = math.nan if "_" in word else float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{name}: {word[:40]!r} is not a number.",
            found=word[:200],
            allowed=f"numbers separated by commas, such as {example}",
            remedy="write plain numbers with a point for decimals.",
        )
    return value
