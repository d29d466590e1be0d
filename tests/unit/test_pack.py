"""What `comfy node validate` and `comfy node pack` make of the working tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from swd_dev.errors import DevError
from swd_dev.pack import copy_of_tree, pack, validate

PACK = Path(__file__).resolve().parents[2]
SHIPPED = {
    "__init__.py", "CHANGELOG.md", "LICENSE", "README.md", "locales", "nodes", "pyproject.toml", "subgraphs",
    "swd_core", "web", "workflows",
}  # fmt: skip
SUFFIXES = {".py", ".json", ".jpg", ".md", ".png", ".toml"}
LIMIT = 2 * 1024**2


@pytest.fixture(scope="module")
def names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        return file.namelist()


def test_the_archive_holds_what_ships_and_nothing_else(names: list[str]) -> None:
    assert {name.split("/")[0] for name in names} == SHIPPED
    assert {Path(name).suffix for name in names} - {""} <= SUFFIXES
    assert [name for name in names if not Path(name).suffix] == ["LICENSE"]
    assert not [name for name in names if any(part.startswith((".", "__pycache__")) for part in name.split("/"))]
    assert "swd_core/README.md" not in names, "it is for developers"


def test_the_archive_holds_every_file_of_the_shipped_folders(names: list[str]) -> None:
    files = [path for name in SHIPPED for path in (PACK / name).rglob("*") if path.is_file()]
    wanted = {path.relative_to(PACK).as_posix() for path in files if "__pycache__" not in path.parts}
    assert len(wanted) > 40
    assert wanted - {"swd_core/README.md"} <= set(names)


def test_the_archive_is_small(archive: Path, figure) -> None:
    figure("bytes of the archive", archive.stat().st_size, LIMIT)
    assert archive.stat().st_size < LIMIT


def test_the_registry_has_nothing_to_say(packed_tree: Path) -> None:
    said = validate(packed_tree)
    assert "All validation checks passed" in said
    assert "warning" not in said.lower(), said


BAD_PROJECT = '[project]\nname = "x"\nversion = "1.0.0"\n[tool.comfy]\nrequires-comfyui = ">=0.16"\n'
BAD_CODE = "def run(text):\n    return eval(text)\n"


@pytest.mark.parametrize(
    ("file", "text", "warning"), [("pyproject.toml", BAD_PROJECT, "requires-comfyui"), ("bad.py", BAD_CODE, "S307")]
)
def test_a_warning_of_the_registry_would_be_noticed(tmp_path: Path, file: str, text: str, warning: str) -> None:
    (tmp_path / "pyproject.toml").write_text((PACK / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / file).write_text(text, encoding="utf-8")
    said = validate(tmp_path)
    assert warning in said
    assert "warning" in said.lower()


def test_ruff_finds_what_the_registry_will_forbid(packed_tree: Path) -> None:
    """`comfy node validate` only warns of these, and exits with 0."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "S102,S307,E702", str(packed_tree)]
    assert subprocess.run(command, check=False).returncode == 0


def test_the_tree_is_packed_as_it_is_on_disk(tmp_path: Path) -> None:
    """A new file counts before it is committed, an ignored or deleted one does not."""
    repo = tmp_path / "repo"
    (repo / "nodes").mkdir(parents=True)
    for name in ("gone.py", "kept.py", "nodes/new.py", "junk.log", "tests.py"):
        (repo / name).write_bytes(name.encode() + b"\r\n")
    (repo / ".gitignore").write_text("*.log\n")
    (repo / ".comfyignore").write_text(".*ignore\ntests.py\n")
    (repo / "pyproject.toml").write_bytes((PACK / "pyproject.toml").read_bytes())
    git = ["git", "-C", str(repo), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "gone.py", "kept.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    (repo / "gone.py").unlink()
    status = subprocess.check_output([*git, "status", "--short"])
    with zipfile.ZipFile(pack(copy_of_tree(repo, tmp_path / "copy"))) as file:
        assert sorted(file.namelist()) == ["kept.py", "nodes/new.py", "pyproject.toml"]
        assert file.read("kept.py") == b"kept.py\r\n", "as it is on disk, whatever git is set to"
    assert subprocess.check_output([*git, "status", "--short"]) == status, "the repository is left alone"


def test_a_tree_that_cannot_be_packed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DevError, match=r"node pack` ended with exit code 1:"):
        pack(tmp_path)
