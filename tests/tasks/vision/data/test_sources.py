"""Sources of images: names, reading order, and fingerprints."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.command import ROOT
from support.images import (
    JPEG_XL,
    encoded,
    peak_memory,
    png,
    read,
    refused,
    same,
    small_set,
    write_any,
    write_folder,
    write_tar,
    write_zip,
)

from tasks.vision.data import cifar10
from tasks.vision.data.labelled import Split
from tasks.vision.data.prepare import find_twins
from tasks.vision.data.sources import Source, find_source, fingerprint, read_source

# Naming a source


def test_find_source_resolves_names_and_paths(tmp_path: Path) -> None:
    assert find_source("digits") == Source("digits", "digits", None)
    assert find_source("cifar10") == Source("cifar10", "cifar10", None)
    assert find_source(str(tmp_path)) == Source(tmp_path.name, "folder", tmp_path)
    for name in ("a.zip", "a.TAR", "a.tar.gz", "a.tgz"):
        path = tmp_path / name
        path.touch()
        assert find_source(str(path)) == Source(name, "archive", path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("digit", "did you mean 'digits'?"),
        ("CIFAR-10", "did you mean 'cifar10'?"),
        ("{tmp}/picturs", "did you mean '{tmp}/pictures'?"),
        ("{tmp}/nowhere/at/all", "isn't there"),
        ("{tmp}/notes.txt", "no folder, archive or table"),
        ("{tmp}/pipe.zip", "no folder, archive or table"),
        ("", "isn't there"),
        ("a\0b", "isn't there"),
        ("x" * 5000, "can't be a path"),
    ],
)
def test_find_source_refuses_what_is_no_source(given: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "pipe.zip")
    given, expected = given.format(tmp=tmp_path), expected.format(tmp=tmp_path)
    refused(lambda: find_source(given), repr(given), expected, "digits, cifar10", ".tar.gz")


# Folders and archives


def test_folder_is_read_in_order_of_names(tmp_path: Path) -> None:
    files = small_set()
    found = read(write_folder(tmp_path / "set", files))
    assert found.classes == ["car", "zebra crossing"]
    assert list(found.splits) == ["train", "test"]
    assert found.unreadable == []
    for name, split in found.splits.items():
        expected = sorted(key for key in files if key.startswith(name))
        assert split.names == expected
        assert split.labels.dtype == np.int32
        assert [found.classes[label] for label in split.labels] == [
            key.split("/")[1] for key in expected
        ]
        assert split.images.shape == (len(expected), 8, 8, 3)
        assert split.images.dtype == np.uint8
        for key, image in zip(expected, np.asarray(split.images), strict=True):
            whole = Image.open(io.BytesIO(files[key]))
            fitted = ImageOps.fit(whole, (8, 8), Image.Resampling.LANCZOS)
            assert np.array_equal(image, np.asarray(whole if whole.size == (8, 8) else fitted)), key


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tar.gz"])
@pytest.mark.parametrize("top", ["", "./", "top/", "top folder/"])
def test_archive_reads_like_its_folder(name: str, top: str, tmp_path: Path) -> None:
    files = small_set()
    folder = read(write_folder(tmp_path / "plain", files))
    noise = {
        "train/__MACOSX/1.png": b"junk",
        "train/car/.hidden.png": b"junk",
        "train/.ipynb_checkpoints/1.png": b"junk",
        "train/car/notes.txt": b"not an image, and not named like one",
        ".git/config": b"",
        "README.md": b"",
    }
    mixed = dict(sorted((files | noise).items(), key=lambda item: hashlib.md5(item[1]).digest()))
    mixed = {f"{top}{key}": data for key, data in mixed.items()}
    assert same(read(write_any(tmp_path / name, mixed)), folder)
    assert same(read(write_any(tmp_path / "noisy", mixed)), folder)


def test_read_source_reads_only_the_given_splits(tmp_path: Path) -> None:
    files = small_set()
    both = read(write_folder(tmp_path / "both", files))
    only = {name: data for name, data in files.items() if name.startswith("test")}
    path = write_folder(tmp_path / "only", only)
    found = read(path, splits=("test",))
    assert found.classes == both.classes
    assert list(found.splits) == ["test"]
    assert np.array_equal(found.splits["test"].images, both.splits["test"].images)
    refused(lambda: read(path), str(path), "no folder train", "found: test")
    refused(lambda: read(path, splits=("validation",)), "validation", "train, test")
    refused(lambda: read(path, splits=()), "train, test")
    refused(lambda: read(path, 0, splits=("test",)), "image size 0")


@pytest.mark.parametrize("name", ["set", "set.zip"])
@pytest.mark.parametrize(
    ("folder", "place"),
    [("test/", ""), ("val/", "val"), ("Validation/", "Validation"), ("", "."), ("my/test/", "")],
)
def test_without_a_test_split_what_is_there_is_read(
    folder: str, place: str, name: str, tmp_path: Path
) -> None:
    files = {f"{folder}{label}/{i}.png": png(i) for label in "ab" for i in range(20)}
    files |= {f"{folder}a/broken.png": b"", f"{folder}c/notes.png": b".", f"{folder}a/x.txt": b""}
    if place not in ("", "."):
        files |= {"train/a/1.png": png(1)}
    options: dict[str, Any] = {"splits": ("test",), "max_unreadable": None}
    path = write_any(tmp_path / name, files)
    found = read(path, instead=True, **options)
    assert found.classes == ["a", "b", "c"]
    assert found.instead == place
    assert len(found.splits["test"].names) == 40
    assert len(found.unreadable) == 2
    assert [each.kind for each in found.left_out] == [".txt"]
    if place:
        refused(lambda: read(path, **options), "no folder t")


def test_images_without_classes_can_not_be_scored(tmp_path: Path) -> None:
    options: dict[str, Any] = {"splits": ("test",), "max_unreadable": None, "instead": True}
    flat = write_folder(tmp_path / "flat", {"1.png": png(1)})
    refused(
        lambda: read(flat, **options), "no class folders; expected", "found: 1.png: sort the images"
    )
    nothing = write_folder(tmp_path / "nothing", {"readme.md": b""})
    refused(
        lambda: read(nothing, **options),
        "no class folders; expected",
        "readme.md: no images are there",
    )
    broken = write_folder(tmp_path / "broken", {"a/1.png": b"", "a/2.png": b""})
    refused(lambda: read(broken, **options), "2 of 2 images in test", "expected one that can be")


# Files that can't be read


def test_archive_that_was_removed_is_refused(tmp_path: Path) -> None:
    source = find_source(str(write_zip(tmp_path / "a.zip", small_set())))
    (tmp_path / "a.zip").unlink()
    refused(lambda: read_source(source, 8), "a.zip")
    refused(lambda: fingerprint(source), "a.zip")


def test_files_that_can_not_be_opened_are_named(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", small_set())
    (path / "train/car/gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(path / "train/car/pipe.png")
    with (path / "train/car/vast.png").open("wb") as file:
        file.truncate(100_000_000)
    found = read(path, max_unreadable=0.5)
    assert [line.split(": ")[0] for line in found.unreadable] == [
        "train/car/gone.png",
        "train/car/pipe.png",
        "train/car/vast.png",
    ]
    assert len(found.splits["train"].names) == 13


def test_link_loop_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", small_set())
    (path / "train/gone").symlink_to(tmp_path / "nowhere")
    for target in ("loop", ".", "../.."):
        (path / "train/loop").symlink_to(target)
        link = str(path / "train/loop")
        refused(lambda: read(path), f"{link} is a link", "to itself", "remove the link")
        (path / "train/loop").unlink()


def test_max_unreadable_applies_per_split(tmp_path: Path) -> None:
    files = {f"train/car/{index:03}.png": png(index) for index in range(100)}
    files |= {f"test/car/{index}.png": png(index) for index in range(4)}
    one = read(write_folder(tmp_path / "one", files | {"train/car/007.png": b""}))
    assert one.unreadable == ["train/car/007.png: an empty file, not an image"]
    assert len(one.splits["train"].names) == 99
    path = write_folder(tmp_path / "test", files | {"test/car/2.png": b""})
    refused(lambda: read(path), "1 of 4 images in test", "test/car/2.png", "data.max_unreadable")
    five = {f"train/car/{index:03}.png": b"" for index in range(5)}
    path = write_folder(tmp_path / "five", files | five)
    refused(lambda: read(path), "5 of 100", "car/000.png", "car/004.png", "at most 3 (data.")
    many = {f"train/car/{index:03}.png": b"" for index in range(15)}
    message = refused(lambda: read(write_folder(tmp_path / "many", files | many)), "; and 5 more;")
    assert "car/010.png" not in message


def test_a_few_damaged_files_of_a_small_data_set_are_left_out(tmp_path: Path) -> None:
    files = {f"train/car/{index:03}.png": png(index) for index in range(40)}
    files |= {f"test/car/{index}.png": png(index) for index in range(4)}
    files |= {f"train/car/{index:03}.png": b"" for index in (7, 8, 30)}
    path = write_folder(tmp_path / "set", files)
    assert len(read(path).unreadable) == 3
    refused(lambda: read(path, max_unreadable=0.0), "3 of 40 images in train", "expected at most 0")


def test_class_of_unreadable_images_is_refused(tmp_path: Path) -> None:
    files = small_set() | {"train/dog/1.png": b"", "test/dog/1.png": png(1)}
    path = write_folder(tmp_path / "set", files)
    refused(lambda: read(path, max_unreadable=0.5), "train/dog/1.png", "one in each class")


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar.gz"])
def test_photos_of_unsupported_formats_are_named(name: str, tmp_path: Path) -> None:
    """By their bytes; a raw photo begins with a TIFF of its thumbnail."""
    thumbnail = encoded(Image.new("RGB", (16, 12)), "TIFF", tiffinfo={254: 1})
    photos = {"train/car/a.JXL": JPEG_XL, "train/car/b.nef": thumbnail}
    path = write_any(tmp_path / name, small_set() | photos)
    found = read(path, max_unreadable=0.5)
    assert found.unreadable == [
        "train/car/a.JXL: JPEG XL can't be read; convert it to JPEG",
        "train/car/b.nef: a raw photo can't be read; convert it to JPEG",
    ]
    assert len(found.splits["train"].names) == 13
    refused(lambda: read(path), "2 of 15 images in train", "a.JXL: JPEG XL", "convert it to JPEG")


def test_raw_photo_beside_its_png_is_ignored(tmp_path: Path) -> None:
    """As cameras write them, two files a picture."""
    raw = {f"{name.rpartition('.')[0]}.NEF": b"raw" for name in small_set()}
    found = read(write_folder(tmp_path / "set", small_set() | raw))
    assert found.unreadable == []
    assert len(found.splits["train"].names) == 13


# Digits


def test_digits_are_the_scans_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    scans = load_digits()
    found = read_source(find_source("digits"), 8)
    assert found.classes == [str(digit) for digit in range(10)]
    train, test = found.splits["train"], found.splits["test"]
    assert (len(train.names), len(test.names)) == (1437, 360)
    assert sorted(train.names + test.names) == [f"digits/{row:04d}" for row in range(1797)]
    for split in (train, test):
        rows = [int(name[-4:]) for name in split.names]
        grey = np.rint(scans.images[rows] * 255 / 16)
        assert np.array_equal(split.images, np.repeat(grey[..., None], 3, 3))
        assert np.array_equal(split.labels, scans.target[rows])
        assert split.labels.dtype == np.int32
    shares = np.bincount(test.labels) / np.bincount(np.concatenate([train.labels, test.labels]))
    assert np.abs(shares - 0.2).max() < 0.01  # stratified


def test_digits_are_the_same_every_time_and_at_other_sizes() -> None:
    first = read_source(find_source("digits"), 32)
    assert same(first, read_source(find_source("digits"), 32))
    images = np.asarray(first.splits["test"].images)
    assert images.shape == (360, 32, 32, 3)
    assert images.dtype == np.uint8
    small = np.asarray(
        read_source(find_source("digits"), 8, splits=("test",)).splits["test"].images
    )
    assert np.abs(images.mean((1, 2, 3)) - small.mean((1, 2, 3))).max() < 8


# Duplicates and fingerprints


def test_duplicates_are_found_and_named(tmp_path: Path) -> None:
    files = small_set()
    twin = Image.open(io.BytesIO(files["train/zebra crossing/0é.png"]))
    files["test/car/copy.png"] = files["train/car/0é.png"]
    files["train/car/0é again.png"] = files["train/car/0é.png"]
    files["test/car/other encoding.bmp"] = encoded(twin, "BMP")
    found = read(write_folder(tmp_path / "set", files))
    train, test = found.splits["train"], found.splits["test"]
    duplicates, contradictions = find_twins(train, test)
    assert duplicates == [
        ("train/car/0é again.png", "test/car/copy.png"),
        ("train/zebra crossing/0é.png", "test/car/other encoding.bmp"),
    ]
    assert contradictions == [("train/zebra crossing/0é.png", "test/car/other encoding.bmp")]
    none = Split(test.images[:0], test.labels[:0], [])
    assert find_twins(none, test) == find_twins(test, none) == ([], [])
    assert find_twins(test, test)[0] == [(name, name) for name in test.names]


def test_one_image_with_two_labels_is_named(tmp_path: Path) -> None:
    files = small_set()
    files["train/car/z.png"] = files["train/zebra crossing/0é.png"]
    found = read(write_folder(tmp_path / "set", files))
    assert find_twins(*found.splits.values()) == (
        [],
        [("train/car/z.png", "train/zebra crossing/0é.png")],
    )


def fingerprint_of(path: Path) -> str:
    return fingerprint(find_source(str(path)))


def test_fingerprint_depends_on_content_alone(tmp_path: Path) -> None:
    files = small_set()
    first = fingerprint_of(write_folder(tmp_path / "a", files))
    assert len(first) == 64
    assert int(first, 16)
    noise = {"README.md": b"", "train/car/notes.txt": b"", "train/car/.hidden.png": b""}
    assert fingerprint_of(write_folder(tmp_path / "b", files | noise)) == first
    write_folder(tmp_path / "c" / "inner", files)
    assert fingerprint_of(tmp_path / "c") == first

    changed = bytearray(files["test/car/1é.png"])
    changed[-1] ^= 1
    others = [
        files | {"test/car/1é.png": bytes(changed)},
        files | {"test/car/more.png": png(1)},
        {name: data for name, data in files.items() if name != "test/car/1é.png"},
        {name.replace("1é", "one"): data for name, data in files.items()},
        {name.replace("/car/", "/bus/"): data for name, data in files.items()},
    ]
    prints = {
        fingerprint_of(write_folder(tmp_path / str(number), other))
        for number, other in enumerate(others)
    }
    assert len(prints | {first}) == len(others) + 1


def test_fingerprint_of_an_archive_is_its_hash(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", small_set())
    assert fingerprint_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_fingerprints_of_named_sources() -> None:
    assert fingerprint(find_source("cifar10")) == cifar10.SHA256
    digits = fingerprint(find_source("digits"))
    assert len(digits) == 64
    assert digits == fingerprint(find_source("digits"))


# Costs


def test_importing_is_light() -> None:
    code = (
        "import sys, tasks.vision.data.sources as _; heavy = 'tensorflow', 'keras', 'prefect', 'sklearn'"
        "; print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_read_source_needs_little_more_memory_than_its_result(tmp_path: Path) -> None:
    """A tar of 96 MB of pictures, read into 0.3 MB: only a few MiB of it are held at a time."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    picture = encoded(Image.fromarray(noise), "BMP")
    files = {f"train/car/{index}.bmp": picture for index in range(200)}
    path = write_tar(tmp_path / "a.tar", files)
    with peak_memory() as peak:
        read(path, 24, splits=("train",), workers=2)
        assert peak() < 45e6
