"""Runs started by the Run button: pictures appear in their nodes, and errors in the error panel."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image, ImageChops
from playwright.sync_api import expect
from swd_dev.client import ComfyClient

from .conftest import OpenPage, UpdateDocs
from .marks import one_renderer, present_page
from .page import ComfyPage
from .workflows import APPS, MEDIUM, connections, node, read

SIZE = 256
# The nodes that show a picture, and its size.
SHOWN = {"SaveImage": [SIZE, SIZE], "SWDSchedulePlot": [960, 600]}
LIVE_TEXT = r"() => /step [1-6] of 6 at \d+ . \d+|6 steps, \d+\.\d\d s/.test(document.body.innerText)"


def small(page: ComfyPage) -> dict[str, Any]:
    """The template of SD3.5 Medium at 256 x 256 with a seed of its own, so that no page gets another's result."""
    workflow = read(MEDIUM)
    node(workflow, "EmptySD3LatentImage")["widgets_values"][:2] = [SIZE, SIZE]
    node(workflow, "SWDSampler")["widgets_values"][:2] = [zlib.crc32(page.label.encode()), "fixed"]
    return workflow


def changed(before: Image.Image, after: Image.Image, box: tuple[int, int, int, int]) -> float:
    """Share of the pixels inside the box that differ visibly."""
    histogram = ImageChops.difference(before.crop(box), after.crop(box)).convert("L").histogram()
    return sum(histogram[16:]) / sum(histogram)


def entered(page: ComfyPage) -> dict[str, dict[str, Any]]:
    """What the user entered: all values but the text that Preview as Text shows after a run."""
    return {name: values for name, values in page.values().items() if not name.endswith(" PreviewAny")}


def test_run_makes_the_pictures_appear_in_their_nodes(page: ComfyPage, update_docs: UpdateDocs) -> None:
    page.load(small(page), MEDIUM)
    page.fit()
    before = page.look()
    assert page.run(sees=LIVE_TEXT) == "execution_success"
    for kind, size in SHOWN.items():
        page.wait_for_picture(kind, size)
    page.wait()
    after = page.look()
    page.screenshot("after the run")
    for kind in SHOWN:
        # The plot is dark like its node: no more than its text and squares differ.
        assert changed(before, after, page.box(kind)) > 0.05
    assert changed(before, after, page.box("CLIPTextEncode")) < 0.01, "a node without a picture looks as before"
    update_docs("template", page.look_at(*(node["type"] for node in page.graph()["nodes"])))
    for kind in SHOWN:
        page.fit(kind)
        page.screenshot(f"after the run, {kind}")
    page.fit("SWDSchedulePlot")
    update_docs("plot", page.look_at("SWDSchedulePlot"))


def test_a_picture_dropped_on_the_canvas_restores_its_workflow(
    page: ComfyPage, client: ComfyClient, tmp_path: Path
) -> None:
    page.load(small(page), MEDIUM)
    values, links = entered(page), connections(page.graph())
    assert page.run() == "execution_success"
    picture = tmp_path / "dropped.png"
    picture.write_bytes(client.request("/view?" + urlencode(page.output("SaveImage"))))
    page.reset()
    assert page.values() == {}
    page.drop_file(picture)
    page.fit()
    page.screenshot("after the drop")
    expect(page.page).to_have_title(re.compile(r"^\*dropped "))
    assert connections(page.graph()) == links
    assert entered(page) == values


@present_page
def test_a_wrong_schedule_shows_our_sentence_in_the_error_panel(page: ComfyPage) -> None:
    workflow = small(page)
    schedule = node(workflow, "SWDScaleSchedule")
    schedule.update(type="SWDCustomSchedule", widgets_values=["64, 48", "1.0, 0.5"])
    page.load(workflow, "wrong schedule")
    page.fit()
    assert page.run() == "execution_error"
    page.page.get_by_test_id("error-overlay-see-errors").click()
    panel = page.page.get_by_test_id("runtime-error-panel")
    for sentence in ("swd.InputError: scales: they must not fall.", "Found: 64, 48", "To do: sort the list"):
        expect(panel).to_contain_text(sentence)
    page.wait()
    page.screenshot("error panel")


@present_page
@one_renderer
def test_the_app_shows_its_inputs_and_the_picture(new_page: OpenPage, renderer: str) -> None:
    (path,) = APPS
    workflow = read(path.stem)
    node(workflow, "EmptySD3LatentImage")["widgets_values"][:2] = [SIZE, SIZE]
    with new_page(renderer) as page:
        page.load(workflow, path.stem)
        skip = page.page.get_by_test_id("coach-landing").get_by_role("button", name="Skip")
        if skip.is_visible():
            skip.click()
        inputs = workflow["extra"]["linearData"]["inputs"]
        expect(page.page.get_by_test_id("app-mode-widget-item")).to_have_count(len(inputs))
        assert page.notice() == ""
        page.screenshot("app")
        button = page.page.get_by_test_id("linear-run-button").get_by_role("button", name="Run", exact=True)
        assert page.run(button) == "execution_success"
        picture = page.page.locator("img[src*='type=output']").first
        expect(picture).to_have_js_property("naturalWidth", SIZE)
        page.screenshot("app after the run")
        assert not page.faults
