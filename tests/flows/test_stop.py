"""A run that is stopped or killed resumes from its checkpoint, and ends with the same bits."""

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

from tasks.io.checkpoints import Checkpoints
from tasks.store.opening import open_store


def stop_at(line: str, number: signal.Signals, words: list[str], home: Path, store: Path) -> None:
    """Start a run with a server of its own, and stop it by a signal when it trains and has printed `line`."""
    running = started(words, home, stderr=subprocess.PIPE, start_new_session=True)
    assert running.stderr is not None
    for each in running.stderr:
        if line in each:
            break
    children = psutil.Process(running.pid).children(recursive=True)
    assert any("prefect.server" in word for child in children for word in child.cmdline())
    wait_for_training(store)
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
    assert not alive, "the run's own server outlived it"


def test_stopped_run_is_resumed_with_the_same_bits(
    chain: Chain, relevo: Relevo, server: str, prefect_home: Path, tmp_path: Path
) -> None:
    """Stopped by SIGTERM, its resumption by Ctrl-C, and the next one killed."""
    store = tmp_path / "s"
    words = ["run", "digits", "--stage", "ten_class", "--store", str(store), *SMALL]
    resumes = "resuming from its last checkpoint"
    stop_at("all epoch 1/3", signal.SIGTERM, words, prefect_home, store)
    stop_at(resumes, signal.SIGINT, words, prefect_home, store)
    stop_at(resumes, signal.SIGKILL, words, prefect_home, store)
    done = relevo(*words, "--json", env={"PREFECT_API_URL": server})
    stage = done.json["stages"]["ten_class"]
    assert stage["state"] == "resumed"
    assert resumes in done.err
    assert stage["model_digest"] == chain.first.json["stages"]["ten_class"]["model_digest"]
    assert not list((store / "checkpoints").iterdir()), "a finished stage leaves no checkpoint"


def run_hooked(
    event: str, part: str, action: str, words: list[str], home: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """The command line in a process that takes an action at Python's audit event on a name with `part`."""
    code = HOOKED.format(event=event, part=part, action=action)
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env={**environment(home), **more},
        capture_output=True,
        text=True,
    )


HOOKED = """
import os, signal, sys, time

def hook(event, arguments):
    if event == {event!r} and any({part!r} in str(each) for each in arguments[:2]):
        {action}

sys.addaudithook(hook)
from flows.launcher import main
main()
"""


def test_finished_training_survives_a_kill_before_it_is_cached(
    chain: Chain, relevo: Relevo, server: str, prefect_home: Path, tmp_path: Path
) -> None:
    words = ["run", "digits", "--stage", "ten_class", "--store", str(tmp_path / "s"), *SMALL]
    there = {"PREFECT_API_URL": server}
    # A record of the cache is written to a temporary file, which is then renamed.
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    killed = run_hooked("os.rename", "/cache/train-", kill, words, prefect_home, **there)
    assert killed.returncode == -signal.SIGKILL
    again = relevo(*words, "--json", env=there)
    stage = again.json["stages"]["ten_class"]
    assert stage["state"] == "resumed"
    assert "epoch" not in again.err, "nothing was trained again"
    assert stage["model_digest"] == chain.first.json["stages"]["ten_class"]["model_digest"]
    assert not list((tmp_path / "s/checkpoints").iterdir())


def test_checkpoint_that_is_written_late_is_deleted_too(
    server: str, prefect_home: Path, tmp_path: Path
) -> None:
    words = ["run", "digits", "--stage", "ten_class", "--store", str(tmp_path / "s"), *SMALL]
    done = run_hooked(
        *("os.rename", "/checkpoints/", "time.sleep(2)"),
        words,
        prefect_home,
        PREFECT_API_URL=server,
    )
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "s/checkpoints").iterdir())


def test_signal_that_the_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    checkpoints = Checkpoints(open_store(tmp_path), "train-1")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and a shell's & leave it
    try:
        with checkpoints.deferring_signals():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            assert not checkpoints.stop()
    finally:
        signal.signal(signal.SIGINT, before)


STOPPED = "relevo: stopped\n"
RESUMES = "relevo: stopped; the same command resumes from here\n"


@pytest.mark.parametrize(
    ("module", "command", "said"),
    [
        ("flows.cli.app", ["runs"], STOPPED),
        ("tasks.inference.predict", ["predict", "latest/ten_class", "tests"], STOPPED),
        ("flows.recipes.load", ["run", "digits"], RESUMES),
    ],
    ids=["before anything is imported", "predict", "run"],
)
def test_stopped_command_prints_one_line_which_offers_to_resume_only_a_run(
    module: str, command: list[str], said: str, prefect_home: Path, tmp_path: Path
) -> None:
    words = [*command, "--store", str(tmp_path / "s")]
    interrupt = "os.kill(os.getpid(), signal.SIGINT)"
    stopped = run_hooked("import", module, interrupt, words, prefect_home)
    assert stopped.returncode == 128 + signal.SIGINT
    assert stopped.stderr == said


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_ends_by_sigpipe_when_its_reader_has_closed(
    words: list[str], prefect_home: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = started(words, prefect_home, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    _, said = ended.communicate(timeout=300)
    assert (ended.returncode, said) == (128 + signal.SIGPIPE, "")
