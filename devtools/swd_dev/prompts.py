"""Template workflows as API prompts: find, convert, replace what cannot be tiny, and set the user's wishes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_cli.workflow_to_api import WorkflowConversionError, convert_ui_to_api

from .client import Prompt
from .errors import DevError
from .paths import REPO

WORKFLOWS = REPO / "workflows"
SAMPLERS = ("SWDSampler", "SamplerCustomAdvanced", "SamplerCustom", "KSampler")
SEEDS = ("seed", "noise_seed")
TEXTS = ("text", "clip_l", "clip_g", "t5xxl", "text_l", "text_g")


@dataclass(frozen=True)
class StandIn:
    """A node whose model has no tiny form, and the node that takes its place; without inputs it keeps its own."""

    class_type: str
    where: dict[str, str]
    becomes: str
    inputs: dict[str, str] = field(default_factory=dict)


STAND_INS = (
    StandIn("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_base_1.0.safetensors"}, "SWDTinyCheckpoint"),
    StandIn(
        "DualCLIPLoader",
        {"type": "flux"},
        "CLIPLoader",
        {"clip_name": "clip_l.safetensors", "type": "stable_diffusion", "device": "default"},
    ),
)


def find_template(name: str) -> Path:
    """Return the workflow whose file name is `name` or contains it; else raises DevError with all names."""
    files = {path.stem.lower(): path for path in sorted(WORKFLOWS.glob("*.json")) if not path.stem.endswith(".app")}
    wanted = name.lower().removesuffix(".json")
    found = [files[wanted]] if wanted in files else [path for stem, path in files.items() if wanted in stem]
    if len(found) == 1:
        return found[0]
    names = "\n".join(f"  {path.stem}" for path in files.values()) or "  none"
    raise DevError(f"{len(found) or 'no'} templates match {name!r}; those in {WORKFLOWS} are:\n{names}")


def load_template(path: Path, object_info: dict[str, Any]) -> Prompt:
    """Convert a workflow file to an API prompt; raises DevError if it needs node classes the server does not have."""
    try:
        prompt: Prompt = convert_ui_to_api(json.loads(path.read_text(encoding="utf-8")), object_info)
    except (ValueError, WorkflowConversionError) as error:
        raise DevError(f"{path.name} cannot be converted to a prompt: {error}") from error
    unknown = sorted({node["class_type"] for node in prompt.values()} - object_info.keys())
    if unknown:
        raise DevError(f"{path.name} needs {', '.join(unknown)}, which this ComfyUI lacks; update it or the pack.")
    return prompt


def stand_in(prompt: Prompt) -> Prompt:
    """Return the prompt with the nodes of `STAND_INS` replaced; their other inputs and all links stay."""
    return {node_id: _replaced(node) for node_id, node in prompt.items()}


def _replaced(node: dict[str, Any]) -> dict[str, Any]:
    for rule in STAND_INS:
        if node["class_type"] == rule.class_type and all(node["inputs"].get(k) == v for k, v in rule.where.items()):
            return {**node, "class_type": rule.becomes, "inputs": dict(rule.inputs or node["inputs"])}
    return node


def set_text(prompt: Prompt, text: str) -> None:
    """Put `text` into the text encoder that feeds the sampler's positive input; raises DevError if there is none."""
    node = _upstream(prompt, ("positive", "guider", "conditioning"), TEXTS, "text of the image")
    node.update({name: text for name in TEXTS if isinstance(node.get(name), str)})


def set_seed(prompt: Prompt, seed: int) -> None:
    """Set the seed of the sampler, or of the noise node before it; raises DevError if there is none."""
    node = _upstream(prompt, ("noise",), SEEDS, "seed")
    node.update({name: seed for name in SEEDS if name in node})


def set_size(prompt: Prompt, width: int, height: int) -> None:
    """Set the size, in pixels, of the empty latent the sampler starts from; raises DevError if there is none."""
    _upstream(prompt, ("latent_image", "samples"), ("width",), "size").update(width=width, height=height)


def _upstream(prompt: Prompt, links: Sequence[str], wanted: Sequence[str], what: str) -> dict[str, Any]:
    """Return the inputs of the nearest node, from the sampler against the named links, with a value for `wanted`."""
    queue = [node_id for kind in SAMPLERS for node_id, node in prompt.items() if node["class_type"] == kind]
    seen: set[str] = set()
    while queue:
        node_id = queue.pop(0)
        if node_id in seen or node_id not in prompt:
            continue
        seen.add(node_id)
        inputs: dict[str, Any] = prompt[node_id]["inputs"]
        if any(isinstance(inputs.get(name), (str, int)) for name in wanted):
            return inputs
        queue += [inputs[name][0] for name in links if isinstance(inputs.get(name), list)]
    raise DevError(f"the template has no node that sets the {what} of its sampler; leave that option out.")
