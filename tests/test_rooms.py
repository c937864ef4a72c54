"""The architecture: imports run one way and without cycles, and few modules import heavy libraries.

A layer ("room" in the code) is a package of `BELOW` with all modules that are in no deeper one.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.command import ROOT


@dataclass(frozen=True)
class Module:
    """A module of the project, read and not imported."""

    name: str
    file: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def folder(self) -> str:
        return self.file.rpartition("/")[0].replace("/", ".")


def read_modules(root: Path) -> list[Module]:
    """All modules of flows/ and tasks/ below `root`."""
    found = []
    for path in sorted(p for room in ("flows", "tasks") for p in (root / room).rglob("*.py")):
        file = path.relative_to(root).as_posix()
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        found.append(Module(name, file, path.read_text("utf-8")))
    return found


MODULES = read_modules(ROOT)

# Layers that a module may import from and name: its own and those below it.
BELOW = {
    "flows.cli": {"flows.cli", "flows.workers", "flows", "tasks", "tasks.vision", "tasks.store"},
    "flows.workers": {"flows.workers", "flows", "tasks", "tasks.vision", "tasks.store"},
    "flows": {"flows", "tasks", "tasks.vision", "tasks.store"},
    "tasks": {"tasks", "tasks.vision", "tasks.store"},
    "tasks.vision": {"tasks.vision"},
    "tasks.store": {"tasks.store"},
}
ENTRANCE = ("flows.launcher", "flows.cli")  # it starts the command line
PROJECT = ("tasks.cache.code", "flows")  # a key holds the sources of both; no module is named by it

TENSORFLOW = {"tensorflow", "keras"}
TRAINS = (
    "tasks.vision.network.",
    "tasks.vision.training.",
    "tasks.vision.export.keras_file",
    "tasks.vision.pretrained.compute.",
)
# Folders of `pretrained/`, and those that their modules may import from.
PRETRAINED = {
    "graph": {"graph"},
    "readers": {"graph", "readers"},
    "keras_applications": {"graph", "readers", "keras_applications"},
    "compute": {"graph", "compute"},
}
# The same of `data/`; its own modules are above, but for `images` and, of batches, `dataset`.
DATA = {
    "layouts": {"layouts"},
    "splits": {"images", "splits"},
    "shards": {"images", "shards"},
    "pieces": {"images", "shards", "splits", "pieces"},
    "batches": {"images", "dataset", "batches"},
}
ALSO = {
    "tasks.vision.device"
}  # inside a function: whether TensorFlow sees the GPU, before work begins
LIGHT = {
    "tasks.vision.training.linear_head",
    "tasks.vision.training.calibration",
    "tasks.vision.training.dataset_features",
    "tasks.vision.training.state",
    "tasks.vision.training.fit_ood_score",
    "tasks.store.s3.blob_cache",
}  # beside what is heavy
UNTYPED = ("dict[str, Any]", "Mapping[str, Any]")
UNTYPED_DICTS = 52  # in flows/ and tasks/; may only fall


def room_of(name: str) -> str:
    """The layer of a module by its longest matching prefix; "" for other libraries."""
    rooms = [room for room in BELOW if f"{name}.".startswith(f"{room}.")]
    return max(rooms, key=len, default="")


def imports_of(module: Module, *, typing_too: bool = True) -> set[str]:
    """Every name that a module imports, at the top or inside a function, and where it is from."""
    skipped = set()
    if not typing_too:
        tests = (node for node in ast.walk(module.tree) if isinstance(node, ast.If))
        for test in (node for node in tests if ast.unparse(node.test) == "TYPE_CHECKING"):
            skipped |= {each.lineno for each in ast.walk(test) if isinstance(each, ast.stmt)}
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.stmt) and node.lineno in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = f"{'.' * node.level}{node.module or ''}"
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def strings_of(module: Module) -> Iterator[str]:
    """Every string of a module that is no docstring."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) in docstrings:
                continue
            yield node.value


def names_in(string: str) -> set[str]:
    """The modules and folders of the project that a string names: flows.recipes, tasks/report.html."""
    if string in ("flows", "tasks"):
        return {string}
    found = re.findall(r"(?<![\w./])(?:flows|tasks)(?:[./]\w+)+", string)
    return {name.replace("/", ".") for name in found}


