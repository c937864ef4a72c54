"""Help and documents cover all commands, options and recipe keys; examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
from pathlib import Path

import pytest
from support.command import ROOT, Relevo

from flows.cli.app import app
from tasks.vision.recipe.data import Data
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.schema import LabelScheme, Network, ProgressiveResize, Stage

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = sorted(name for name in app if not name.startswith("-"))
WITH_EXAMPLES = sorted(
    path.relative_to(ROOT)
    for room in ("flows", "tasks")
    for path in (ROOT / room).rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


def test_the_contracts_commands_are_there() -> None:
    expected = {"run", "plan", "runs", "show", "compare", "evaluate", "predict", "verify", "gc"}
    assert expected <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_has_help_with_an_example(
    command: str, relevo: Relevo
) -> None:
    assert re.search(rf"relevo {command}\b", README)
    done = relevo(command, "--help", env={"COLUMNS": "80"})
    assert done.status == 0
    assert re.search(rf"^Example: relevo {command}\b", done.out, re.M)
    assert max(map(len, done.out.splitlines())) <= 80
    for argument in app[command].assemble_argument_collection(parse_docstring=True):
        shared = argument.name == "*"  # a dataclass of options, each of which comes by itself
        assert shared or argument.parameter.help, f"{command}: {argument.name} has no help"


def test_every_key_of_a_recipe_is_in_the_readme_beside_them() -> None:
    section = (ROOT / "flows/recipes/README.md").read_text("utf-8")
    keys = {
        key
        for model in (Recipe, Data, LabelScheme, Network, ProgressiveResize, Stage)
        for key in model.model_fields
    }
    code = " ".join(re.findall(r"```toml\n.*?```|`[^`]+`", section, re.S))
    assert {key for key in keys if not re.search(rf"\b{key}\b", code)} == set()


def test_contributing_names_files_that_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = page.partition("\n## Where things go\n")[2].partition("\n## ")[0]
    changes = re.findall(r"(?m)^\*\*A new (.+)\*\*$", section)
    assert changes == [
        *("optimizer", "network", "augmentation"),
        *("recipe key", "picture format", "command"),
    ]
    paths = re.findall(r"`([\w/]+/[\w.-]+\.\w+|\w+\.(?:md|toml|txt))`", section)
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings_run(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_the_readme_walks_through_own_photos_in_five_commands() -> None:
    section = README.partition("\n## Your own photos")[2].partition("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.S)
    assert block
    commands = block[1].splitlines()
    assert len(commands) == 5
    assert "pip install" in commands[0]
    named = {words[1] for line in commands if (words := line.split())[0] == "relevo"}
    assert {"new-recipe", "run"} <= named <= set(COMMANDS)


def test_bash_completes_commands_and_options(relevo: Relevo, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "SHELL": "/bin/bash", "BASH_VERSION": "5"}
    done = relevo("--install-completion", env=home)
    assert done.status == 0, done.err
    script = tmp_path / ".local/share/bash-completion/completions/relevo"
    ask = f"""
        source {script}
        complete_words() {{
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _relevo; echo "${{COMPREPLY[@]}}"
        }}
        complete_words relevo comp
        complete_words relevo run --see
    """
    shell = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
    assert shell.stdout.split() == ["compare", "--seed"], shell.stderr
