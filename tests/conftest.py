"""Shared fixtures: the command line, a Prefect server, and a small chain trained once per session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock
from support.command import ROOT, SMALL, Chain, Outcome, Relevo, environment, run_in_new_python
from support.forks import Forks

os.environ["TF_ENABLE_ONEDNN_OPTS"] = (
    "1"  # as `loading_tensorflow` does, before a test imports TensorFlow
)
# nohup and a shell's & set SIGINT to be ignored in all child processes; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["support.buckets"]

# Files that take minutes, the longest first: one that starts last leaves the other processors idle.
# `test_prefect_address` first, since the settings of a test server stay with its process.
LONG = (
    "test_prefect_address",
    *("test_chaos", "test_fleet", "test_run_s3", "test_accessible"),
    *("test_export", "test_stop", "test_run", "test_new_recipe"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of long files before the others, which stay in their order."""
    rank = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def _processor() -> None:
    """Set TensorFlow up before any test computes with it, since it can be set up only once."""
    if "tensorflow" in sys.modules:  # imported by a file of tests that were collected
        from tasks.vision.device import Device
        from tasks.vision.network.runtime import set_up

        set_up(Device("cpu", "tests", "float32"))


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Prefect for the tests, so that they don't use the developer's profile."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def relevo(prefect_home: Path) -> Iterator[Relevo]:
    """Run the command line in a process of its own, most often a fork of one that has imported libraries."""
    forks = Forks(environment(prefect_home))

    def run(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Outcome:
        return forks.run(words, cwd or ROOT, {**environment(prefect_home), **(env or {})})

    yield run
    forks.stop()


@pytest.fixture(scope="session")
def server(prefect_home: Path) -> Iterator[str]:
    """One Prefect server for the whole session, since each start takes seconds."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        from prefect.settings import PREFECT_API_URL

        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def chain(
    relevo: Relevo, prefect_home: Path, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    """The small digits chain, run three times on a fresh store, the first time with a server of its own.

    That is in a new interpreter, with other hashes of strings than in the forks whose results are compared
    with its own. It is trained once per session; each process of pytest-xdist has a copy.
    """
    own = tmp_path_factory.mktemp("chain") / "store"
    apart = "PYTEST_XDIST_WORKER" not in os.environ
    shared = own.parent if apart else tmp_path_factory.getbasetemp().parent
    made, said = shared / "chain-made", shared / "chain-said.json"
    with FileLock(shared / "chain-lock"):
        if not said.exists():
            command = ["run", "digits", "--store", str(made), "--json", *SMALL]
            first = run_in_new_python(command, environment(prefect_home), ROOT)
            env = {"PREFECT_API_URL": server}
            second = relevo(*command, env={"PYTHONPROFILEIMPORTTIME": "1", **env})
            spanish = relevo(*command, "--lang", "es", env=env)
            said.write_text(json.dumps([asdict(each) for each in (first, second, spanish)]))
    shutil.copytree(made, own)
    outcomes = (
        Outcome(each["status"], each["out"].replace(str(made), str(own)), each["err"])
        for each in json.loads(said.read_text())
    )
    return Chain(own, *outcomes)
