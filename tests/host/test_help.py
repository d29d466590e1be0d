"""The help pages: one for every node, and each says what the schema says."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from swd_pack.swd_core.presets import PRESETS, preset_of_lora

PACK = Path(__file__).resolve().parents[2]
DOCS = PACK / "web" / "docs"
PAGES = sorted(DOCS.glob("*.md"))
HEADINGS = ["Inputs", "Outputs", "When not to use it", "Typical errors", "Related nodes"]
# Some forty names would make a page of their own in the narrow panel, and ComfyUI adds more.
OF_KSAMPLER = ("sampler_name", "scheduler")
SOURCES = "\n".join(
    path.read_text(encoding="utf-8") for folder in ("nodes", "swd_core") for path in (PACK / folder).rglob("*.py")
)


@cache
def tree(path: Path) -> SyntaxTreeNode:
    return SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")))


def text(node: SyntaxTreeNode) -> str:
    return "".join(child.content for child in node.walk() if child.type in ("text", "code_inline"))


def headings(path: Path, tag: str) -> list[str]:
    return [text(node) for node in tree(path).children if node.type == "heading" and node.tag == tag]


def section(path: Path, title: str) -> list[SyntaxTreeNode]:
    """The blocks below a heading, up to the next."""
    blocks = tree(path).children
    start = next(i for i, node in enumerate(blocks) if node.type == "heading" and text(node) == title) + 1
    end = next((i for i in range(start, len(blocks)) if blocks[i].type == "heading"), len(blocks))
    return list(blocks[start:end])


def table(path: Path, title: str) -> list[list[str]]:
    """The rows of the one table of a section, without its head."""
    (found,) = (node for node in section(path, title) if node.type == "table")
    return [[text(cell) for cell in row.children] for row in found.children[1].children]


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def info(page: Path, swd: dict[str, Any]) -> dict[str, Any]:
    """What /object_info says of the node of the page."""
    return swd[page.stem].GET_NODE_INFO_V1()


def test_every_node_has_a_page_and_every_page_a_node(swd: dict[str, Any]) -> None:
    assert [path.stem for path in PAGES] == sorted(swd)


def test_the_page_has_the_name_of_the_node_and_all_its_parts(page: Path, info: dict[str, Any]) -> None:
    assert headings(page, "h1") == [info["display_name"]]
    assert [name for name in headings(page, "h2") if name in HEADINGS] == HEADINGS


def test_the_table_of_inputs_is_the_schema(page: Path, info: dict[str, Any]) -> None:
    rows = table(page, "Inputs")
    kinds = [(name, "Yes") for name in info["input"]["required"]]
    kinds += [(name, "No") for name in info["input"].get("optional", {})]
    specs = {**info["input"]["required"], **info["input"].get("optional", {})}
    assert sorted((row[0], row[3]) for row in rows) == sorted(kinds)
    for name, description, kind, _, allowed in rows:
        assert len(description) > 10, name
        assert kind == specs[name][0]
        missing = [words for words in range_words(name, *specs[name]) if words not in allowed]
        assert not missing, f"{name}: {missing} not in {allowed!r}"


def range_words(name: str, kind: str, options: dict[str, Any]) -> list[str]:
    """What the column of the range has to name."""
    if kind in ("INT", "FLOAT"):
        return [f"{options['min']} to {options['max']}, default {options['default']}"]
    if kind == "STRING":
        return [options["default"]]
    if kind == "COMBO" and name == "preset":
        return [f"{options['default']} (default)", "below"]
    if name in OF_KSAMPLER:
        return [f"{options['default']} (default)", "those of KSampler"]
    if kind == "COMBO" and name != "lora_name":
        return [f"{options['default']} (default)", *options["options"]]
    return []


def test_the_table_of_presets_is_that_of_the_code() -> None:
    rows = table(DOCS / "SWDScaleSchedule.md", "Presets")
    assert [(name, sides, timesteps) for name, sides, timesteps, _ in rows] == [
        (preset.name, ", ".join(map(str, preset.scales)), ", ".join(f"{t:g}" for t in preset.timesteps))
        for preset in PRESETS
    ]
    assert [preset_of_lora(repository) for *_, repository in rows] == [p if p.lora else None for p in PRESETS]


def test_the_least_denoise_is_the_last_timestep_of_the_presets() -> None:
    assert {(preset.family == "SDXL", round(preset.timesteps[-1], 1)) for preset in PRESETS} == {
        (False, 0.6),
        (True, 0.4),
    }
    assert "0.6 in most presets and 0.4 in that of SDXL" in (DOCS / "SWDSampler.md").read_text(encoding="utf-8")


def test_the_table_of_outputs_is_the_schema(page: Path, info: dict[str, Any]) -> None:
    rows = table(page, "Outputs")
    assert [(name, kind) for name, _, kind in rows] == list(zip(info["output_name"], info["output"], strict=True))
    assert all(len(description) > 10 for _, description, _ in rows)


def test_the_messages_are_those_of_the_code(page: Path) -> None:
    """A message is quoted as code; `...` stands for what differs."""
    errors = page.read_text(encoding="utf-8").split("## Typical errors")[1]
    for message in re.findall(r"^\| `([^`]+)` \|", errors, re.MULTILINE):
        # The code may put the name of the input in front.
        parts = [part.strip() for part in message.split(": ", 1)[-1].split("...")]
        assert all(part in SOURCES for part in parts), message


def test_the_related_nodes_exist(page: Path, swd: dict[str, Any]) -> None:
    names = {node.GET_NODE_INFO_V1()["display_name"] for node in swd.values()}
    bold = [text(node) for node in tree(page).walk() if node.type == "strong"]
    assert {name for name in bold if "SwD" in name} <= names
    related = [text(node) for block in section(page, "Related nodes") for node in block.walk() if node.type == "strong"]
    assert related
    assert headings(page, "h1")[0] not in related


def test_no_link_leads_nowhere(page: Path) -> None:
    """Links open a new tab: there a relative one finds nothing (front end 1.47) or downloads the page (1.58)."""
    targets = [str(node.attrs["href"]) for node in tree(page).walk() if node.type == "link"]
    assert all(target.startswith("https://") for target in targets)


def test_every_picture_is_there_small_and_used() -> None:
    pictures = [node for path in PAGES for node in tree(path).walk() if node.type == "image"]
    assert all(len(text(node)) > 20 for node in pictures), "a picture without a description"
    used = {str(node.attrs["src"]) for node in pictures}
    # The front end takes them from the folder of the pages; nothing else may lie there, a script least of all.
    files = {path.relative_to(DOCS).as_posix(): path.stat().st_size for path in DOCS.rglob("*") if path.suffix != ".md"}
    assert used == set(files)
    assert max(files.values()) < 60_000
    assert [path.name for path in (PACK / "web").iterdir()] == ["docs"]
