"""What a user enters is there again after saving and opening."""

from __future__ import annotations

from typing import Any

from .conftest import OpenPage
from .marks import present_page
from .page import ComfyPage


def our_nodes(object_info: dict[str, Any]) -> list[str]:
    return sorted(name for name in object_info if "SWD" in name and "Tiny" not in name)


def other_value(kind: Any, options: dict[str, Any]) -> Any:
    """A value that an input takes and that is not its default, from what the server says about the input."""
    if kind == "STRING":
        return f"{options.get('default', '')} changed"
    if kind in ("INT", "FLOAT"):
        step = 2 * options.get("step", 1)
        return options["default"] + (step if options["default"] + step <= options["max"] else -step)
    choices = options["options"] if kind == "COMBO" else kind
    return choices[-1]


def change_all(page: ComfyPage, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Give each widget of a node that belongs to an input another value; returns these values."""
    before = page.widgets(name)
    entries = {**inputs.get("required", {}), **inputs.get("optional", {})}
    values = {key: other_value(*entries[key]) for key in before if key in entries}
    page.set(name, **values)
    assert {key: page.widgets(name)[key] for key in values} == values
    assert all(values[key] != before[key] for key in values)
    return values


@present_page
def test_every_value_survives_saving_and_opening(
    page: ComfyPage, new_page: OpenPage, renderer: str, object_info: dict[str, Any]
) -> None:
    for number, name in enumerate(our_nodes(object_info)):
        page.add(name, (number % 4 * 450, number // 4 * 400))
    changed = {name: change_all(page, name, object_info[name]["input"]) for name in our_nodes(object_info)}
    title = f"saved with {renderer}"
    page.save(title)
    values, prompt = page.values(), page.prompt()

    with new_page(renderer) as other:
        other.open_saved(title)
        other.fit()
        other.screenshot("opened again")
        assert other.values() == values
        assert other.prompt() == prompt
        for name, expected in changed.items():
            assert {key: other.widgets(name)[key] for key in expected} == expected
        assert not other.faults
