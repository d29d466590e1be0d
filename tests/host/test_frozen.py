"""What an unmodified ComfyUI says of the nodes, against the frozen table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from swd_dev.client import ComfyClient
from swd_dev.frozen import changes, frozen_nodes, read_tables, write_table

PACK = Path(__file__).resolve().parents[2]
TABLES = PACK / "tests" / "frozen"
ADVICE = (
    "Saved workflows rely on these. If it is meant, name each node and input in CHANGELOG.md under the version in the "
    "making and run\n  python dev.py test --only pytest tests/host/test_frozen.py --update-frozen"
)


@pytest.fixture(scope="module")
def live(client: ComfyClient) -> dict[str, Any]:
    # Both lists of this moment: other tests save LoRAs.
    return frozen_nodes(client.object_info(), {"loras": json.loads(client.request("/models/loras"))})


def test_the_nodes_are_those_of_the_frozen_table(live: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-frozen"):
        write_table(TABLES, live, (PACK / "CHANGELOG.md").read_text(encoding="utf-8"))
    version, table = list(read_tables(TABLES).items())[-1]
    found = [f"{change.node_id} {change.part}: {change.text}" for change in changes(table, live)]
    assert not found, f"differs from tests/frozen/{version}.json:\n  " + "\n  ".join(found) + f"\n{ADVICE}"


def test_the_list_of_loras_is_that_of_the_folder(live: dict[str, Any]) -> None:
    assert live["SWDLoraLoader"]["inputs"]["lora_name"]["options"] == "models/loras"


def test_every_input_and_output_has_a_tooltip(object_info: dict[str, Any], live: dict[str, Any]) -> None:
    for node_id in live:
        info = object_info[node_id]
        inputs = {**info["input"]["required"], **info["input"].get("optional", {})}
        tooltips = [options[1].get("tooltip") for options in inputs.values()]
        assert all(tooltips), f"{node_id} has an input without a tooltip"
        assert all(info["output_tooltips"]), f"{node_id} has an output without a tooltip"
