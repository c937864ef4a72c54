"""CIFAR-10: downloaded once, checked, read in its order, and never unpickled into code."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import refused, same
from PIL import Image

from tasks.vision import cifar10
from tasks.vision.sources import ImageSet, find_source, read_source


def old_pickle(value: Any) -> bytes:
    """A value as Python 2 pickled it, in protocol 2: what the published batches are."""

    def write(value: Any) -> bytes:
        if isinstance(value, bytes):
            return b"T" + struct.pack("<I", len(value)) + value
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, list):
            return b"](" + b"".join(map(write, value)) + b"e"
        if isinstance(value, dict):
            items = b"".join(write(key) + write(one) for key, one in value.items())
            return b"}(" + items + b"u"
        shape = write(value.shape[0]) + write(value.shape[1]) + b"\x86"
        return (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R(K\1"
            + shape
            + b"cnumpy\ndtype\nU\2u1K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xff"
            + b"J\xff\xff\xff\xffK\0tb\x89"
            + write(value.tobytes())
            + b"tb"
        )

    return b"\x80\2" + write(value) + b"."


def cifar_batch(seed: int, count: int = 7) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    return {
        b"batch_label": b"a batch",
        b"labels": rng.integers(0, 10, count).tolist(),
        b"data": rng.integers(0, 256, (count, 3072), np.uint8),
        b"filenames": [b"file_%d_%d.png" % (seed, index) for index in range(count)],
    }


def cifar_archive(change: Callable[[dict[str, bytes]], None] = lambda _: None) -> bytes:
    files = {"batches.meta": b"not read", "test_batch": old_pickle(cifar_batch(6))}
    for number in (4, 1, 5, 3, 2):
        files[f"data_batch_{number}"] = old_pickle(cifar_batch(number))
    change(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class Site:
    """A web site on this machine that gives one file; `faults` make it break off or fail."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.fault = ""
        self.requests = 0
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests += 1
                self.send_response(503 if site.fault == "busy" else 200)
                self.send_header("Content-Length", str(len(site.body)))
                self.end_headers()
                self.wfile.write(site.body[: 100 if site.fault == "broken" else None])

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/cifar-10-python.tar.gz"


@contextlib.contextmanager
def serving(body: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(body)
    thread = threading.Thread(target=site.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(cifar10, "URL", site.url)
    monkeypatch.setattr(cifar10, "SHA256", hashlib.sha256(body).hexdigest())
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def read_cifar(cache_dir: Path, image_size: int = 32, **options: Any) -> ImageSet:
    return read_source(find_source("cifar10"), image_size, cache_dir=cache_dir, **options)


def test_cifar10_is_downloaded_once_and_read_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "new" / "cache"
    with serving(cifar_archive(), monkeypatch) as site:
        found = read_cifar(cache)
        assert found.classes == cifar10.CLASSES
        batches = [cifar_batch(number) for number in (1, 2, 3, 4, 5)]
        train, test = found.splits["train"], found.splits["test"]
        pixels = np.concatenate([batch[b"data"] for batch in batches])
        assert np.array_equal(train.images, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        assert train.labels.tolist() == [label for batch in batches for label in batch[b"labels"]]
        assert train.labels.dtype == np.int32
        label = cifar10.CLASSES[train.labels[8]]
        assert train.names[8] == f"train/{label}/file_2_1.png"
        assert test.names[0].endswith("/file_6_0.png")
        assert same(read_cifar(cache), found)
        assert site.requests == 1

        small = read_cifar(cache, 16, splits=("test",))
        assert list(small.splits) == ["test"]
        fitted = Image.fromarray(test.images[3]).resize((16, 16), Image.Resampling.LANCZOS)
        assert np.array_equal(small.splits["test"].images[3], np.asarray(fitted))

        [archive] = cache.iterdir()
        archive.write_bytes(archive.read_bytes()[:-1])
        assert same(read_cifar(cache), found), "a damaged copy is replaced"
        assert site.requests == 2


def test_cifar10_with_another_hash_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(cifar_archive(), monkeypatch) as site:
        monkeypatch.setattr(cifar10, "SHA256", "0" * 64)
        refused(lambda: read_cifar(tmp_path), site.url, "0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["busy", "broken", "nobody there"])
def test_a_failed_download_may_be_tried_again(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(cifar_archive(), monkeypatch) as site:
        site.fault = fault
        if fault == "nobody there":
            monkeypatch.setattr(cifar10, "URL", "http://127.0.0.1:9/cifar.tar.gz")
        with pytest.raises(ConnectionError) as caught:
            read_cifar(tmp_path)
        assert cifar10.URL in str(caught.value)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []
        site.fault = ""
        monkeypatch.setattr(cifar10, "URL", site.url)
        assert len(read_cifar(tmp_path).splits["train"].names) == 35


def evil(files: dict[str, bytes]) -> None:
    files["test_batch"] = b"\x80\2cos\nsystem\nU\x0ctouch harmed\x85R."


def wrong_shape(files: dict[str, bytes]) -> None:
    files["test_batch"] = old_pickle(cifar_batch(6) | {b"labels": [1, 2]})


def wrong_label(files: dict[str, bytes]) -> None:
    files["test_batch"] = old_pickle(cifar_batch(6) | {b"labels": [10] * 7})


def no_test(files: dict[str, bytes]) -> None:
    del files["test_batch"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (evil, "os.system"),
        (wrong_shape, "2 labels"),
        (wrong_label, "7 labels"),
        (no_test, "no test_batch"),
    ],
)
def test_a_pickle_that_is_no_batch_is_refused_and_calls_nothing(
    change: Callable[[dict[str, bytes]], None],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving(cifar_archive(change), monkeypatch):
        refused(lambda: read_cifar(tmp_path / "cache"), "cifar-10-python.tar.gz", expected)
    assert not (tmp_path / "harmed").exists()


def test_a_cache_that_can_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with serving(cifar_archive(), monkeypatch):
        refused(lambda: read_cifar(tmp_path / "file" / "cache"), str(tmp_path), "can't be kept")