def imports_run_one_way(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for name in sorted(imports_of(module)):
            if name.startswith("."):
                yield f"{module.file}: {name} is a relative import"
            if module.name == ENTRANCE[0] and f"{name}.".startswith(f"{ENTRANCE[1]}."):
                continue
            # `from tasks import vision` counts as what it brings, not as all of tasks.
            if (there := room_of(name)) not in {
                "",
                *BELOW[room_of(module.name)],
            } and name != "tasks":
                yield f"{module.file} may not import {name}: it is of {there}"


def no_string_names_a_room_above(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        room = room_of(module.name)
        for name in sorted(name for string in strings_of(module) for name in names_in(string)):
            if room_of(name) not in BELOW[room] and (module.name, name) != PROJECT:
                yield f"{module.file} may not name {name}"


def graph_of(modules: list[Module]) -> dict[str, set[str]]:
    """Module -> the modules that it imports anywhere, for more than its type annotations."""
    names = {module.name for module in modules}
    packages = {module.name for module in modules if module.file.endswith("/__init__.py")}
    return {
        module.name: {
            name
            for name in imports_of(module, typing_too=False) & names
            if name not in packages and name != module.name
        }
        for module in modules
    }


def modules_form_no_circle(modules: list[Module]) -> Iterator[str]:
    yield from _circle(graph_of(modules))


def rooms_form_no_circle(modules: list[Module]) -> Iterator[str]:
    """No cycles between folders; in a folder with subfolders, each module counts by itself."""
    folders = {module.folder for module in modules}
    outer = {folder.rpartition(".")[0] for folder in folders}
    room = {m.name: m.name if m.folder in outer else m.folder for m in modules}
    rooms: dict[str, set[str]] = {}
    for name, imported in graph_of(modules).items():
        rooms.setdefault(room[name], set()).update(
            {room[other] for other in imported} - {room[name]}
        )
    yield from _circle(rooms)


def pretrained_runs_one_way(modules: list[Module]) -> Iterator[str]:
    """Reading a foreign file and computing with a network share its description alone."""
    yield from _folders_run_one_way(modules, "tasks.vision.pretrained.", PRETRAINED)


def data_runs_one_way(modules: list[Module]) -> Iterator[str]:
    """How pictures lie, how they are stored and what a training sees are apart."""
    yield from _folders_run_one_way(modules, "tasks.vision.data.", DATA)


def _folders_run_one_way(
    modules: list[Module], package: str, below: dict[str, set[str]]
) -> Iterator[str]:
    """A fault for each import of a module in a folder of `package` from what is not below it there."""
    for module in modules:
        _, inside, rest = module.name.partition(package)
        folder = rest.partition(".")[0]
        for name in sorted(imports_of(module) if inside and folder in below else ()):
            _, of_package, rest = name.partition(package)
            if of_package and rest.partition(".")[0] not in below[folder]:
                yield f"{module.file} may not import {name}"


def _circle(graph: dict[str, set[str]]) -> Iterator[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"a circle: {' <- '.join(error.args[1])}"


def prefect_stays_above(modules: list[Module]) -> Iterator[str]:
    above = {"flows.cli", "flows.workers", "flows", "tasks"}
    yield from _only(modules, {"prefect"}, lambda name: room_of(name) in above)


def tensorflow_stays_where_networks_are(modules: list[Module]) -> Iterator[str]:
    yield from _only(modules, TENSORFLOW, lambda name: name.startswith(TRAINS) or name in ALSO)


def boto3_stays_with_buckets(modules: list[Module]) -> Iterator[str]:
    yield from _only(modules, {"boto3"}, lambda name: name == "tasks.store.s3.client")
    yield from _only(modules, {"botocore"}, lambda name: name.startswith("tasks.store.s3."))


def _only(modules: list[Module], libraries: set[str], may: Callable[[str], bool]) -> Iterator[str]:
    """A fault for each module that imports one of the libraries, at any level, and may not."""
    for module in modules:
        known = {name.split(".")[0] for name in imports_of(module)} & libraries
        if known and not may(module.name):
            yield f"{module.file} may not know {', '.join(sorted(known))}"


def packages_hold_a_docstring_alone(modules: list[Module]) -> Iterator[str]:
    """A re-export would bring everything that it needs into every cache key."""
    for module in modules:
        if module.file.endswith("/__init__.py") and len(module.tree.body) != 1:
            yield f"{module.file}: expected a docstring and nothing else"


def a_module_holds_one_idea(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not ast.get_docstring(module.tree):
            yield f"{module.file} says nothing about its purpose"
        lines = len(module.text.splitlines())
        if lines > 250:
            yield f"{module.file} has {lines} lines; expected 250 at most"


RULES = [
    imports_run_one_way,
    no_string_names_a_room_above,
    modules_form_no_circle,
    rooms_form_no_circle,
    pretrained_runs_one_way,
    data_runs_one_way,
    prefect_stays_above,
    tensorflow_stays_where_networks_are,
    boto3_stays_with_buckets,
    packages_hold_a_docstring_alone,
    a_module_holds_one_idea,
]
Rule = Callable[[list[Module]], Iterable[str]]


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rules_of_its_rooms(rule: Rule) -> None:
    assert list(rule(MODULES)) == []


GOOD = {
    "flows/launcher.py": "def main():\n    from flows.cli.app import main as run\n",
    "flows/cli/__init__.py": "",
    "flows/cli/app.py": "import prefect\nfrom tasks.vision.pictures import decode\ndef main(): ...\n",
    "tasks/cache/code.py": 'PROJECT = ("flows", "tasks")\n',
    "tasks/train.py": "import prefect\nfrom tasks.vision.training.loop import fit\n",
    "tasks/vision/device.py": "def f():\n    import tensorflow\n",
    "tasks/vision/pictures/__init__.py": "",
    "tasks/vision/pictures/decode.py": 'START = "from tasks.vision.pictures.decode import serve"\n',
    "tasks/vision/training/loop.py": "import keras\nfrom tasks.vision.pictures import decode\n",
    "tasks/store/s3/client.py": "import boto3\n",
}
BAD: list[tuple[Rule, str, str]] = [
    (imports_run_one_way, "tasks/x.py", "from flows.parameters import StageInputs"),
    (imports_run_one_way, "flows/x.py", "from flows.cli import app"),
    (imports_run_one_way, "flows/x.py", "def f():\n    import flows.cli.app"),
    (imports_run_one_way, "tasks/vision/x.py", "from tasks.store.base import Ref"),
    (imports_run_one_way, "tasks/vision/x.py", "from tasks import progress"),
    (imports_run_one_way, "tasks/store/x.py", "from tasks.vision import errors"),
    (imports_run_one_way, "tasks/store/x.py", "from .base import Ref"),
    (no_string_names_a_room_above, "tasks/vision/x.py", 'files("flows.recipes")'),
    (no_string_names_a_room_above, "tasks/vision/x.py", 'find_spec("tasks.cache.code")'),
    (
        no_string_names_a_room_above,
        "tasks/store/x.py",
        'START = "import sys; import tasks.vision.x"',
    ),
    (no_string_names_a_room_above, "tasks/x.py", 'Path("flows/recipes/digits.toml")'),
    (no_string_names_a_room_above, "tasks/x.py", 'PROJECT = ("flows", "tasks")'),
    (no_string_names_a_room_above, "tasks/cache/code.py", 'find_spec("flows.parameters")'),
    (
        modules_form_no_circle,
        "tasks/vision/pictures/decode.py",
        "from tasks.vision.training import loop",
    ),
    (
        modules_form_no_circle,
        "tasks/vision/pictures/decode.py",
        "def f():\n    import tasks.vision.training.loop",
    ),
    (
        rooms_form_no_circle,
        "tasks/vision/pictures/x.py",
        "from tasks.vision.training.loop import fit",
    ),
    (
        pretrained_runs_one_way,
        "tasks/vision/pretrained/compute/x.py",
        "def f():\n    from tasks.vision.pretrained.readers import keras_file",
    ),
    (
        pretrained_runs_one_way,
        "tasks/vision/pretrained/graph/x.py",
        "from tasks.vision.pretrained.compute.fold import fold",
    ),
    (
        data_runs_one_way,
        "tasks/vision/data/layouts/x.py",
        "from tasks.vision.data.pieces.picture_set import Pictures",
    ),
    (
        data_runs_one_way,
        "tasks/vision/data/shards/x.py",
        "def f():\n    from tasks.vision.data import dataset",
    ),
    (prefect_stays_above, "tasks/vision/x.py", "from prefect import task"),
    (prefect_stays_above, "tasks/store/x.py", "def f():\n    import prefect.runtime"),
    (tensorflow_stays_where_networks_are, "tasks/x.py", "def f():\n    import tensorflow as tf"),
    (
        tensorflow_stays_where_networks_are,
        "tasks/vision/pictures/x.py",
        "from keras.utils import get_file",
    ),
    (boto3_stays_with_buckets, "tasks/store/x.py", "from botocore import exceptions"),
    (boto3_stays_with_buckets, "tasks/store/s3/x.py", "import boto3"),
    (
        packages_hold_a_docstring_alone,
        "tasks/store/__init__.py",
        "from tasks.store.base import Ref",
    ),
    (a_module_holds_one_idea, "tasks/x.py", "x = 1\n" * 250),
]


def tree(root: Path, files: dict[str, str]) -> list[Module]:
    """The modules of a project of such files, each with a docstring."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f'"""Its purpose."""\n{text}\n')
    return read_modules(root)


@pytest.mark.parametrize(("rule", "file", "text"), BAD)
def test_a_rule_is_broken_by_one_bad_module(
    rule: Rule, file: str, text: str, tmp_path: Path
) -> None:
    assert [fault for each in RULES for fault in each(tree(tmp_path, GOOD))] == []
    faults = list(rule(tree(tmp_path, {file: text})))
    assert faults
    name = file.removesuffix(".py").replace("/", ".")
    assert all(fault.startswith((file, "a circle")) for fault in faults), faults
    assert any(part in faults[0] for part in (file, name, name.rpartition(".")[0]))


def test_a_circle_of_annotations_alone_is_none(tmp_path: Path) -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tasks.vision.training import loop"
    modules = tree(tmp_path, {**GOOD, "tasks/vision/pictures/decode.py": typed})
    assert [*modules_form_no_circle(modules), *rooms_form_no_circle(modules)] == []


def test_a_module_without_a_purpose_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/x.py").write_text("x = 1\n")
    assert list(a_module_holds_one_idea(read_modules(tmp_path)))


def test_untyped_dicts_only_decrease() -> None:
    found = {m.file: sum(map(m.text.count, UNTYPED)) for m in MODULES}
    total = sum(found.values())
    assert total <= UNTYPED_DICTS, (
        f"{total} of {' and '.join(UNTYPED)}, at most {UNTYPED_DICTS} expected: give your own document a "
        f"frozen dataclass or a pydantic model. { ({k: v for k, v in found.items() if v}) }"
    )
    assert total == UNTYPED_DICTS, f"fewer than before: lower UNTYPED_DICTS to {total}"


def test_recipes_load_without_tensorflow_or_prefect() -> None:
    code = (
        "import sys; from flows.recipes.load import load_recipe; load_recipe('digits');"
        "print([m for m in ('tensorflow', 'keras', 'prefect') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_importing_leaves_no_trace(tmp_path: Path) -> None:
    heavy = (*TRAINS, "tasks.store.s3.", "flows.__main__")
    light = [m.name for m in MODULES if m.name in LIGHT or not m.name.startswith(heavy)]
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


def test_the_readme_maps_every_folder() -> None:
    """A line names one folder or more; lines indented below it are inside the last of them."""
    readme = (ROOT / "README.md").read_text("utf-8")
    tree = re.search(r"```text\n(flows/.*?)```", readme, re.S)
    assert tree, "README has no map that begins with flows/"
    mapped: list[str] = []
    parents: list[str] = []
    for line in tree[1].splitlines():
        parts = re.fullmatch(r"( *)((?:[\w/]+/ )+) *(\S.*)", line)
        assert parts, f"expected FOLDER/ [FOLDER/]... and what they hold: {line}"
        depth, names = len(parts[1]) // 2, parts[2].split()
        assert parts[3].count(";") >= len(names) - 1, f"what does each folder hold? {line}"
        mapped += ["".join([*parents[:depth], name])[:-1].replace("/", ".") for name in names]
        parents = [*parents[:depth], names[-1]]
    real = {module.folder for module in MODULES}
    assert set(mapped) == real, f"missing {real - set(mapped)}, gone {set(mapped) - real}"
    assert len(mapped) == len(real)


def test_every_promise_names_a_test_that_is_there() -> None:
    page = (ROOT / "tests/README.md").read_text("utf-8")
    promises = page.partition("## What relevo promises")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", promises))
    there = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 10
    assert named <= there, named - there
