"""The source of what ships keeps the promises of SECURITY.md. tests/host/test_footprint.py watches a run for it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[2]
FILES = [PACK / "__init__.py", *sorted((PACK / "nodes").rglob("*.py")), *sorted((PACK / "swd_core").rglob("*.py"))]

# What may be imported: no network, no programs, no pickle, nothing that ComfyUI does not bring.
PYTHON = {
    "__future__", "argparse", "collections", "concurrent", "contextlib", "dataclasses", "enum", "functools", "hashlib",
    "inspect", "itertools", "json", "logging", "math", "os", "pathlib", "re", "shutil", "sys", "time", "types",
    "typing", "weakref",
}  # fmt: skip
LIBRARIES = {"PIL", "einops", "safetensors", "torch"}
# `server` is ComfyUI's: progress goes to the browser through it.
COMFYUI = {"comfy", "comfy_api", "comfy_execution", "folder_paths", "latent_preview", "server"}

# All that is asked of `os` and `shutil`, and the only files that write: a LoRA, a training run, a dataset.
OF_MODULES = {"os.replace", "shutil.rmtree"}
WRITERS = {"swd_core/lora/convert.py", "swd_core/distill/files.py", "swd_core/host/distill/session.py"}
WRITING = {
    "chmod", "hardlink_to", "makedirs", "mkdir", "rename", "rmdir", "rmtree", "save_file", "symlink_to", "touch",
    "truncate", "unlink", "write_bytes", "write_text", "tofile", "savez", "copyfile", "copytree",
}  # fmt: skip
DYNAMIC = {"eval", "exec", "compile", "__import__", "setattr", "delattr", "globals", "breakpoint", "input"}
# A flag of ComfyUI for training, which is put back at the end.
SET_ON_OTHERS = {("swd_core/host/distill/gradients.py", "management.in_training")}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The last part of the name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2], node


def is_opened_for_writing(call: ast.Call) -> bool:
    """Whether an `open` has a mode other than reading; a mode that is computed counts as one."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[1:2] if isinstance(call.func, ast.Name) else call.args[:1]
    return any(not isinstance(mode, ast.Constant) or not re.fullmatch(r"rb?t?", str(mode.value)) for mode in modes)


def writes(tree: ast.AST) -> list[str]:
    return [
        ast.unparse(call)
        for name, call in calls(tree)
        if name in WRITING or ast.unparse(call.func) == "os.replace" or (name == "open" and is_opened_for_writing(call))
    ]


def of_module(tree: ast.AST, *modules: str) -> set[str]:
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {ast.unparse(node) for node in attributes if ast.unparse(node.value) in modules}


def _root(node: ast.AST) -> str:
    """`a` of `a.b.c` and of `a.b[c]`; empty for what is not of this form."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def names_of_modules(tree: ast.AST) -> set[str]:
    """What stands for something imported: `comfy`, `x` of `import y as x`, and names of a part of it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _root(node.value) in names:
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def set_on_modules(tree: ast.AST) -> set[str]:
    """Attributes and entries of something imported that are given a value, or deleted."""
    names = names_of_modules(tree)
    changed = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del))
    ]
    return {ast.unparse(node) for node in changed if _root(node) in names}


@pytest.fixture(params=FILES, ids=lambda path: path.relative_to(PACK).as_posix())
def source(request: pytest.FixtureRequest) -> tuple[str, ast.Module]:
    path: Path = request.param
    return path.relative_to(PACK).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_a_file_keeps_the_promises(source: tuple[str, ast.Module]) -> None:
    name, tree = source
    assert {found.split(".")[0] for found in imports(tree)} <= PYTHON | LIBRARIES | COMFYUI
    assert of_module(tree, "os", "shutil") <= OF_MODULES
    assert not of_module(tree, "torch") & {"torch.load", "torch.save", "torch.hub"}
    assert not {called for called, call in calls(tree) if isinstance(call.func, ast.Name)} & DYNAMIC
    assert not writes(tree) or name in WRITERS
    assert {(name, found) for found in set_on_modules(tree)} <= SET_ON_OTHERS


def test_the_lists_hold_nothing_that_is_gone() -> None:
    trees = {path.relative_to(PACK).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    assert {name for name, tree in trees.items() if writes(tree)} == WRITERS
    assert {(name, found) for name, tree in trees.items() for found in set_on_modules(tree)} == SET_ON_OTHERS
    assert set().union(*(of_module(tree, "os", "shutil") for tree in trees.values())) == OF_MODULES
    assert {name.split(".")[0] for tree in trees.values() for name in imports(tree)} == PYTHON | LIBRARIES | COMFYUI


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("import requests", imports),
        ("def f():\n    from urllib import request", imports),
        ("path.open('wb')", writes),
        ("open(path, 'a')", writes),
        ("open(path, mode=how)", writes),
        ("path.open('r+b')", writes),
        ("Path(x).write_text('y')", writes),
        ("os.replace(a, b)", writes),
        ("import comfy.samplers\ncomfy.samplers.KSampler = None", set_on_modules),
        ("from comfy.samplers import KSampler as K\nK.sample = None", set_on_modules),
        ("import nodes\nnodes.NODE_CLASS_MAPPINGS['x'] = None", set_on_modules),
        ("import comfy.sd\ndel comfy.sd.VAE", set_on_modules),
        ("import comfy.utils\nutils = comfy.utils\nutils.load = None", set_on_modules),
    ],
)
def test_a_rule_finds_what_it_is_for(text: str, rule) -> None:
    assert list(rule(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["path.open('rb')", "open(path)", "path.open()", "self.x = 1", "name.replace('a', 'b')", "x = {}\nx[1] = 2"]
)
def test_a_rule_finds_nothing_else(text: str) -> None:
    tree = ast.parse(text)
    assert not writes(tree) and not set_on_modules(tree)


def test_ruff_knows_no_security_problem_in_what_ships() -> None:
    """With all of its security rules but that on `assert`, and no `noqa` at all."""
    options = ["--no-cache", "--isolated", "--ignore-noqa", "--select", "S", "--ignore", "S101"]
    shipped = [PACK / "__init__.py", PACK / "nodes", PACK / "swd_core"]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *options, *shipped], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_no_assert_looks_at_what_a_user_gives() -> None:
    """Python leaves asserts out with -O: each only tells the type checker that something is there, or of a class."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                said = ast.unparse(node.test)
                assert re.fullmatch(r"[\w.]+ is not None|isinstance\(\w+, \w+\)", said), f"{path}: {said}"
