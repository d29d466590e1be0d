"""What the front end gets from the pack: search words, help pages and translations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from swd_dev.client import ComfyClient

STEPS = {"SWDScaleSchedule", "SWDCustomSchedule", "SamplerSWD", "SWDSampler"}
TRAINING = {"SWDTeacherDataset", "SWDDistillLora"}


@pytest.fixture(scope="module")
def nodes(object_info: dict[str, Any]) -> dict[str, Any]:
    return {node_id: info for node_id, info in object_info.items() if info["category"] == "SwD"}


def test_the_search_words_find_the_nodes(nodes: dict[str, Any]) -> None:
    searches = {
        "SwD": set(nodes),
        "scale-wise": set(nodes),
        "few step": {*STEPS, *TRAINING, "SWDLoraLoader"},
        "progressive": {*STEPS, "SWDLatentUpscale"},
        "LCM upscale": {*STEPS, "SWDLatentUpscale"},
        "yandex": {*STEPS, "SWDLoraLoader"},
        "flux lora": {"SWDLoraLoader"},
        "faster": {"SamplerSWD", "SWDSampler", "SWDCompile"},
        "speed up": {"SamplerSWD", "SWDSampler", "SWDCompile"},
    }
    for words, wanted in searches.items():
        assert {node_id for node_id, info in nodes.items() if words in info["search_aliases"]} == wanted, words


def test_the_help_pages_and_their_pictures_are_served(client: ComfyClient, nodes: dict[str, Any], pack: Path) -> None:
    files = [*(pack / "web" / "docs").iterdir()]
    assert {path.stem for path in files if path.suffix == ".md"} == set(nodes)
    for path in files:
        assert client.request(f"/extensions/swd/docs/{path.name}") == path.read_bytes()


def test_the_translations_are_served(client: ComfyClient, pack: Path) -> None:
    served = json.loads(client.request("/api/i18n"))
    for folder in (pack / "locales").iterdir():
        for node_id, texts in json.loads((folder / "nodeDefs.json").read_text(encoding="utf-8")).items():
            assert served[folder.name]["nodeDefs"][node_id] == texts
        assert served[folder.name]["nodeCategories"]["SwD"] == "SwD"
    assert served["zh"]["nodeDefs"]["SWDSampler"]["display_name"] == "SwD 采样器"
