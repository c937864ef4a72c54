"""The layout train/<class>/ and test/<class>/: where it is found and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from support.images import (
    encoded,
    png,
    read,
    refused,
    same,
    small_set,
    write_any,
    write_folder,
)

from tasks.vision.data.sources import find_source, fingerprint


def test_parent_of_a_data_set_is_accepted(tmp_path: Path) -> None:
    plain = read(write_folder(tmp_path / "high" / "set", small_set()))
    (tmp_path / "high" / "other").mkdir()
    assert same(read(tmp_path / "high"), plain)
    write_folder(tmp_path / "high" / "set2", small_set())
    refused(lambda: read(tmp_path / "high"), "several data sets", "set, set2")


LAYOUT_FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], list[str]]] = {
    "no train": (
        lambda files: {name: data for name, data in files.items() if "test" in name},
        ["no folder train", "found: test/: give pictures to learn from"],
    ),
    "a test by another name": (
        lambda files: {f"01_{name}": data for name, data in files.items()},
        ["found: 01_test/, 01_train/: did you mean test? rename 01_test"],
    ),
    "two for train": (
        lambda files: {**files, "Training/car/1.png": png(1)},
        ["holds Training, train, all of them for train; expected one"],
    ),
    "two for validation alone": (
        lambda _: {"val/a/1.png": png(1), "valid/a/1.png": png(1)},
        ["holds val, valid, all of them for validation"],
    ),
    "nothing at all": (lambda _: {"notes.txt": b""}, ["found: notes.txt: no images are there"]),
    "empty class": (lambda files: files | {"train/dog/": b""}, ["no images in 'train/dog'"]),
    "class without images": (
        lambda files: files | {"test/dog/notes.txt": b"."},
        ["no images in 'test/dog'"],
    ),
    "no classes": (
        lambda _: {"train/": b"", "test/": b""},
        ["no class folders in train"],
    ),
    "images without a class": (
        lambda files: files | {"train/1.png": png(1)},
        ["train/1.png", "move it"],
    ),
    "classes in groups": (
        lambda files: {name.replace("/", "/vehicles/", 1): files[name] for name in files},
        [
            "no images in train/vehicles but in folders of it: car, zebra crossing; expected",
            "move these folders up if they are classes",
        ],
    ),
    "a class of other files": (
        lambda files: files | {"train/dog/1.tga": bytes(300), "train/dog/notes.txt": b"."},
        ["no images in 'train/dog', only .tga (1), .txt (1); expected"],
    ),
    "misspelt class in test": (
        lambda files: files | {"test/carr/1.png": png(1)},
        ["classes in test that train lacks: carr", "did you mean car?"],
    ),
    "class without test images": (
        lambda files: files | {"train/ferry/1.png": png(1), "train/bike/1.png": png(2)},
        ["classes in train that test lacks: bike, ferry", "test has car, zebra crossing"],
    ),
    "names with line breaks": (
        lambda files: files | {"test/a\nb/1.png": png(1)},
        ["classes in test that train lacks: a\\nb"],
    ),
}


@pytest.mark.parametrize("name", ["set", "set.zip"])
@pytest.mark.parametrize("fault", LAYOUT_FAULTS)
def test_wrong_layout_is_refused(fault: str, name: str, tmp_path: Path) -> None:
    change, expected = LAYOUT_FAULTS[fault]
    path = write_any(tmp_path / name, change(small_set()))
    refused(lambda: read(path), str(path), *expected)


def left_out(path: Path) -> list[str]:
    return [str(each) for each in read(path, max_unreadable=0.5).left_out]


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar.gz"])
def test_images_are_found_by_their_content(name: str, tmp_path: Path) -> None:
    """Half of them have other endings, or none; what is no image is counted by kind and named."""
    jpeg, ppm = (encoded(Image.new("RGB", (8, 8), "red"), kind) for kind in ("JPEG", "PPM"))
    images = {
        "a.jfif": jpeg,
        "b.jpe": jpeg,
        "c": jpeg,
        "d.ppm": ppm,
        "e.PNG": png(1),
        "f.MPO": jpeg,
    }
    others = {"notes.txt": b".", "t.tga": bytes(300), "u.TGA": bytes(300), "LICENSE": b"Free."}
    files = {f"train/car/{key}": data for key, data in {**images, **others}.items()}
    found = read(write_any(tmp_path / name, small_set() | files))
    names = [each for each in found.splits["train"].names if each.startswith("train/car/")]
    assert len(names) == 7 + len(images)
    assert {f"train/car/{key}" for key in images} <= set(names)
    assert found.unreadable == []
    assert list(map(str, found.left_out)) == [
        "files that are no images: .tga (2), such as train/car/t.tga",
        "files that are no images: * (1), such as train/car/LICENSE",
        "files that are no images: .txt (1), such as train/car/notes.txt",
    ]


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar"])
def test_an_image_of_an_unsupported_format_is_unreadable_by_any_name(
    name: str, tmp_path: Path
) -> None:
    path = write_any(
        tmp_path / name, small_set() | {"train/car/a.jp2": b"\0\0\0\x0cjP  \r\n\x87\n"}
    )
    assert read(path, max_unreadable=0.5).unreadable == [
        "train/car/a.jp2: JPEG 2000 can't be read; convert it to JPEG"
    ]
    refused(
        lambda: read(path, max_unreadable=0.0), "1 of 14 images in train", "JPEG 2000 can't be read"
    )


@pytest.mark.parametrize("name", ["set", "set.zip"])
def test_deeper_images_belong_to_their_class(name: str, tmp_path: Path) -> None:
    deep = {"train/car/red/fast/1.png": png(1), "train/car/2.png": png(2)}
    only = {"test/car/images/1.png": png(3)}
    found = read(
        write_any(
            tmp_path / name, {"train/bus/1.png": png(4), "test/bus/1.png": png(5), **deep, **only}
        )
    )
    assert found.classes == ["bus", "car"]
    assert found.splits["train"].names == [
        "train/bus/1.png",
        "train/car/2.png",
        "train/car/red/fast/1.png",
    ]
    assert found.splits["test"].names == ["test/bus/1.png", "test/car/images/1.png"]
    assert found.left_out == []


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar"])
@pytest.mark.parametrize("top", ["", "photos/"])
def test_what_lies_beside_the_splits_and_what_is_hidden_is_named(
    name: str, top: str, tmp_path: Path
) -> None:
    files = small_set() | {
        "valid/car/1.png": png(1),
        "valid/car/2.png": png(2),
        "raw/1.png": png(3),
        "cover.jpg": png(3),
        "train/.22LR/1.png": png(4),
        "train/car/.IMG.png": png(4),
        ".old/train/car/1.png": png(4),
        "notes/a.txt": b"no images here",
        "train/car/._1.png": b"junk",
        "train/.ipynb_checkpoints/1.png": png(4),
        "__MACOSX/train/car/1.png": b"junk",
        "@eaDir/car/1.png": b"junk",
        "train/car/Thumbs.db": b"junk",
    }
    other = {"another set/x.png": png(5)} if top else {}
    path = write_any(tmp_path / name, {top + key: data for key, data in files.items()} | other)
    hidden = "images hidden by a dot at the beginning of a name (rename it): "
    beside = "images beside train and test"
    assert sorted(left_out(path)) == sorted(
        [
            "validation images of other classes than those of train (some of train are held out instead):"
            f" {top}valid/ (2), such as {top}valid/car/1.png",
            f"{beside}: {top}raw/ (1), such as {top}raw/1.png",
            f"{beside}: {top or '/'} (1), such as {top}cover.jpg",
            f"{hidden}train/.22LR (1)",
            f"{hidden}train/car/ (1), such as train/car/.IMG.png",
            f"{hidden}{top}.old (1)",
            *([f"{beside}: another set/ (1), such as another set/x.png"] if top else []),
        ]
    )


@pytest.mark.parametrize("name", ["set", "set.zip", "high.tar"])
@pytest.mark.parametrize("folder", ["val", "valid", "Validation"])
def test_a_validation_folder_of_the_same_classes_is_used(
    name: str, folder: str, tmp_path: Path
) -> None:
    own = {f"{folder}/{c}/{i}.png": png(50 + i) for c in ("car", "zebra crossing") for i in (1, 2)}
    top = "set/" if name == "high.tar" else ""
    files = {top + key: data for key, data in (small_set() | own).items()}
    path = write_any(tmp_path / name, files)
    found = read(path)
    assert (found.validation, found.left_out) == (folder, [])
    names = found.splits["train"].names
    assert {each for each in names if not each.startswith("train/")} == {*own}
    assert len(names) == 13 + 4
    by_label = [names[row] for row in range(len(names)) if found.splits["train"].labels[row] == 1]
    assert all("/zebra crossing/" in each for each in by_label)
    alone = read(path, splits=("valid",))
    assert sorted(alone.splits["valid"].names) == sorted(own)
    source = find_source(str(path))
    before = fingerprint(source)
    key = top + min(own)
    write_any(path, {**files, key: png(99)})
    assert fingerprint(source) != before


@pytest.mark.parametrize(
    "more",
    [["val/car/1.png"], ["val/car/1.png", "val/zebra/1.png"], ["val/1.png"]],
)
def test_a_validation_folder_of_other_classes_is_named(more: list[str], tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", small_set() | {key: png(9) for key in more})
    found = read(path)
    assert found.validation == ""
    assert [(each.reason, each.kind) for each in found.left_out] == [("validation", "val/")]


def test_validation_images_alone_are_read_where_nothing_else_is(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {"val/a/1.png": png(1), "val/b/1.png": png(2)})
    assert read(path, splits=("valid",)).classes == ["a", "b"]
    refused(
        lambda: read(write_folder(tmp_path / "x", small_set()), splits=("valid",)),
        "no folder valid",
    )


@pytest.mark.parametrize("name", ["set", "set.zip"])
def test_one_name_in_two_unicode_forms_is_one_class(name: str, tmp_path: Path) -> None:
    """As macOS writes é, and as Linux does."""
    files = {
        "train/caf\u00e9/1.png": png(1),
        "train/cafe\u0301/2.png": png(2),
        "test/cafe\u0301/1.png": png(3),
        "train/bar/1.png": png(4),
        "test/bar/1.png": png(5),
    }
    found = read(write_any(tmp_path / name, files))
    assert found.classes == ["bar", "caf\u00e9"]
    assert [len(split.names) for split in found.splits.values()] == [3, 2]


FAULTS: dict[str, tuple[str, str]] = {
    "sets": (
        "training_set/a/1.png test_set/a/1.png",
        "did you mean test? rename test_set",
    ),
    "numbered": (
        "01_train/a/1.png 02_test/a/1.png",
        "did you mean train? rename 01_train",
    ),
    "turned around": (
        "cat/train/1.png cat/test/1.png dog/train/1.png",
        "train/cat in place of cat/train",
    ),
    "a sheet": (
        "labels.xlsx 1.png",
        "save labels.xlsx as CSV, with the columns file and label",
    ),
    "flat": (
        "1.png 2.png",
        "sort the images into a folder for each class",
    ),
    "boxes": (
        "images/train/1.png labels/train/1.txt",
        "images with boxes",
    ),
    "packed": (
        "train.zip test.zip",
        "unpack test.zip",
    ),
    "records": (
        "data.parquet",
        "data.parquet holds no image files",
    ),
    "groups": (
        "animals/cat/1.png animals/dog/1.png plants/rose/1.png",
        "no images in animals but in folders of it: cat, dog",
    ),
    "nothing": (
        "a.md",
        "no images are there",
    ),
}


@pytest.mark.parametrize("name", ["set", "set.tar"])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_has_no_classes_is_answered_by_what_was_found(
    fault: str, name: str, tmp_path: Path
) -> None:
    files, expected = FAULTS[fault]
    path = write_any(tmp_path / name, {file: png(1) for file in files.split()})
    refused(lambda: read(path), str(path), expected)
