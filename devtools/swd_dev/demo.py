"""`dev.py demo`: one image from the toy world or a template, with the latent size and the seconds of each step."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .client import ComfyClient, Event, Prompt
from .environment import Settings
from .errors import DevError
from .options import add_demo_options
from .paths import REPO
from .progress import Step, say
from .prompts import find_template, load_template, set_seed, set_size, set_text, stand_in
from .server import ComfyServer
from .signals import stop_on_signals
from .toy_prompt import has_toy_world, toy_prompt

TEMPLATE = "SwD text to image - SD3.5 Medium, 6 steps"
STEP = re.compile(r"step (\d+) of (\d+) at (\d+) x (\d+)")


@dataclass
class Stage:
    """One step of the sampler: its number from 1, how many there are, its latent size as text, and its seconds."""

    number: int
    total: int
    size: str
    start: float
    seconds: float | None = None


class StepPrinter:
    """Prints a line for each step as the sampler reports it, and keeps the steps."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._live = sys.stdout.isatty()

    def __call__(self, event: Event) -> None:
        """Take one message of the run."""
        if event.kind == "text" and (found := STEP.search(event.data["text"])):
            self._end(event.at)
            self.stages.append(Stage(int(found[1]), int(found[2]), f"{found[3]} x {found[4]}", event.at))
            if self._live:
                print(self._line(self.stages[-1]) + "  ...", end="", flush=True)
        elif event.kind.startswith("execution_") or (event.kind == "progress" and self._is_done(event.data)):
            self._end(event.at)

    def _is_done(self, progress: dict[str, int]) -> bool:
        return bool(self.stages) and progress["value"] >= self.stages[-1].number

    def _end(self, at: float) -> None:
        if not self.stages or self.stages[-1].seconds is not None:
            return
        stage = self.stages[-1]
        stage.seconds = at - stage.start
        say(("\r" if self._live else "") + f"{self._line(stage)}  {stage.seconds:.2f} s")

    @staticmethod
    def _line(stage: Stage) -> str:
        return f"step {stage.number} of {stage.total}  latent {stage.size}"


def main(arguments: Sequence[str]) -> int:
    """Run the demo; exit code 0, or 2 with one sentence on standard error, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__)
    add_demo_options(parser)
    options = parser.parse_args(arguments)
    try:
        with stop_on_signals():
            _demo(options)
    except DevError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _demo(options: argparse.Namespace) -> None:
    settings = Settings.read()
    if settings.tiny_models is None:
        raise DevError("SWD_TINY_MODELS is not set; start the demo through `python dev.py demo`.")
    template = _template(options.template)
    size = parse_size(options.size) if options.size else None
    out = Path(options.out).expanduser().absolute() if options.out else None
    if out and not out.parent.is_dir():
        raise DevError(f"the folder {out.parent} does not exist; make it or give another --out.")
    with ExitStack() as stack:
        with Step("starting ComfyUI"):
            models = settings.tiny_models
            server = ComfyServer(settings.comfyui, settings.server_python, REPO, models, cpu=not options.gpu)
            stack.enter_context(server)
        _make_image(server, template, size, options, out)


def _template(name: str | None) -> Path | None:
    """The workflow of that name; without a name None, the toy world, or a template where its files are missing."""
    if name is None and has_toy_world():
        return None
    return find_template(name or TEMPLATE)


def _make_image(
    server: ComfyServer,
    template: Path | None,
    size: tuple[int, int] | None,
    options: argparse.Namespace,
    out: Path | None,
) -> None:
    client = ComfyClient(server.url)
    prompt: Prompt = stand_in(load_template(template, client.object_info())) if template else toy_prompt()
    if options.prompt:
        set_text(prompt, options.prompt)
    if options.seed is not None:
        set_seed(prompt, options.seed)
    if size:
        set_size(prompt, *size)
    name = template.stem if template else "toy world"
    say(f"template {name}")
    printer = StepPrinter()
    result = client.run(prompt, printer, json.loads(template.read_text(encoding="utf-8")) if template else None)
    if result.status != "success":
        log = server.log_tail()
        raise DevError(f"the run ended with {result.status}: {result.error}\nThe server's log ends with:\n{log}")
    images = client.images(result.prompt_id)
    if not images:
        raise DevError(f"{name} saved no image; it needs a SaveImage node.")
    for _, content in images:
        say(f"image    {save(content, out)}")
    seconds = [stage.seconds or 0.0 for stage in printer.stages]
    say(f"steps    {len(seconds)}")
    each = " + ".join(f"{s:.2f}" for s in seconds)
    say(f"seconds  {each} = {sum(seconds):.2f} in the steps, {result.seconds:.2f} in all")


def parse_size(text: str) -> tuple[int, int]:
    """Read "1024x768" as width and height in pixels; raises DevError unless both are multiples of 16."""
    found = re.fullmatch(r"(\d+)[xX](\d+)", text.strip())
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (width and height) or width % 16 or height % 16:
        raise DevError(f"the size {text!r} is not WIDTHxHEIGHT in pixels, multiples of 16; for example 768x512.")
    return width, height


def save(content: bytes, out: Path | None) -> Path:
    """Write the image to `out`, or to the first free swd-demo-N.png of the current folder; return its path."""
    if out:
        out.write_bytes(content)
        return out
    number = 1
    while True:
        path = Path.cwd() / f"swd-demo-{number}.png"
        try:
            with path.open("xb") as file:
                file.write(content)
            return path
        except FileExistsError:
            number += 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
