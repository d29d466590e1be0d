"""One server for each front end, one page for each renderer on it, and the folder of the screenshots."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from swd_dev.client import ComfyClient
from swd_dev.server import ComfyServer

from .marks import FRONT_ENDS
from .page import VIEWPORT, ComfyPage, open_page

PACK = Path(__file__).resolve().parents[2]
SCREENSHOTS = PACK / "test-output" / "screenshots"
# The pictures of the README are of these two, where a node's picture fills it.
IN_README = ("own front end", "nodes 2")
README_VIEWPORT = {"width": 2600, "height": 1100}
README_PICTURE_BYTES = 200_000
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The setting that chooses how nodes are drawn.
RENDERERS = {"classic": False, "nodes 2": True}

UpdateDocs = Callable[[str, Image.Image], None]
OpenPage = Callable[..., AbstractContextManager[ComfyPage]]


def _path(name: str) -> Path:
    if name not in os.environ:
        pytest.fail(f"{name} is not set: run the browser tests with `python dev.py test tests/browser`.", pytrace=False)
    return Path(os.environ[name])


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_path("SWD_BROWSER"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package", params=FRONT_ENDS)
def front_end(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="package", params=RENDERERS)
def renderer(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="package")
def server(front_end: str, comfyui: Path, tiny_models: Path) -> Iterator[ComfyServer]:
    """A server of whom every template finds the model files that it names."""
    newer = ("--front-end-root", str(_path("SWD_FRONT_END"))) if front_end == "newer front end" else ()
    python = _path("SWD_SERVER_PYTHON")
    with ComfyServer(comfyui, python, PACK, tiny_models, extra_args=newer) as running:
        for path in (PACK / "workflows").glob("*.json"):
            _add_files(json.loads(path.read_text(encoding="utf-8")), tiny_models, running.base_directory / "models")
        yield running


def _add_files(workflow: dict[str, Any], tiny_models: Path, models: Path) -> None:
    """Put an empty file where a template links one that has no tiny form: the front end only asks for the name."""
    for node in workflow["nodes"]:
        for link in node["properties"].get("models", ()):
            file = Path(link["directory"]) / link["name"]
            if not (tiny_models / file).exists():
                (models / file).parent.mkdir(parents=True, exist_ok=True)
                (models / file).touch()


@pytest.fixture(scope="package")
def client(server: ComfyServer) -> ComfyClient:
    return ComfyClient(server.url)


@pytest.fixture(scope="package")
def object_info(client: ComfyClient) -> dict[str, Any]:
    return client.object_info()


@pytest.fixture(scope="package")
def new_page(browser: Browser, server: ComfyServer, front_end: str) -> OpenPage:
    """Open a page of one's own: `with new_page("classic", "Comfy.Locale"="zh") as page:`."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def open_with(renderer: str, **settings: Any) -> AbstractContextManager[ComfyPage]:
        label = f"{front_end} - {renderer}"
        chosen = {"Comfy.VueNodes.Enabled": RENDERERS[renderer], **settings}
        return open_page(browser, server, SCREENSHOTS, label, **chosen)

    return open_with


@pytest.fixture(scope="package")
def shared_page(new_page: OpenPage, renderer: str) -> Iterator[ComfyPage]:
    """The page that the tests of one renderer share."""
    with new_page(renderer) as page:
        yield page


@pytest.fixture
def page(shared_page: ComfyPage) -> Iterator[ComfyPage]:
    """A page with an empty workflow; whatever it writes to the console as an error fails the test."""
    shared_page.reset()
    yield shared_page
    assert not shared_page.faults


@pytest.fixture
def update_docs(request: pytest.FixtureRequest, page: ComfyPage, front_end: str, renderer: str) -> Iterator[UpdateDocs]:
    """Write a picture of the README to docs/, where the command line asks for it."""
    wanted = request.config.getoption("--update-docs") and (front_end, renderer) == IN_README

    def write(name: str, image: Image.Image) -> None:
        if wanted:
            path = PACK / "docs" / f"{name}.jpg"
            image.save(path, quality=85, optimize=True)
            assert path.stat().st_size < README_PICTURE_BYTES

    if wanted:
        page.page.set_viewport_size(README_VIEWPORT)
    yield write
    if wanted:
        page.page.set_viewport_size(VIEWPORT)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SCREENSHOTS.is_dir():
        terminalreporter.write_line(f"screenshots of the browser tests: {SCREENSHOTS}")
