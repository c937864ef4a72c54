"""A watcher starts a run when enough has changed and settled; of several at the same moment, one does."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.images import png
from support.stores import finish_run, mark

from tasks.runs.verify import check_all
from tasks.runs.watch_record import Watch, WatchStart
from tasks.store.base import Store
from tasks.vision.errors import BadInput
from tasks.watch.enough import Enough
from tasks.watch.listing import list_data
from tasks.watch.look import Look, RunState, look, watch_name

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SETTLE = timedelta(minutes=10)


def add(folder: Path, *names: str, at: datetime = NOW - timedelta(days=1)) -> None:
    """Write pictures, which a listing takes for written at that time."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(len(name)))
        os.utime(folder / name, (at.timestamp(), at.timestamp()))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty pictures. The time of an inode's change, which no test can set, doesn't count."""
    from tasks.vision.files.containers import Folder

    states = Folder.states

    def without_change(folder: Folder, paths: Any) -> Any:
        found = states(folder, paths)
        found[:, 2] = 0
        return found

    monkeypatch.setattr(Folder, "states", without_change)
    add(tmp_path / "photos", *(f"{label}/{i}.png" for label in ("cat", "dog") for i in range(10)))
    return tmp_path / "photos"


@pytest.fixture
def home(tmp_path: Path) -> Store:
    return mark(tmp_path / "store")


def look_at(
    home: Store,
    photos: Path,
    minutes: float = 0,
    enough: str = "1%",
    state: RunState = "running",
) -> Look:
    at = NOW + timedelta(minutes=minutes)
    return look(home, "own", str(photos), Enough.parse(enough), SETTLE, lambda _: state, at)


def finished(home: Store, photos: Path) -> WatchStart:
    """The start of a run that has finished."""
    start = look_at(home, photos).begin("own", "Ada")
    assert start
    finish_run(Path(home.uri), start.run)
    return start


def test_a_run_starts_when_enough_has_changed_since_the_last_one(home: Store, photos: Path) -> None:
    first = look_at(home, photos)
    assert (first.decision, first.why) == ("start", "no run has seen this data")
    assert (first.changes.added, first.changes.folders) == (20, {"cat": 10, "dog": 10})
    finished(home, photos)
    assert look_at(home, photos, 1).decision == "unchanged"
    add(photos, "cat/new.png")
    (photos / "notes.txt").write_text("no picture")
    (photos / ".hidden.png").write_bytes(png(1))
    few = look_at(home, photos, 15, enough="10%")
    assert (few.decision, few.why) == ("too few", "1 changed; a run starts at 2 (10 %)")
    assert few.changes.folders == {"cat": 1}
    (photos / "dog/0.png").unlink()
    (photos / "dog/1.png").write_bytes(b"longer than before" * 100)
    os.utime(photos / "dog/1.png", (NOW.timestamp() - 9999,) * 2)
    look_at(home, photos, 30, enough="10%")
    seen = look_at(home, photos, 45, enough="10%")
    assert (seen.changes.added, seen.changes.removed, seen.changes.written) == (1, 1, 1)
    assert seen.decision == "start"


def test_five_hundred_uploads_are_one_run(home: Store, photos: Path) -> None:
    finished(home, photos)
    started = []
    for minute in range(0, 120, 5):
        if minute < 60:  # they come in for an hour
            at = NOW + timedelta(minutes=minute)
            add(photos, *(f"cat/{minute}-{i}.png" for i in range(42)), at=at)
        seen = look_at(home, photos, minute)
        if seen.decision == "start":
            start = seen.begin("own", "Ada")
            assert start
            started.append((minute, start.added))
            finish_run(Path(home.uri), start.run)
        else:
            assert seen.decision == ("settling" if minute < 65 else "unchanged")
    assert started == [(65, 504)]


def test_of_two_watchers_at_once_one_starts_the_run(store: Store, photos: Path) -> None:

    barrier, starts = threading.Barrier(4), list[WatchStart | None]()

    def watch(home: Store) -> None:
        seen = look_at(home, photos)
        barrier.wait()
        starts.append(seen.begin("own", "Ada"))

    threads = [threading.Thread(target=watch, args=(home,)) for home in [store] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(starts) == 4
    assert len([each for each in starts if each]) == 1
    assert Watch.of(store, watch_name("own", str(photos))).numbers == (1,)
    assert look_at(store, photos).decision == "running"


def test_an_interrupted_run_is_started_again_three_times_at_most(home: Store, photos: Path) -> None:
    start = look_at(home, photos).begin("own", "Ada")
    assert start
    for attempt in (2, 3):
        seen = look_at(home, photos, attempt, state="interrupted")
        assert (seen.decision, seen.why) == ("start", f"the run {start.run} was interrupted")
        again = seen.begin("own", "Ada")
        assert again
        assert (again.run, again.attempt) == (start.run, attempt)
    given_up = look_at(home, photos, 9, state="interrupted")
    assert given_up.decision == "failed"
    assert "started 3 times" in given_up.why
    add(photos, "cat/new.png")
    look_at(home, photos, 10, "50%", "failed")
    mended = look_at(home, photos, 30, "50%", "failed").begin("own", "Ada")
    assert mended
    assert (mended.run != start.run, mended.attempt, mended.added) == (True, 1, 21)


def test_a_listing_in_a_bucket_goes_by_etags(bucket: str, s3: Any, home: Store) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        s3.put_object(Bucket=bucket, Key=f"photos/{name}", Body=png(len(name)))
    address = f"s3://{bucket}/photos"
    before = list_data(address)
    assert len(before.rows) == 3
    s3.put_object(Bucket=bucket, Key="photos/cat/1.png", Body=png(9))  # the same: no change
    assert not list_data(address).changes_since(before.packed(), before.whole).files
    s3.put_object(Bucket=bucket, Key="photos/cat/1.png", Body=png(99))
    s3.put_object(Bucket=bucket, Key="photos/bird/1.png", Body=png(3))
    s3.delete_object(Bucket=bucket, Key="photos/dog/1.png")
    found = list_data(address).changes_since(before.packed(), before.whole)
    assert (found.added, found.removed, found.written) == (1, 1, 1)
    assert found.folders == {"bird": 1}


def test_an_archive_and_a_table_are_enough_in_themselves(home: Store, photos: Path) -> None:
    (photos / "labels.csv").write_text("file,label\ncat/1.png,cat\n")
    os.utime(photos / "labels.csv", (NOW.timestamp() - 9999,) * 2)
    finished(home, photos)
    (photos / "labels.csv").write_text("file,label\ncat/1.png,dog\n")
    os.utime(photos / "labels.csv", (NOW.timestamp() - 8888,) * 2)
    look_at(home, photos, 15, enough="50%")
    assert look_at(home, photos, 30, enough="50%").decision == "start"


def test_a_damaged_record_is_named_and_passed_over(home: Store, photos: Path) -> None:
    start = finished(home, photos)
    look_at(home, photos)
    watch = Watch.of(home, start.watch)
    content = home.read(watch.key(1)).replace(b'"attempt": 1', b'"attempt": 2')
    home.write(watch.key(1), content)
    faults = [each.key for each in check_all(home.uri) if each.fault and "watch/" in each.key]
    assert faults == [watch.key(1)]
    seen = look_at(home, photos)
    assert (seen.decision, seen.changes.added) == ("start", 20)
    second = seen.begin("own", "Ada")
    assert second
    assert second.number == 2


def test_what_never_changes_is_not_watched(home: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for data, line in (
        ("digits", "never changes"),
        (str(tmp_path / "empty"), "holds no picture"),
        (str(tmp_path / "nowhere"), "isn't there"),
        ("gs://bucket/photos", "can't be listed"),
    ):
        with pytest.raises(BadInput, match=line):
            look(home, "own", data, Enough(), SETTLE, lambda _: "running")


@pytest.mark.parametrize("given", ["", "0", "-1", "1.5", "0%", "101%", "many", "1 %%"])
def test_a_number_of_changes_that_means_nothing_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="expected a number of files or a share"):
        Enough.parse(given)


def test_numbers_and_shares_are_read() -> None:
    assert Enough.parse("50").of(10) == 50
    assert (Enough.parse("1 %").of(250), Enough.parse("1%").of(10)) == (3, 1)
