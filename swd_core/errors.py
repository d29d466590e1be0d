"""What a user reads when something is wrong."""

from __future__ import annotations


def explain(problem: str, *, found: object, allowed: str, remedy: str) -> str:
    """The text of every error here: what it is on the first line, what was found, what is allowed and what to do."""
    return f"{_line(problem)}\nFound: {_line(found)}\nAllowed: {allowed}\nTo do: {remedy}"


def shorten(text: str) -> str | None:
    """What was wrong, what was found and what to do, of a text that `explain` made; None for any other."""
    lines = text.splitlines()
    labels = [line.partition(":")[0] for line in lines[1:4]]
    return "\n".join((*lines[:2], lines[3])) if labels == ["Found", "Allowed", "To do"] else None


def _line(text: object) -> str:
    # The name of a file may hold line breaks, and what was found may be another error.
    return " ".join(str(text).splitlines())


class InputError(ValueError):
    """A wrong input. ComfyUI shows the text of an exception to the user, so the text is the user interface."""

    # ComfyUI shows the module in front of the text, and calls the modules of a pack by the path of their folder.
    __module__ = "swd"

    def __init__(self, problem: str, *, found: object, allowed: str, remedy: str) -> None:
        super().__init__(explain(problem, found=found, allowed=allowed, remedy=remedy))
