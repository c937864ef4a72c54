"""relevo finds its own modules and its libraries, whatever lies in the working folder or on PYTHONPATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT, environment

NO_RUNS = '{"runs": [], "sweeps": []}\n'
STRANGERS = ("tasks.py", "cyclopts.py", "rich/__init__.py", "keras/__init__.py", "socket.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of somebody else: importing any of its modules ends the process."""
    for name in STRANGERS:
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise SystemExit('{name} was imported')\n")
    return tmp_path / "theirs"


def python(
    *words: str | Path, cwd: Path, path: list[Path], shell: str = ""
) -> subprocess.CompletedProcess[str]:
    env = {**environment(cwd / "prefect"), "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, *map(str, words)]
    if shell:
        command = ["bash", "-c", f'exec "$@" {shell}', "bash", *command]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def test_module_flows_ignores_the_working_folder(folder: Path) -> None:
    done = python("-m", "flows", "runs", "--store", "none", cwd=folder, path=[ROOT])
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "no runs in" in done.stderr


@pytest.mark.parametrize("installed", ["wheel", "editable"])
def test_console_script_finds_its_own_modules_before_those_on_pythonpath(
    installed: str, folder: Path, tmp_path: Path
) -> None:
    (folder / "flows").mkdir()
    (folder / "flows/__init__.py").write_text("raise SystemExit('flows was imported')")
    site = tmp_path / "site"
    site.mkdir()
    if installed == "editable":
        (site / "relevo").symlink_to(ROOT / "flows")
        start = f"import sys; sys.path.insert(0, {str(site)!r}); import relevo; "
        start += f"relevo.__path__[:] = [{str(ROOT / 'flows')!r}]; "
    else:
        for name in ("flows", "tasks"):
            shutil.copytree(ROOT / name, site / name, ignore=shutil.ignore_patterns("*.pyc"))
        (site / "relevo").mkdir()
        shutil.copy(ROOT / "flows/__init__.py", site / "relevo")
        shutil.copy(ROOT / "flows/launcher.py", site / "relevo")
        start = f"import sys; sys.path.append({str(site)!r}); "
    start += "sys.argv = ['relevo', 'runs', '--store', 'none']; "
    start += "from relevo.launcher import main; main()"
    for path in ([folder], [Path()]):
        done = python("-P", "-c", start, cwd=folder, path=path)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "no runs in" in done.stderr


def test_programs_that_are_started_find_the_same_modules(folder: Path) -> None:
    (folder / "show.py").write_text(
        "import os, sys, flows, tasks\n"
        "print(flows.__file__, tasks.__file__, os.environ['PYTHONSAFEPATH'], sys.argv[1:])"
    )
    away = folder.parent
    done = python("-P", ROOT / "flows/launcher.py", "show", "--all", cwd=away, path=[folder])
    assert done.stdout.split() == [
        str(ROOT / "flows/__init__.py"),
        str(ROOT / "tasks/__init__.py"),
        "1",
        "['--all']",
    ], done.stderr


@pytest.mark.parametrize(
    ("closed", "output"),
    [("<&-", NO_RUNS), ("2>&-", NO_RUNS), (">&-", ""), ("<&- >&- 2>&-", "")],
)
def test_commands_work_with_closed_standard_streams(
    closed: str, output: str, tmp_path: Path
) -> None:
    words = ("-m", "flows", "runs", "--json", "--store", tmp_path / "none")
    done = python(*words, cwd=tmp_path, path=[ROOT], shell=closed)
    assert (done.returncode, done.stdout) == (0, output), done.stderr
