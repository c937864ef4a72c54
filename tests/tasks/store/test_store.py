"""What every store does, on a local folder and on S3 (moto's server, over HTTP)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.buckets import Backend
from support.command import ROOT
from support.stores import BAD_KEYS

from tasks.store.base import Damaged, Missing, Store, StoreError, Unavailable
from tasks.store.keys import checked_key
from tasks.store.opening import open_store

BYTES = bytes(range(256)) * 40


def test_fetch_returns_what_was_put(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "some.bin"
    file.write_bytes(BYTES[1:])
    for content, size in ((BYTES, len(BYTES)), (file, len(BYTES) - 1), (b"", 0)):
        ref = store.put("dataset", content, ".bin")
        path = store.fetch(ref)
        assert ref.size == size
        assert path.read_bytes() == (content if isinstance(content, bytes) else file.read_bytes())
        assert hashlib.sha256(path.read_bytes()).hexdigest() == ref.sha256


def test_put_returns_the_same_ref_in_every_store(store: Store) -> None:
    parent = store.put("dataset", b"parent")
    ref = store.put("model", b"hello", ".bin", digest="0" * 64, made_from=(parent,))
    assert parent.digest == parent.sha256
    assert ref.model_dump() == {
        "kind": "model",
        "uri": "models/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824.bin",
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "size": 5,
        "digest": "0" * 64,
        "made_from": (parent.model_dump(),),
    }


def test_put_is_idempotent(store: Store) -> None:
    assert store.put("model", BYTES) == store.put("model", BYTES)
    assert len(list(store.keys("models"))) == 1


def test_exists_after_the_first_write(store: Store) -> None:
    assert not store.exists()
    store.write("runs/a", b"")
    assert store.exists()


def test_create_leaves_what_is_there(store: Store) -> None:
    assert store.create("aliases/best/00000001.json", b"first")
    assert not store.create("aliases/best/00000001.json", b"second")
    assert store.read("aliases/best/00000001.json") == b"first"
    assert list(store.keys("aliases")) == ["aliases/best/00000001.json"]
    assert list(store.unfinished()) == []
    with pytest.raises(ValueError, match="expected a relative path"):
        store.create("../x", b"")


def test_create_needs_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, "no links here, as on exFAT")

    monkeypatch.setattr(os, "link", refuse)
    store = open_store(tmp_path)
    assert store.create("aliases/best/00000001.json", b"first")
    assert not store.create("aliases/best/00000001.json", b"second")
    assert store.read("aliases/best/00000001.json") == b"first"


def test_entry_equals_the_listed_one(store: Store) -> None:
    ref = store.put("model", BYTES)
    assert [store.entry(ref.uri)] == list(store.entries("models"))
    with pytest.raises(Missing, match="models/none"):
        store.entry("models/none")


def test_put_touches_a_stored_blob(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ref = store.put("model", BYTES)
    os.utime(tmp_path / ref.uri, (0, 0))
    store.put("model", BYTES)
    assert datetime.now(UTC) - store.entry(ref.uri).modified < timedelta(hours=1)


def test_fetch_and_read_of_nothing_are_missing(store: Store) -> None:
    ref = store.put("model", BYTES)
    store.delete(ref.uri)
    store.delete(ref.uri)
    with pytest.raises(Missing, match=ref.uri):
        store.fetch(ref)
    with pytest.raises(Missing, match="runs/none"):
        store.read("runs/none")
    assert list(store.keys("runs")) == []


@pytest.mark.parametrize(
    "change", [b"", b"short", BYTES[:-1] + b"!"], ids=["empty", "short", "bit"]
)
def test_fetch_refuses_a_damaged_blob_until_put_again(backend: Backend, change: bytes) -> None:
    ref = backend.store.put("model", BYTES)
    backend.overwrite(ref.uri, change)
    with pytest.raises(Damaged, match=ref.uri):
        backend.store.fetch(ref)
    aside = backend.store.set_aside(ref.uri)
    assert backend.store.read(aside) == change
    with pytest.raises(Missing):
        backend.store.fetch(ref)
    assert backend.store.put("model", BYTES) == ref
    assert backend.store.fetch(ref).read_bytes() == BYTES


def test_delete_failure_is_one_line(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write("runs/a/run.json", b"{}")
    with pytest.raises(StoreError, match=re.escape(str(tmp_path))):
        store.delete("runs/a")  # a folder; a file of another user is refused by the same call


@pytest.mark.parametrize("change", [b"short", BYTES[:-1] + b"!"], ids=["short", "bit"])
def test_put_repairs_a_damaged_blob(backend: Backend, change: bytes) -> None:
    ref = backend.store.put("model", BYTES)
    backend.overwrite(ref.uri, change)
    assert backend.store.put("model", BYTES) == ref
    assert backend.store.fetch(ref).read_bytes() == BYTES


def test_set_aside_deletes_nothing_during_an_outage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(key: str, to: str) -> None:
        raise Unavailable("no network")

    store.write("runs/a", b"whole")
    with monkeypatch.context() as patch:
        patch.setattr(store, "copy", unreachable)
        with pytest.raises(Unavailable):
            store.set_aside("runs/a")
    assert store.read("runs/a") == b"whole"


def test_keys_lists_only_the_folder_sorted(store: Store) -> None:
    names = ["runs/b/run.json", "runs/a/x/y", "runs/a.b", "runs/B", "runs/a/x-z", "runs~/c", "run"]
    for name in names:
        store.write(name, b"")
    assert list(store.keys("runs")) == [
        "runs/B",
        "runs/a.b",
        "runs/a/x-z",
        "runs/a/x/y",
        "runs/b/run.json",
    ]
    assert list(store.keys("runs/a")) == ["runs/a/x-z", "runs/a/x/y"]
    assert list(store.keys("nothing")) == []


def test_copy_puts_the_same_bytes_under_another_key(store: Store) -> None:
    ref = store.put("model", BYTES)
    store.write("runs/a/model.safetensors", b"an earlier version")
    store.copy(ref.uri, "runs/a/model.safetensors")
    assert store.read("runs/a/model.safetensors") == BYTES
    assert store.entry("runs/a/model.safetensors").marked
    store.write("runs/a/model.safetensors", b"edited")
    assert store.fetch(ref).read_bytes() == BYTES, "a copy shares no bytes with its source"
    assert list(store.unfinished()) == []


def test_copy_of_nothing_is_missing_and_writes_nothing(store: Store) -> None:
    store.write("runs/a/run.json", b"{}")
    for key in ("models/none", "runs/a"):
        with pytest.raises(Missing, match=key):
            store.copy(key, "runs/b")
    assert list(store.keys("runs")) == ["runs/a/run.json"]


def test_touch_changes_the_age_alone(store: Store) -> None:
    ref = store.put("model", BYTES)
    before = store.entry(ref.uri)
    time.sleep(1.1)  # S3's timestamps are in whole seconds
    store.touch(ref.uri)
    assert store.entry(ref.uri).modified > before.modified
    assert store.fetch(ref).read_bytes() == BYTES
    with pytest.raises(Missing):
        store.touch("models/none")


def test_write_replaces_a_document(store: Store) -> None:
    store.write("latest", b"a long first version")
    store.write("latest", b"short")
    assert store.read("latest") == b"short"
    assert store.address("latest").endswith("/latest")


ESCAPING = ["", "/", "/etc/passwd", "../x", "a/../x", "a/./x", ".", "a//b", "a/", "a\0"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_write_refuses_other_than_plain_keys(store: Store, key: str) -> None:
    uses: list[Callable[[], Any]] = [
        lambda: store.write(key, b""),
        lambda: store.copy("runs/a", key),
        lambda: checked_key(key),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="expected a relative path"):
            use()


@pytest.mark.parametrize("key", ESCAPING)
def test_no_key_leads_out_of_a_store(store: Store, key: str) -> None:
    uses: list[Callable[[], Any]] = [
        lambda: store.read(key),
        lambda: store.delete(key),
        lambda: store.touch(key),
        lambda: store.copy(key, "runs/b"),
        lambda: store.entry(key),
        lambda: store.sha256(key),
        lambda: list(store.keys(key)),
        lambda: store.address(key),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="expected a relative path"):
            use()


def test_foreign_names_are_listed_read_and_deleted(backend: Backend) -> None:
    backend.store.write("runs/R/run.json", b"")
    names = ["runs/R/my notes.txt", "runs/R/notas año.txt", "runs/R/a\\b"]
    for name in names:
        backend.overwrite(name, b"note")
    assert [*backend.store.keys("runs/R")] == sorted([*names, "runs/R/run.json"])
    for name in names:
        assert backend.store.read(name) == b"note"
        assert backend.store.entry(name).size == 4
        backend.store.delete(name)
    assert [*backend.store.keys("runs/R")] == ["runs/R/run.json"]


def test_a_kill_before_the_rename_leaves_nothing_to_see(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from tasks.store.opening import open_store;"
        "pathlib.Path.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL);"
        "open_store(sys.argv[1]).put('model', b'half')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    store = open_store(tmp_path)
    assert len(list((tmp_path / "models").iterdir())) == 1, "it was killed too early"
    assert list(store.keys("models")) == []
    ref = store.put("model", b"half")
    assert store.fetch(ref).read_bytes() == b"half"


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        StoreError, match=r"can't be written \(.+\); make it a folder .+ or give another"
    ) as raised:
        open_store(tmp_path / "file" / "store").put("model", BYTES)
    with pytest.raises(StoreError, match="can't be written"):
        open_store(tmp_path / "file" / "store").check()
    open_store(tmp_path / "not" / "yet" / "there").check()
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "a check leaves nothing"
    assert "\n" not in str(raised.value)


def test_unreadable_folder_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "closed" / "store")
    ref = store.put("model", BYTES)
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:  # as it is for anybody but root
        if path.is_relative_to(tmp_path / "closed") and path != tmp_path / "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(StoreError, match=r"can't be written \(Permission denied\); make it"):
        store.check()
    looks = (
        lambda: list(store.keys("runs")),
        lambda: store.fetch(ref),
        lambda: store.entry(ref.uri),
    )
    for look in (*looks, store.exists):
        with pytest.raises(StoreError, match=r"can't be read \(Permission denied\); make it"):
            look()


@pytest.mark.parametrize("address", ["~nobody-here/x", "file://~nobody-here/x"])
def test_open_store_refuses_the_home_of_nobody(address: str) -> None:
    with pytest.raises(StoreError, match="no home"):
        open_store(address)


@pytest.mark.parametrize("address", ["http://x/y", "gs://bucket/x"])
def test_open_store_refuses_other_schemes(address: str) -> None:
    with pytest.raises(StoreError, match="give a folder or s3://bucket/prefix"):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://my.bucket-1/a/b/", "s3://my.bucket-1/a/b"),
    ],
)
def test_open_store_normalizes_the_address(address: str, uri: str) -> None:
    assert open_store(address).uri == uri
    assert open_store(address).address("runs/a") == f"{uri}/runs/a"
