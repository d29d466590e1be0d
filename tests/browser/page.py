"""A page of ComfyUI in a real browser: what a user does and sees there, in short functions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect
from swd_dev.server import ComfyServer

from . import scripts
from .console import is_fault

Workflow = dict[str, Any]

# The folder of the pack in custom_nodes, as base_folder.py names it.
PACK_FOLDER = "swd"
VIEWPORT = {"width": 1600, "height": 900}
READY_SECONDS = 120
WAIT_SECONDS = 60
RUN_SECONDS = 120
SETTLE_MS = 500
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.RightSidePanel.IsOpen": False,
    # Text is drawn at every zoom, for the screenshots.
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}


class ComfyPage:
    """One page. `faults` holds what it wrote to the console as an error and `console.EXPECTED` does not name."""

    def __init__(self, page: Page, url: str, screenshots: Path, label: str) -> None:
        self.page = page
        self.url = url
        self.screenshots = screenshots
        self.label = label
        self.faults: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.set_default_timeout(WAIT_SECONDS * 1000)
        expect.set_options(timeout=WAIT_SECONDS * 1000)

    def _note(self, message: ConsoleMessage) -> None:
        line = f"{message.text} <{message.location.get('url', '')}>"
        if message.type == "error" and is_fault(line):
            self.faults.append(line)

    def open(self) -> None:
        """Open ComfyUI and wait until its first workflow is there."""
        self.page.goto(self.url)
        self.page.wait_for_function(scripts.READY, timeout=READY_SECONDS * 1000)
        self.page.evaluate(scripts.HELPERS)

    def wait(self, milliseconds: int = SETTLE_MS) -> None:
        """Wait until the front end has had this time and has nothing to do."""
        self.page.evaluate(scripts.SETTLED, milliseconds)

    def reset(self) -> None:
        """Put away what an earlier test left: dialogs, panels, notices, the workflow and the list of faults."""
        self.page.keyboard.press("Escape")
        self.page.evaluate("app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)")
        self.command("Comfy.NewBlankWorkflow")
        self.faults.clear()

    def command(self, name: str) -> None:
        """Run a command of the front end, such as those of its menus."""
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def load(self, workflow: Workflow, title: str) -> None:
        """Open a workflow in a tab of its own, as the template browser does."""
        self.page.evaluate("([workflow, title]) => app.loadGraphData(workflow, true, true, title)", [workflow, title])
        self.wait()

    def load_template(self, title: str) -> None:
        """Open a template of the pack as the server gives it."""
        address = f"{self.url}/api/workflow_templates/{PACK_FOLDER}/{title}.json"
        self.load(self.page.request.get(address).json(), title)

    def save(self, title: str) -> None:
        """Save the workflow with Ctrl + S under a new name."""
        self.page.keyboard.press("Control+s")
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(title)
        dialog.get_by_role("button", name="Confirm").click()
        expect(self.page).to_have_title(f"{title} - ComfyUI")

    def open_saved(self, title: str) -> None:
        """Open a saved workflow from the list at the left."""
        self.command("Workspace.ToggleSidebarTab.workflows")
        self.page.get_by_text(title, exact=True).click()
        expect(self.page).to_have_title(f"{title} - ComfyUI")
        self.command("Workspace.ToggleSidebarTab.workflows")
        self.wait()

    def browse_templates(self) -> Locator:
        """Open the template browser at the pack's own templates and return the dialog."""
        dialog = self.page.get_by_role("dialog")
        self.command("Comfy.BrowseTemplates")
        dialog.get_by_text(PACK_FOLDER, exact=True).first.click()
        return dialog

    def close_templates(self) -> None:
        """Close the template browser, which Escape does not do on the page of ComfyUI 0.16."""
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_label("Close dialog").click()
        expect(dialog).to_have_count(0)

    def graph(self) -> Workflow:
        """The workflow on the canvas, as the front end would save it."""
        workflow: Workflow = self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")
        return workflow

    def prompt(self) -> dict[str, Any]:
        """The workflow as it would be sent to the server."""
        prompt: dict[str, Any] = self.page.evaluate("() => app.graphToPrompt().then(both => both.output)")
        return prompt

    def values(self) -> dict[str, dict[str, Any]]:
        """The value of every widget, by `id type` of the node and name of the widget."""
        values: dict[str, dict[str, Any]] = self.page.evaluate(scripts.VALUES)
        return values

    def titles(self) -> dict[str, str]:
        """The title that each type of node shows."""
        titles: dict[str, str] = self.page.evaluate(scripts.TITLES)
        return titles

    def widgets(self, node_type: str) -> dict[str, Any]:
        """The value of every widget of the first node of a type."""
        return next(values for name, values in self.values().items() if name.split(" ", 1)[1] == node_type)

    def add(self, node_type: str, at: tuple[int, int]) -> None:
        """Add a node of a type at a place of the canvas."""
        self.page.evaluate(scripts.ADD, [node_type, at])

    def set(self, node_type: str, **values: Any) -> None:
        """Set widgets of the first node of a type."""
        self.page.evaluate(scripts.SET_VALUES, [node_type, values])

    def faulty_nodes(self) -> list[str]:
        """The types of the nodes that the front end does not know or marks as wrong."""
        types: list[str] = self.page.evaluate(scripts.FAULTY)
        return types

    def overlaps(self) -> list[str]:
        """Nodes and groups that lie on each other, as pairs of titles."""
        pairs: list[str] = self.page.evaluate(scripts.OVERLAPS)
        return pairs

    def show_text(self, text: str) -> None:
        """Let the nodes of the pack show a text, as they do once they have run."""
        self.page.evaluate(scripts.SHOW_TEXT, text)
        self.wait()

    def notice(self) -> str:
        """The text of the notice about missing nodes, missing files or a failed run; empty if there is none."""
        found = self.page.get_by_test_id("error-overlay")
        return found.inner_text() if found.is_visible() else ""

    def run(self, button: Locator | None = None, sees: str = "() => true") -> str:
        """Press Run, wait until the page meets the condition `sees`, then for the end.

        Returns the server's last message, such as execution_success.
        """
        ended = self.page.evaluate("swd.ended.length")
        (button or self.page.get_by_test_id("queue-button")).click()
        self.page.wait_for_function(sees, timeout=RUN_SECONDS * 1000)
        self.page.wait_for_function("ended => swd.ended.length > ended", arg=ended, timeout=RUN_SECONDS * 1000)
        self.wait()
        return str(self.page.evaluate("swd.ended.at(-1)"))

    def wait_for_picture(self, node_type: str, size: list[int]) -> None:
        """Wait until a node shows one picture and it has this width and height."""
        shows = f"([type, size]) => JSON.stringify(({scripts.PICTURES})(type)) === JSON.stringify([size])"
        self.page.wait_for_function(shows, arg=[node_type, size])

    def output(self, node_type: str) -> dict[str, str]:
        """File name, folder and type of the only picture that a node was given by its last run."""
        node_id = self.page.evaluate("type => swd.node(type).id", node_type)
        (image,) = self.page.evaluate("id => app.nodeOutputs[id].images", node_id)
        found: dict[str, str] = image
        return found

    def fit(self, *node_types: str) -> None:
        """Show the whole workflow, or these nodes alone, as large as the window allows."""
        select = "types => app.canvas.selectItems(types.map(type => swd.node(type)))"
        self.page.evaluate(select if node_types else "() => app.canvas.deselectAll()", list(node_types))
        self.command("Comfy.Canvas.FitView")
        self.wait()
        self.page.evaluate("() => app.canvas.deselectAll()")
        self.wait(200)

    def look(self) -> Image.Image:
        """What the screen shows."""
        return Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")

    def box(self, node_type: str) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of a node on the screen."""
        edges: list[float] = self.page.evaluate(scripts.BOX, node_type)
        left, upper, right, lower = map(round, edges)
        return left, upper, right, lower

    def show_info(self, node_type: str) -> Locator:
        """Select a node, press the button with the i, and return the panel that opens."""
        self.page.evaluate("type => app.canvas.selectItems([swd.node(type)])", node_type)
        self.page.get_by_test_id("info-button").click()
        panel = self.page.get_by_test_id("properties-panel")
        expect(panel).to_be_visible()
        return panel

    def search(self, text: str) -> Locator:
        """Open the search for nodes, type, and return the dialog."""
        self.command("Workspace.SearchBox.Toggle")
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("combobox").first.fill(text)
        return dialog

    def drop_file(self, path: Path) -> None:
        """Drag a file from outside the browser onto the middle of the canvas."""
        session = self.page.context.new_cdp_session(self.page)
        at = {"x": VIEWPORT["width"] // 2, "y": VIEWPORT["height"] // 2}
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})
        self.wait(2 * SETTLE_MS)

    def look_at(self, *node_types: str, margin: int = 20) -> Image.Image:
        """What the screen shows of these nodes and around them."""
        boxes = [self.box(node_type) for node_type in node_types]
        left, upper = (min(box[side] for box in boxes) - margin for side in (0, 1))
        right, lower = (max(box[side] for box in boxes) + margin for side in (2, 3))
        return self.look().crop((left, upper, right, lower))

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the page among the output of the tests."""
        path = self.screenshots / f"{self.label} - {name}.png"
        self.page.screenshot(path=path)
        return path


@contextmanager
def open_page(
    browser: Browser, server: ComfyServer, screenshots: Path, label: str, **settings: Any
) -> Iterator[ComfyPage]:
    """A page for a user who has just these settings, with an empty browser cache."""
    write_settings(server.base_directory, {**SETTINGS, **settings})
    context = browser.new_context(viewport=VIEWPORT)
    try:
        page = ComfyPage(context.new_page(), server.url, screenshots, label)
        page.open()
        yield page
    finally:
        context.close()


def write_settings(base: Path, settings: dict[str, Any]) -> None:
    """Replace all settings that the server keeps for its user."""
    user = base / "user" / "default"
    user.mkdir(parents=True, exist_ok=True)
    (user / "comfy.settings.json").write_text(json.dumps(settings), encoding="utf-8")
