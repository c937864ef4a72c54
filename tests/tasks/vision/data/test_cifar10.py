"""CIFAR-10: downloaded once, checked, read in order; its pickles run no code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.cifar import cifar_archive, cifar_batch, old_pickle, serving
from support.images import refused, same, write_folder

from tasks.vision.data import cifar10
from tasks.vision.data.labelled import ImageSet
from tasks.vision.data.sources import find_source, read_source


def read_cifar(cache_dir: Path, image_size: int = 32, **options: Any) -> ImageSet:
    archive = cifar10.fetch(cache_dir)
    return read_source(find_source("cifar10"), image_size, cifar10_archive=archive, **options)


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
def test_cifar10_download_can_be_retried_after_a_failure(
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
def test_cifar10_pickle_that_is_no_batch_is_refused_and_calls_nothing(
    change: Callable[[dict[str, bytes]], None],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    body = cifar_archive(change)
    write_folder(tmp_path, {"cache/cifar-10-python.tar.gz": body})  # a download takes seconds
    with serving(body, monkeypatch) as site:
        refused(lambda: read_cifar(tmp_path / "cache"), "cifar-10-python.tar.gz", expected)
    assert site.requests == 0
    assert not (tmp_path / "harmed").exists()


def test_cifar10_cache_that_can_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with serving(cifar_archive(), monkeypatch):
        refused(lambda: read_cifar(tmp_path / "file" / "cache"), str(tmp_path), "can't be stored")
