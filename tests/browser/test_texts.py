"""Texts of the pack in the front end: help pages, titles in Chinese, words that the search knows."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage
from .marks import one_renderer, present_page
from .page import ComfyPage
from .workflows import MEDIUM, PACK

WITH_PICTURE = ("SWDSampler", "SWDScaleSchedule", "SWDSchedulePlot")
CHINESE = re.compile("[\u4e00-\u9fff]")


@present_page
@one_renderer
@pytest.mark.parametrize("kind", WITH_PICTURE)
def test_the_help_page_opens_with_its_picture(page: ComfyPage, kind: str) -> None:
    page.load_template(MEDIUM)
    panel = page.show_info(kind)
    text = (PACK / "web" / "docs" / f"{kind}.md").read_text(encoding="utf-8")
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        expect(panel.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert pictures
    expect(panel.locator("img")).to_have_count(len(pictures))
    for shown, name in zip(panel.locator("img").all(), pictures, strict=True):
        shown.scroll_into_view_if_needed()
        expect(shown).to_have_attribute("src", re.compile(rf"/extensions/[^/]+/docs/{re.escape(name)}$"))
        assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.wait()
    page.screenshot(f"help of {kind}")


@present_page
def test_the_chinese_page_shows_our_titles(new_page: OpenPage, renderer: str) -> None:
    names = json.loads((PACK / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
    titles = {kind: entry["display_name"] for kind, entry in names.items()}
    with new_page(renderer, **{"Comfy.Locale": "zh"}) as page:
        page.load_template(MEDIUM)
        page.fit("SWDLoraLoader", "SWDScaleSchedule", "SWDSampler")
        page.screenshot("Chinese")
        shown = page.titles()
        ours = {kind: title for kind, title in shown.items() if "SWD" in kind}
        assert ours == {kind: titles[kind] for kind in ours}
        assert len(ours) >= 4
        assert all(CHINESE.search(title) for title in ours.values())
        dialog = page.search(titles["SWDCustomSchedule"])
        expect(dialog.get_by_text(titles["SWDCustomSchedule"]).first).to_be_visible()
        page.screenshot("Chinese search")
        assert not page.faults


@present_page
@one_renderer
def test_the_search_knows_the_words_of_the_field(page: ComfyPage) -> None:
    dialog = page.search("few step")
    for title in ("SwD Sampler", "SwD Scale Schedule", "SwD LoRA Loader"):
        expect(dialog.get_by_text(title, exact=True).first).to_be_visible()
    page.screenshot("search")
