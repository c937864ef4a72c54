"""Listing runs: each once, the newest last, with requests that grow with the runs and not with their files."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.buckets import Backend, StartRelay
from support.stores import finish_run

from flows.cli.runs import runs, show
from tasks.runs.listing import Runs, all_runs, last_runs, reserved, run_names
from tasks.runs.publish import run_name
from tasks.store.base import Unavailable
from tasks.store.local import LocalStore
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty runs, three with names that a user chose, and one that was never finished."""
    store = tmp_path_factory.mktemp("store")
    for number in range(30):
        started = NOON + timedelta(minutes=number)
        chosen = number % 10 == 0
        finish_run(store, f"mine-{number}" if chosen else run_name("digits", started), started)
    begun = store / "runs" / run_name("digits", NOON + timedelta(days=1))
    begun.mkdir()
    (begun / "unfinished.json").write_text("{}")
    return store


def upload(store: Path, s3: Any, bucket: str, more: int = 0) -> str:
    """Upload the runs, each with `more` figures; return the store's address."""
    for path in sorted((store / "runs").rglob("*.json")):
        key = path.relative_to(store).as_posix()
        s3.put_object(Bucket=bucket, Key=f"x/{key}", Body=path.read_bytes())
        for number in range(more if path.name == "run.json" else 0):
            figure = f"x/{key.removesuffix('run.json')}figures/{number}.png"
            s3.put_object(Bucket=bucket, Key=figure, Body=b"")
    return f"s3://{bucket}/x"


@pytest.mark.parametrize("files", [0, 20])
def test_requests_grow_with_the_runs_and_not_with_their_files(
    files: int,
    folder: Path,
    s3: Any,
    bucket: str,
    relay: StartRelay,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = upload(folder, s3, bucket, files)
    monkeypatch.setenv(
        "MOTO_S3_DEFAULT_MAX_KEYS", "40"
    )  # a page of 1,000 would hide the difference

    def requests(command: Any) -> int:
        watch = relay()
        command()
        return len(watch.requests)

    # A page of folders; a look at each folder, and another at what was never finished.
    assert requests(lambda: runs(store=address)) <= 2 + 31
    assert len(capsys.readouterr().out.splitlines()) > 30
    # The names that a user chose say no time, the newest folder was never finished.
    assert requests(lambda: show(store=address)) <= 1 + 3 + 2
    assert requests(lambda: show("mine-10", store=address)) == 1
    assert requests(lambda: last_runs(address, 5)) <= 1 + 3 + 1 + 5
    assert requests(open_store(address).check) == 1


def test_runs_are_listed_once_in_the_order_of_their_start(folder: Path) -> None:
    names = run_names(str(folder))
    assert len(names) == len({*names}) == 30
    found, damaged = all_runs(str(folder))
    assert [each.run for each in found] == names
    assert [each.started for each in found] == [NOON + timedelta(minutes=n) for n in range(30)]
    assert damaged == []
    assert [each.run for each in last_runs(str(folder), 4)] == names[-4:]


class SlowStore(LocalStore):
    """A folder whose reads take a while, as a bucket's do, and may fail; counts those under way."""

    broken = ""
    under_way = most = 0

    def read(self, key: str, *limit: int) -> bytes:
        with counting:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        time.sleep(0.05)
        with counting:
            self.under_way -= 1
        if self.broken and self.broken in key:
            raise Unavailable(f"{key} is out of reach")
        return super().read(key, *limit)


counting = threading.Lock()


def test_summaries_are_read_several_at_a_time(folder: Path) -> None:
    store = SlowStore(folder)
    runs = Runs(store)
    runs.read_all()
    assert store.most == 8
    assert [*runs.newest_first()] == [*Runs(LocalStore(folder)).newest_first()]
    store.broken = "mine-10"
    with pytest.raises(Unavailable, match=r"mine-10/run\.json is out of reach"):
        Runs(store).read_all()


def test_folders_are_named_without_their_files(backend: Backend) -> None:
    for key in ("runs/b/run.json", "runs/a/figures/1.png", "runs/a/run.json", "runs/file"):
        backend.store.write(key, b"x")
    assert backend.store.folders("runs") == ["a", "b"]
    assert backend.store.folders("models") == []
    assert Runs(backend.store).is_finished("a")


def test_of_two_runs_of_one_name_the_second_is_refused(backend: Backend) -> None:
    other = open_store(backend.store.uri)
    with reserved(backend.store, "mine", wait=False):
        with reserved(other, "another", wait=False):
            pass
        under_way = pytest.raises(BadInput, match="'mine': another run of that name is under way")
        with under_way, reserved(other, "mine", wait=False):
            pytest.fail("both have the name")
        backend.store.write("runs/mine/run.json", b"{}")
    with (
        pytest.raises(BadInput, match="has a run of that name"),
        reserved(other, "mine", wait=True),
    ):
        pytest.fail("the name is taken")
