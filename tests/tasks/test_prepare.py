"""Preparing data: published whole, split the same way every time, and CIFAR-10 downloaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.cifar import cifar_archive, serving
from support.images import png, write_folder, write_zip

from tasks.cache.cached_task import Published
from tasks.prepare import fetch_archive, prepare_images
from tasks.store.opening import open_store
from tasks.vision.data import cifar10
from tasks.vision.data.dataset import open_dataset
from tasks.vision.data.image_files import file_digest
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.prepare import prepare
from tasks.vision.data.sources import find_source, fingerprint, read_source
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Data


def test_the_digits_become_one_mapped_file_named_by_content(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    refs = []
    for name in ("one", "two"):
        found = read_source(find_source("digits"), 32)
        prepare(found, 32, 0.1, tmp_path / name)
        refs.append(store.put("dataset", tmp_path / name, ".safetensors"))
    assert refs[0] == refs[1]
    assert refs[0].sha256 in refs[0].uri
    data = open_dataset(store.fetch(refs[0]))
    train, validation, test = (data.part(split) for split in ("train", "validation", "test"))
    assert isinstance(test.images, np.memmap)
    assert test.images.dtype == np.uint8
    assert [len(p.labels) for p in (train, validation, test)] == [1293, 144, 360]
    assert train.images.shape[1:] == (32, 32, 3)


def test_validation_is_carved_from_train_class_by_class(tmp_path: Path) -> None:
    found = read_source(find_source("digits"), 16)
    about = prepare(found, 16, 0.1, tmp_path / "file")
    data = open_dataset(tmp_path / "file")
    train, validation = data.part("train"), data.part("validation")
    whole = {image.tobytes() for image in found.splits["train"].images}
    assert {image.tobytes() for image in validation.images} <= whole
    assert len(train.labels) + len(validation.labels) == len(found.splits["train"].labels)
    for kept, all_of in zip(about.counts["validation"], about.counts["train"], strict=True):
        assert kept / (kept + all_of) == pytest.approx(0.1, abs=0.01)


def test_images_in_train_and_test_are_named(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    labels = np.array([0, 1] * 10, np.int32)
    train = Split(images, labels, [f"train/{i}" for i in range(20)])
    test = Split(images[3:5].copy(), labels[3:5], ["test/a", "test/b"])
    about = prepare(
        ImageSet(["x", "y"], {"train": train, "test": test}, []), 16, 0.2, tmp_path / "file"
    )
    assert sorted(about.duplicates) == [("train/3", "test/a"), ("train/4", "test/b")]


def test_a_class_of_one_image_can_not_be_split(tmp_path: Path) -> None:
    images = np.zeros((5, 16, 16, 3), np.uint8)
    split = Split(images, np.array([0, 0, 0, 0, 1], np.int32), list("abcde"))
    with pytest.raises(BadInput, match="'rare' has one training image"):
        prepare(
            ImageSet(["common", "rare"], {"train": split, "test": split}, []),
            16,
            0.4,
            tmp_path / "f",
        )
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("write", [write_folder, write_zip], ids=["folder", "archive"])
def test_images_that_change_after_they_were_hashed_are_not_kept_under_that_hash(
    write: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path
) -> None:
    kinds = [(split, label) for split in ("train", "test") for label in ("cat", "dog")]
    files = {
        f"{split}/{label}/{i}.png": png(100 * n + i)
        for n, (split, label) in enumerate(kinds)
        for i in range(20)
    }
    path, store = write(tmp_path / "data.zip", files), open_store(tmp_path / "store")
    settings = Data(source=str(path), image_size=16)

    def prepare_again(digest: str) -> Published:
        return prepare_images.fn(str(path), settings, [], digest, store)

    before = fingerprint(find_source(str(path)))
    assert prepare_again(before).ref.kind == "dataset"
    kept = list(store.keys("datasets"))
    write(path, {**files, "train/cat/new.png": png(1000)})
    with pytest.raises(BadInput, match=r"data.zip changed while it was read; wait .+ again"):
        prepare_again(before)
    assert list(store.keys("datasets")) == kept


def test_another_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x10\0\0\0\0\0\0\0{}" + b"junk" * 10)
    with pytest.raises(BadInput, match="is not a prepared data set"):
        open_dataset(tmp_path / "x")


def test_cifar10_is_downloaded_once_and_kept_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "store")
    with serving(cifar_archive(), monkeypatch) as site:
        for name in ("first", "second"):
            folder = tmp_path / name
            folder.mkdir()
            archive = fetch_archive(store, folder)
            found = read_source(find_source("cifar10"), 32, cifar10_archive=archive)
            assert found.classes == cifar10.CLASSES
        assert site.requests == 1


def test_fetch_archive_replaces_a_ref_to_other_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "store")
    with serving(cifar_archive(), monkeypatch) as site:
        other = store.put("download", b"not CIFAR-10", ".tar.gz")
        store.write(f"downloads/{cifar10.SHA256}.json", other.model_dump_json().encode())
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            archive = fetch_archive(store, tmp_path / name)
            assert file_digest(archive) == cifar10.SHA256
        assert site.requests == 1
