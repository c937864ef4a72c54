"""The layout train/<class>/ and test/<class>/: where it is found and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.images import png, read, refused, same, small_set, write_any, write_folder


def test_parent_of_a_data_set_is_accepted(tmp_path: Path) -> None:
    plain = read(write_folder(tmp_path / "high" / "set", small_set()))
    (tmp_path / "high" / "other").mkdir()
    assert same(read(tmp_path / "high"), plain)
    write_folder(tmp_path / "high" / "set2", small_set())
    refused(lambda: read(tmp_path / "high"), "several data sets", "set, set2")


LAYOUT_FAULTS: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], list[str]]] = {
    "no train": (
        lambda files: {f"Train{name[5:]}": data for name, data in files.items() if "train" in name},
        ["no folder train", "found: Train: did you mean train? rename Train"],
    ),
    "capitals one folder down": (
        lambda files: {f"set/{name[0].upper()}{name[1:]}": data for name, data in files.items()},
        ["no folder train", "found: set: did you mean train? rename Train"],
    ),
    "a test by another name": (
        lambda files: {name.replace("test/", "TESTING/"): data for name, data in files.items()},
        ["no folder test", "found: TESTING, train: did you mean test? rename TESTING"],
    ),
    "nothing at all": (lambda _: {"notes.txt": b""}, ["no folder train", "found: notes.txt"]),
    "no test": (
        lambda files: {name: data for name, data in files.items() if "train" in name},
        ["no folder test", "found: train"],
    ),
    "empty class": (lambda files: files | {"train/dog/": b""}, ["no images in train/dog"]),
    "class without images": (
        lambda files: files | {"test/dog/notes.txt": b"."},
        ["no images in test/dog"],
    ),
    "no classes": (
        lambda _: {"train/": b"", "test/": b""},
        ["no class folders in train"],
    ),
    "images without a class": (
        lambda files: files | {"train/1.png": png(1)},
        ["train/1.png", "move it"],
    ),
    "images too deep": (
        lambda files: files | {"train/car/red/1.png": png(1)},
        ["train/car/red/1.png", "move it"],
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
