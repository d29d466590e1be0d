"""The translations: complete for every node, none left over, and none left in English."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from swd_dev.locales import as_json, english_files

LOCALES = Path(__file__).resolve().parents[2] / "locales"
TRANSLATIONS = ("ja", "ru", "zh")
FILES = ("main.json", "nodeDefs.json")
SCRIPTS = {"ja": r"[\u3040-\u30ff]", "ru": r"[\u0400-\u04ff]", "zh": r"[\u4e00-\u9fff]"}
# Names that ComfyUI's own translations leave as they are: all languages, and one of them.
SAME = {"SwD", "cfg"}
SAME_IN = {"zh": {"Latent"}}
# What a translation has to take over as it is.
FACTS = re.compile(r"\d+(?:\.\d+)?|models/loras|adapter_config\.json|bicubic|\bauto\b|\bcfg\b|PEFT|LoRA")
QUOTED = re.compile("[“「«]([^”」»]*SwD[^”」»]*)[”」»]")

Key = tuple[str, ...]


def load(language: str, name: str) -> dict[str, Any]:
    texts: dict[str, Any] = json.loads((LOCALES / language / name).read_text(encoding="utf-8"))
    return texts


def leaves(texts: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    if isinstance(texts, dict):
        for name, value in texts.items():
            yield from leaves(value, (*key, name))
    else:
        yield key, texts


@pytest.fixture(scope="module")
def english(swd: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return english_files({node_id: node.GET_NODE_INFO_V1() for node_id, node in swd.items()})


@pytest.fixture(scope="module")
def english_texts(english: dict[str, dict[str, Any]]) -> dict[Key, str]:
    """Every text of the schemas, and the ids of the inputs, which English shows as their names."""
    texts = {(name, *key): text for name, file in english.items() for key, text in leaves(file)}
    for node_id, node in english["nodeDefs.json"].items():
        texts.update({("nodeDefs.json", node_id, "inputs", name, "name"): name for name in node["inputs"]})
    return texts


@pytest.fixture(params=TRANSLATIONS)
def language(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def texts(language: str) -> dict[Key, str]:
    return {(name, *key): text for name in FILES for key, text in leaves(load(language, name))}


def test_there_are_four_languages() -> None:
    assert sorted(path.relative_to(LOCALES).as_posix() for path in LOCALES.rglob("*.json")) == [
        f"{language}/{name}" for language in sorted(("en", *TRANSLATIONS)) for name in FILES
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_english_files_are_the_texts_of_the_schemas(english: dict[str, dict[str, Any]], name: str) -> None:
    committed = (LOCALES / "en" / name).read_text(encoding="utf-8")
    assert committed == as_json(english[name]), (
        "write them with `python -m swd_dev.locales locales/en`, and bring ja, ru and zh up to date"
    )


def test_a_translation_has_every_text_and_no_other(texts: dict[Key, str], english_texts: dict[Key, str]) -> None:
    assert sorted(english_texts.keys() - texts.keys()) == [], "missing"
    assert sorted(texts.keys() - english_texts.keys()) == [], "of nodes, inputs or outputs that are not there"


def test_nothing_is_left_in_english(language: str, texts: dict[Key, str], english_texts: dict[Key, str]) -> None:
    same = SAME | SAME_IN.get(language, set())
    for key, text in texts.items():
        if text not in same:
            assert text.casefold() != english_texts[key].casefold(), key
            assert re.search(SCRIPTS[language], text) or key[-1] in ("name", "display_name"), (key, text)


def test_numbers_and_names_of_files_and_options_are_kept(texts: dict[Key, str], english_texts: dict[Key, str]) -> None:
    for key, text in texts.items():
        if key[-1] in ("tooltip", "description"):
            missing = set(FACTS.findall(english_texts[key])) - set(FACTS.findall(text))
            assert not missing, (key, text)


def test_nodes_are_called_by_their_translated_titles(texts: dict[Key, str], english_texts: dict[Key, str]) -> None:
    titles = {text for key, text in texts.items() if key[-1] == "display_name"}
    english_titles = {text for key, text in english_texts.items() if key[-1] == "display_name"}
    for key, text in texts.items():
        assert not [title for title in english_titles - titles if title in text], (key, text)
        assert set(QUOTED.findall(text)) <= titles, (key, text)


@pytest.mark.parametrize("any_language", ["en", *TRANSLATIONS])
def test_no_text_holds_what_the_front_end_would_compile(any_language: str) -> None:
    """vue-i18n takes braces, bars and at signs for its own; only tooltips are shown as they are."""
    for name in FILES:
        for key, text in leaves(load(any_language, name)):
            assert key[-1] == "tooltip" or not set("{}|@") & set(text), (key, text)
