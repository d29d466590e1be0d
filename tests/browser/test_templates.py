"""The templates of the pack in the template browser and on the canvas."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image
from playwright.sync_api import expect

from .marks import one_renderer, present_page
from .page import ComfyPage
from .workflows import APPS, MEDIUM, TEMPLATES, connections, node, read, unknown_slots


@one_renderer
def test_the_template_browser_shows_each_template_with_its_thumbnail(page: ComfyPage) -> None:
    fetched: dict[str, int] = {}
    page.page.on("response", lambda answer: fetched.update({unquote(answer.url).rsplit("/", 1)[-1]: answer.status}))
    dialog = page.browse_templates()
    page.wait()
    page.screenshot("template browser")
    for path in [*TEMPLATES, *APPS]:
        card = dialog.get_by_test_id(f"template-workflow-{path.stem}")
        card.scroll_into_view_if_needed()
        expect(card).to_contain_text(path.stem.removesuffix(".app"))
        thumbnail = path.with_suffix(".jpg")
        # A thumbnail that is missing shows as a picture of ComfyUI's own.
        expect(card.locator("img").first).to_have_js_property("naturalWidth", Image.open(thumbnail).width)
        assert fetched[thumbnail.name] == 200
    page.screenshot("template browser, end")
    page.close_templates()


@one_renderer
def test_a_click_on_a_template_opens_it(page: ComfyPage) -> None:
    dialog = page.browse_templates()
    dialog.get_by_test_id(f"template-workflow-{MEDIUM}").click()
    expect(dialog).to_be_hidden()
    expect(page.page).to_have_title(re.compile(rf"^\*{re.escape(MEDIUM)} "))
    assert "SWDSampler" in {node["type"] for node in page.graph()["nodes"]}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_template_opens_whole(page: ComfyPage, path: Path, object_info: dict[str, Any]) -> None:
    page.load_template(path.stem)
    page.fit()
    page.screenshot(path.stem)
    workflow = json.loads(path.read_text(encoding="utf-8"))
    assert page.notice() == ""
    assert page.faulty_nodes() == []
    assert page.overlaps() == []
    page.show_text("SD3.5 Medium, 6 steps: made for swd-medium-6-steps/adapter_model.safetensors")
    page.screenshot(f"{path.stem}, with texts")
    assert page.overlaps() == []
    assert connections(page.graph()) == connections(workflow)
    assert unknown_slots(page.graph(), object_info) == set()


@pytest.fixture
def workflow() -> dict[str, Any]:
    """A template that a test may spoil, as a proof that the test above would notice."""
    return read(MEDIUM)


@present_page
@one_renderer
def test_a_missing_node_would_be_noticed(page: ComfyPage, workflow: dict[str, Any]) -> None:
    node(workflow, "SWDSampler")["type"] = "SWDNoSuchNode"
    page.load(workflow, "missing node")
    assert page.faulty_nodes() == ["SWDNoSuchNode"]
    assert "missing" in page.notice().lower()


@present_page
@one_renderer
def test_a_missing_file_would_be_noticed(page: ComfyPage, workflow: dict[str, Any]) -> None:
    loader = node(workflow, "SWDLoraLoader")
    loader["widgets_values"][0] = loader["properties"]["models"][0]["name"] = "no-such-file.safetensors"
    page.load(workflow, "missing file")
    assert page.faulty_nodes() == ["SWDLoraLoader"]
    assert "missing" in page.notice().lower()


@one_renderer
def test_a_broken_link_would_be_noticed(page: ComfyPage, workflow: dict[str, Any], object_info: dict[str, Any]) -> None:
    whole = connections(workflow)
    node(workflow, "SWDSampler")["inputs"][3]["name"] = "scheduel"
    page.load(workflow, "misspelled input")
    assert {name for *_, name in unknown_slots(page.graph(), object_info)} == {"scheduel"}
    workflow["links"] = [link for link in workflow["links"] if link[-1] != "VAE"]
    for entry in node(workflow, "VAEDecode")["inputs"]:
        entry["link"] = entry["link"] if entry["name"] != "vae" else None
    page.load(workflow, "lost link")
    assert {name for *_, name in whole - connections(page.graph())} == {"schedule", "vae"}


@one_renderer
def test_an_error_in_the_console_would_be_noticed(page: ComfyPage) -> None:
    page.page.evaluate("console.error('from the test')")
    page.page.evaluate("setTimeout(() => { throw new Error('thrown by the test') })")
    page.page.evaluate("fetch('/extensions/swd/no-such-file.js')")
    page.wait()
    for text, fault in zip(("from the test", "thrown by the test", "404"), page.faults, strict=True):
        assert text in fault
    page.faults.clear()
