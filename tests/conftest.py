"""One small chain, trained once per test session on scikit-learn's digits, that tests look at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tasks.vision.model import Architecture, Card

ROOT = Path(__file__).parents[1]
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as `loading_tensorflow` does, before a test imports it
# nohup and a shell's & leave Ctrl-C ignored in all that they start; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A chain small enough for a test: the digits recipe with narrow networks and few epochs.
SMALL = [
    "--set=defaults.network.widths=[8, 16, 16]",
    "--set=stages.transfer.epochs=10",
    "--set=stages.ten_class_from_baseline.epochs=10",
    "--set=stages.ten_class_from_transfer.head_epochs=10",
    "--set=stages.baseline.epochs=3",
    "--set=stages.ten_class.epochs=3",
    "--set=stages.ten_class_from_transfer.epochs=2",
]


# Those that take minutes, the longest first: one that begins last leaves a processor idle for so long.
LONG = (
    *("test_flows_chaos", "test_fleet", "test_flows_s3", "test_tasks_accessible"),
    *("test_tasks_export", "test_flows_stop", "test_flows_run", "test_flows_new_recipe"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files before the others, which stay in their order."""
    rank = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def _processor() -> None:
    """Set TensorFlow up before any test computes with it, since it can be set up only once."""
    if "tensorflow" in sys.modules:  # imported by a file of tests that were collected
        from tasks.vision.hardware import Device
        from tasks.vision.runtime import set_up

        set_up(Device("cpu", "tests", "float32"))


@dataclass
class Outcome:
    """What a finished command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON object."""
        assert self.status == 0, self.err
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Relevo = Callable[..., Outcome]


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Prefect's own for the tests, so that they see no profile of the person's."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def relevo(prefect_home: Path) -> Relevo:
    """Run the command line in a process of its own, as a user does."""

    def run(*words: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "flows", *words],
            capture_output=True,
            text=True,
            cwd=cwd or ROOT,
            env={**environment(prefect_home), **(env or {})},
            timeout=1500,  # eight at once on a slow machine
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


def started(
    words: Sequence[str], prefect_home: Path, server: str | None = None, **options: Any
) -> subprocess.Popen[str]:
    """The command line, begun and not waited for; without a server it starts its own."""
    there = {"PREFECT_API_URL": server} if server else {}
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *words],
        text=True,
        cwd=ROOT,
        env={**environment(prefect_home), **there},
        **options,
    )


def wait_for_training(store: Path) -> None:
    """Until a stage has a checkpoint."""
    end = time.monotonic() + 600
    while not any((store / "checkpoints").glob("train-*")):
        assert time.monotonic() < end
        time.sleep(0.02)


def bare_card(architecture: Architecture, labels: list[str], classes: list[list[str]]) -> Card:
    """A model's card that says no more than it must."""
    return Card(
        architecture=architecture,
        labels=labels,
        classes=classes,
        train="all",
        epochs=1,
        kept_epoch=1,
        seconds=1.0,
        images=1,
        images_per_second=1.0,
        flip=True,
        device="cpu",
        history=[],
    )


def environment(prefect_home: Path) -> dict[str, str]:
    """This process' environment without a server or a store of the person's."""
    strange = ("PREFECT_", "RELEVO_", "AWS_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    patience = {
        "PREFECT_API_REQUEST_TIMEOUT": "300",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
    }
    return {**kept, **patience, "PREFECT_HOME": str(prefect_home), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def server(prefect_home: Path) -> Iterator[str]:
    """One Prefect server for the whole session: starting one per command would cost seconds each."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        from prefect.settings import PREFECT_API_URL

        yield str(PREFECT_API_URL.value())


@dataclass
class Chain:
    """The small chain's store, and what its two first runs printed."""

    store: Path
    first: Outcome
    second: Outcome


@pytest.fixture(scope="session")
def chain(relevo: Relevo, server: str, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The small digits chain, run twice on a fresh store, first with a server of its own.

    It is trained once; each process of pytest-xdist has a copy.
    """
    own = tmp_path_factory.mktemp("chain") / "store"
    apart = "PYTEST_XDIST_WORKER" not in os.environ
    shared = own.parent if apart else tmp_path_factory.getbasetemp().parent
    made, said = shared / "chain-made", shared / "chain-said.json"
    with FileLock(shared / "chain-lock"):
        if not said.exists():
            command = ["run", "digits", "--store", str(made), "--json", *SMALL]
            first = relevo(*command)
            second = relevo(
                *command, env={"PYTHONPROFILEIMPORTTIME": "1", "PREFECT_API_URL": server}
            )
            said.write_text(json.dumps([asdict(first), asdict(second)]))
    shutil.copytree(made, own)
    first, second = (
        Outcome(each["status"], each["out"].replace(str(made), str(own)), each["err"])
        for each in json.loads(said.read_text())
    )
    return Chain(own, first, second)
