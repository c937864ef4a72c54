"""Data as people have it: each layout, as a folder and as an archive, is found without renaming a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.images import labelled_pngs, png, read, refused, write_any

from tasks.vision.data.layouts.find_layout import find_layout
from tasks.vision.data.layouts.layout import Layout
from tasks.vision.files.containers import open_container

FORMS = ["set", "set.zip", "set.tar"]
CLASSES = ["bus", "car"]
LAYOUTS: dict[str, tuple[list[str], str, set[str | None]]] = {
    "class folders": ([""], "one folder for each of 2 classes", {None}),
    "class folders in a folder": (["my/own photos/"], "one folder for each of 2 classes", {None}),
    "train": (["train/"], "train/ with 2 classes", {"train"}),
    "train and val": (["train/", "val/"], "train/, val/ with", {"train", "validation"}),
    "Training and Validation": (
        ["Training/", "Validation/"],
        "Training/, V",
        {"train", "validation"},
    ),
    "train and dev in folders": (["a/b/train/", "a/b/dev/"], "a/b/", {"train", "validation"}),
    "all three": (
        ["train/", "valid/", "Test/"],
        "train/, Test/, valid/",
        {"train", "validation", "test"},
    ),
    "all, four folders down": (
        ["a/b/c/d/train/", "a/b/c/d/test/"],
        "train/, test/ in a/b/c/d/ with 2 classes",
        {"train", "test"},
    ),
}


def layout_of(path: Path) -> Layout:
    return find_layout(open_container(path))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_is_found_by_its_folders(name: str, form: str, tmp_path: Path) -> None:
    folders, described, splits = LAYOUTS[name]
    files = labelled_pngs(folders, CLASSES, 3)
    found = layout_of(write_any(tmp_path / form, files))
    assert found.classes == CLASSES
    assert {file.split for file in found.files} == splits
    assert {found.place.root + file.path for file in found.files} == {*files}
    assert {file.label for file in found.files if "/car/" in f"/{file.path}"} == {"car"}
    assert described in found.described()
    assert (found.left_out, found.junk) == ([], [])


@pytest.mark.parametrize("form", FORMS)
def test_deeper_folders_belong_to_their_class(form: str, tmp_path: Path) -> None:
    files = labelled_pngs([""], CLASSES, 2) | {"car/red/fast/9.png": png(9)}
    found = layout_of(write_any(tmp_path / form, files))
    assert [file.path for file in found.files if file.label == "car"][-1] == "car/red/fast/9.png"


@pytest.mark.parametrize("form", FORMS)
def test_a_train_may_be_a_class(form: str, tmp_path: Path) -> None:
    """Among vehicles: a folder of pictures alone is no split."""
    found = layout_of(write_any(tmp_path / form, labelled_pngs([""], ["bus", "train"], 2)))
    assert found.classes == ["bus", "train"]
    assert found.splits == set()


def test_two_data_sets_in_a_folder_are_too_many(tmp_path: Path) -> None:
    path = write_any(tmp_path / "set", labelled_pngs(["x/a/train/", "x/b/train/"], CLASSES, 1))
    refused(lambda: layout_of(path), "holds several data sets: x/a, x/b; expected one")


JUNK = {
    "{}.DS_Store": b"x",
    "{}._car": b"x",
    "{}Thumbs.db": b"x",
    "{}desktop.ini": b"x",
    "{}.amlignore": b"x",
    "{}.ipynb_checkpoints/1-checkpoint.png": png(1),
    "{}car/.DS_Store": b"x",
    "{}car/._1.png": b"x",
    "{}car/THUMBS.DB": b"x",
    "{}car/.ipynb_checkpoints/1.png": png(1),
    "{}@eaDir/1.png": png(1),
    "{}.hidden/car/1.png": png(1),
    "__MACOSX/car/._1.png": b"x",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folders", [[""], ["train/", "test/"], ["my/photos/"]])
def test_what_systems_leave_behind_is_no_class_and_is_named(
    folders: list[str], form: str, tmp_path: Path
) -> None:
    files = labelled_pngs(folders, CLASSES, 3)
    junk = {name.format(folders[0]): data for name, data in JUNK.items()}
    found = layout_of(write_any(tmp_path / form, files | junk))
    assert found.classes == CLASSES
    assert len(found.files) == len(files)
    named = {each.kind: each.count for each in found.junk}
    usual = {".DS_Store": 2, "._*": 2, "Thumbs.db": 2, "desktop.ini": 1, ".amlignore*": 1}
    assert named == usual | {".ipynb_checkpoints": 2, "@eaDir": 1, "__MACOSX": 1}
    assert str(found.junk[0]).startswith(
        "files and folders that a system or program has left behind: "
    )
    assert [(each.reason, each.count) for each in found.left_out] == [("hidden", 1)]


def test_pictures_beside_class_folders_are_left_out_by_name(tmp_path: Path) -> None:
    files = labelled_pngs(["photos/"], CLASSES, 2) | {"photos/IMG.png": png(1), "cover.jpg": png(2)}
    found = layout_of(write_any(tmp_path / "set", files))
    assert sorted(map(str, found.left_out)) == [
        "images beside train and test: / (1), such as cover.jpg",
        "images that are in no class's folder: photos/ (1), such as photos/IMG.png",
    ]


@pytest.mark.parametrize("top", ["", "my/photos/"])
def test_a_folder_without_a_file_is_no_class(top: str, tmp_path: Path) -> None:
    files = labelled_pngs([top], CLASSES, 2) | {f"{top}to sort/.DS_Store": b"x"}
    found = layout_of(write_any(tmp_path / "set", files))
    assert found.classes == CLASSES
    assert sorted(map(str, found.left_out)) == ["folders without a file: to sort (1)"]


def test_validation_images_of_other_classes_are_left_out(tmp_path: Path) -> None:
    files = labelled_pngs(["train/"], CLASSES, 2) | {"val/car/1.png": png(1)}
    found = layout_of(write_any(tmp_path / "set", files))
    assert found.splits == {"train"}
    assert [(each.reason, each.kind) for each in found.left_out] == [("validation", "val/")]


@pytest.mark.parametrize("form", FORMS)
def test_without_a_split_all_images_are_read_as_train(form: str, tmp_path: Path) -> None:
    files = labelled_pngs(["a/"], CLASSES, 3)
    found = read(write_any(tmp_path / form, files))
    assert list(found.splits) == ["train"]
    train = found.splits["train"]
    assert [f"a/{name}" for name in train.names] == sorted(files)
    assert train.known
    assert len({each.tobytes() for each in train.known.contents}) == len(files)
    assert train.labels.tolist() == [0] * 3 + [1] * 3
