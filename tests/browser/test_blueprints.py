"""The blueprints of the pack: found by the search, placed as one node, and run."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from .marks import one_renderer, present_page
from .page import VIEWPORT, ComfyPage
from .workflows import BLUEPRINTS

SIZE = 256
TEXT_TO_IMAGE = "SwD Text to Image (SD3.5)"
# Sets the size of the blueprint on the canvas and gives its picture to a node that shows it.
SHOW = """size => {
    const [blueprint] = app.graph._nodes, shown = LiteGraph.createNode('PreviewImage');
    for (const widget of blueprint.widgets)
        if (['width', 'height'].includes(widget.name)) widget.value = size;
    shown.pos = [blueprint.pos[0] + blueprint.size[0] + 80, blueprint.pos[1]];
    app.graph.add(shown);
    blueprint.connect(blueprint.outputs.findIndex(output => output.type === 'IMAGE'), shown, 0);
}"""


def place(page: ComfyPage, title: str) -> None:
    """Search a blueprint, choose it with Enter and put it down with a click."""
    dialog = page.search(title)
    expect(dialog.get_by_text(title).first).to_be_visible()
    page.page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    page.page.mouse.click(VIEWPORT["width"] // 3, VIEWPORT["height"] // 3)
    page.wait()


@present_page
@one_renderer
@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_is_found_and_placed_whole(page: ComfyPage, path: Path) -> None:
    place(page, path.stem)
    page.fit()
    page.screenshot(f"blueprint {path.stem}")
    assert page.notice() == ""
    assert page.faulty_nodes() == []
    titles = page.titles()
    assert path.stem in titles.values()
    assert "SWDSampler" in titles, "the nodes inside are there as well"


@present_page
def test_the_blueprint_makes_a_picture(page: ComfyPage) -> None:
    place(page, TEXT_TO_IMAGE)
    page.page.evaluate(SHOW, SIZE)
    page.fit()
    assert page.run() == "execution_success"
    page.wait_for_picture("PreviewImage", [SIZE, SIZE])
    page.wait()
    page.screenshot("blueprint after the run")
