"""A run that is stopped or killed goes on where it was, and ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.command import ROOT, SMALL, Chain, Relevo, environment, started, wait_for_training

from flows.cli import app
from tasks.io.checkpoints import Checkpoints
from tasks.store.opening import open_store


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_is_resumed_with_the_same_bits(
    number: signal.Signals,
    chain: Chain,
    relevo: Relevo,
    server: str,
    prefect_home: Path,
    tmp_path: Path,
) -> None:
    words = ["run", "digits", "--stage", "ten_class", "--store", str(tmp_path / "s"), *SMALL]
    running = started(words, prefect_home, stderr=subprocess.PIPE, start_new_session=True)
    assert running.stderr is not None
    for line in running.stderr:
        if "all epoch 1/3" in line:
            break
    children = psutil.Process(running.pid).children(recursive=True)
    assert any("prefect.server" in word for child in children for word in child.cmdline())
    wait_for_training(tmp_path / "s")
    if number == signal.SIGINT:
        os.killpg(running.pid, number)  # as a terminal sends it: to the whole process group
    else:
        running.send_signal(number)
    rest = running.stderr.read()
    status = running.wait(timeout=120)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 128 + number, rest
        assert "all epoch 3/3" not in rest
        assert "the same command resumes from here" in rest
        assert "Traceback" not in rest
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "the run's own server outlives it"
    done = relevo(*words, "--json", env={"PREFECT_API_URL": server})
    stage = done.json["stages"]["ten_class"]
    assert stage["state"] == "resumed"
    assert "resuming from its last checkpoint" in done.err
    assert stage["model_digest"] == chain.first.json["stages"]["ten_class"]["model_digest"]
    assert not list((tmp_path / "s" / "checkpoints").iterdir()), "a finished stage keeps none"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run", "relevo: stopped; the same command resumes from here\n"),
        ("predict", "relevo: stopped\n"),
    ],
)
def test_only_a_stopped_run_goes_on(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", stopped)
    assert app._status([command, "latest/ten_class"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err == said


def run_changed(
    change: str, words: list[str], home: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """The command line, in a process that has run the lines of `change` first."""
    return subprocess.run(
        [sys.executable, "-c", f"{change}\nfrom flows.__main__ import main\nmain()", *words],
        cwd=ROOT,
        env={**environment(home), **more},
        capture_output=True,
        text=True,
    )


KILLED = """
import os, signal, sys
from tasks.cache.cached_task import Shelf

write = Shelf.write_path

def write_path(self, path, content, _sync=True):
    if path.startswith("train-"):
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, path, content)

Shelf.write_path = write_path
"""


def test_a_training_that_is_over_is_not_lost_before_the_cache_knows(
    chain: Chain, relevo: Relevo, server: str, prefect_home: Path, tmp_path: Path
) -> None:
    words = ["run", "digits", "--stage", "ten_class", "--store", str(tmp_path / "s"), *SMALL]
    there = {"PREFECT_API_URL": server}
    killed = run_changed(KILLED, words, prefect_home, **there)
    assert killed.returncode == -signal.SIGKILL
    again = relevo(*words, "--json", env=there)
    stage = again.json["stages"]["ten_class"]
    assert stage["state"] == "resumed"
    assert "epoch" not in again.err, "there was nothing left to learn"
    assert stage["model_digest"] == chain.first.json["stages"]["ten_class"]["model_digest"]
    assert not list((tmp_path / "s/checkpoints").iterdir())


SLOW = """
import time
from tasks.store.local import LocalStore

write = LocalStore.write

def late(self, key, *rest):
    if key.startswith("checkpoints/"):
        time.sleep(2)
    return write(self, key, *rest)

LocalStore.write = late
"""


def test_a_checkpoint_that_is_written_late_is_gone_with_the_others(
    server: str, prefect_home: Path, tmp_path: Path
) -> None:
    words = ["run", "digits", "--stage", "ten_class", "--store", str(tmp_path / "s"), *SMALL]
    done = run_changed(SLOW, words, prefect_home, PREFECT_API_URL=server)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "s/checkpoints").iterdir())


def test_a_signal_that_the_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(tmp_path), "train-1")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and a shell's & leave it
    try:
        with checkpoints.deferring_signals():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            assert not checkpoints.stop()
    finally:
        signal.signal(signal.SIGINT, before)


HURRIED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "flows.cli.app":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


def test_a_stop_before_anything_is_imported_is_one_line(prefect_home: Path) -> None:
    stopped = run_changed(HURRIED, ["runs"], prefect_home)
    assert stopped.returncode == 130
    assert stopped.stderr == "relevo: stopped\n"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_that_nobody_reads_on_ends_as_every_command_does(
    words: list[str], prefect_home: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = started(words, prefect_home, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    _, said = ended.communicate(timeout=300)
    assert (ended.returncode, said) == (128 + signal.SIGPIPE, "")
