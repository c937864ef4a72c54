"""Imports run one way, importing does nothing, and the README's map names every file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    p.relative_to(ROOT) for room in ("flows", "tasks") for p in (ROOT / room).rglob("*.py")
)


# What computes with TensorFlow, and the one module that knows boto3.
HEAVY = {
    "devices",
    "inference",
    "compiled",
    "layers",
    "learning",
    "networks",
    "on_gpu",
    "optimizers",
    "portable",
    "runtime",
    "steps",
    "trainer",
    "transfer",
    "variables",
}
HEAVY |= {"s3", "s3_client", "s3_data", "s3_uploads", "s3_words"}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "flows":
        return "flows"
    if parts[0] == "tasks":
        return f"tasks.{parts[1]}" if parts[1:2] in (["vision"], ["store"]) else "tasks"
    return ""


ALLOWED = {
    "flows": {"flows", "tasks", "tasks.vision", "tasks.store"},
    "tasks": {"tasks", "tasks.vision", "tasks.store"},
    "tasks.vision": {"tasks.vision"},
    "tasks.store": {"tasks.store"},
}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(".".join(path.with_suffix("").parts))
    for name in imports_of(path):
        if (there := room_of(name)) and name != "tasks":
            assert there in ALLOWED[room], f"{path} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(path)}
    if path.parts[:2] in {("tasks", "vision"), ("tasks", "store")}:
        assert "prefect" not in tops, f"{path} may not know Prefect"
    if path.parts[:2] == ("tasks", "store"):
        assert not tops & {"tensorflow", "keras"}, f"{path} may not know TensorFlow"
    if {"boto3", "botocore"} & tops:
        assert path.parent == Path("tasks/store"), f"{path} may not know boto3"
        assert path.stem == "s3_client" or "boto3" not in tops, f"{path} may not know boto3"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_holds_one_idea(path: Path) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path} says nothing about its purpose"


def test_recipes_load_without_tensorflow_or_prefect() -> None:
    code = (
        "import sys; from tasks.vision.loading import load_recipe; load_recipe('digits');"
        "print([m for m in ('tensorflow', 'keras', 'prefect') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_importing_leaves_no_trace(tmp_path: Path) -> None:
    flows = [
        name
        for path in MODULES
        if (name := ".".join(path.with_suffix("").parts)) != "flows.__main__"
    ]
    light = [name for name in flows if name.split(".")[-1] not in HEAVY]
    code = (
        f"import os, sys; before = set(os.environ); import {', '.join(light)};"
        "print([m for m in ('tensorflow', 'keras', 'boto3', 'matplotlib.pyplot') if m in sys.modules],"
        "      [n for n in set(os.environ) - before if n.startswith(('RELEVO', 'PREFECT', 'TF_'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PREFECT_HOME": str(tmp_path / "p")},
    )
    assert answer.stdout.strip() == "[] []", answer.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"p"}


def test_the_readme_maps_every_file() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = re.search(r"```text\n(flows/.*?)```", readme, re.S)
    assert tree, "README has no map that begins with flows/"
    mapped: set[str] = set()
    folders: list[str] = []
    for line in tree[1].splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders = folders[:depth]
        if name.endswith("/"):
            folders.append(name)
        else:
            mapped.add("".join(folders) + name)
    real = {str(p) for p in MODULES if p.name != "__init__.py" or p.parts[1] == "store"}
    real |= {str(p.relative_to(ROOT)) for p in (ROOT / "flows/recipes").glob("*.toml")}
    real |= {"tasks/report.html"}
    real |= {str(p.relative_to(ROOT)) for p in (ROOT / "tasks/translations").iterdir()}
    assert mapped == real, f"missing {sorted(real - mapped)}, gone {sorted(mapped - real)}"


def test_every_promise_names_a_test_that_is_there() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    promises = readme.partition("## What it promises")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", promises))
    there = {
        node.name
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 10
    assert named <= there, named - there
