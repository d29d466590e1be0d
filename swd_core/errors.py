"""The one exception that a wrong input raises."""

from __future__ import annotations


class InputError(ValueError):
    """A wrong input: what it is on the first line, then what was found, what is allowed and what to do.

    ComfyUI shows the text of an exception to the user, so the text is the user interface.
    """

    def __init__(self, problem: str, *, found: object, allowed: str, remedy: str) -> None:
        super().__init__(f"{problem}\nFound: {found}\nAllowed: {allowed}\nTo do: {remedy}")
