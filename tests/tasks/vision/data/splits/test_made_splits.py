"""Splits that relevo makes: by content, so that a picture stays on its side however many are added."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.datasets import open_in_folder, prepare_in_folder
from support.images import coarse_photo, labelled_pngs, png, read, refused, write_any, write_folder

from tasks.vision.data.divided import _fold_of
from tasks.vision.data.splits.made_splits import TEST, TRAIN, VALIDATION, Undivided, divide
from tasks.vision.data.splits.near_duplicates import ComputedSignatures
from tasks.vision.files.image_files import content_hash

SIZE = 16


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def undivided(images: np.ndarray, labels: np.ndarray, groups: list[str] | None = None) -> Undivided:
    hashes = [content_hash(image.tobytes()) for image in images]
    classes = [f"c{label}" for label in range(labels.max() + 1)]
    return Undivided(ComputedSignatures(images), labels, classes, hashes, groups or [])


def test_shares_are_those_asked_for_and_each_class_has_them() -> None:
    images, labels = noise(3000), np.arange(3000) % 3
    sides = divide(undivided(images, labels), 0.1, 0.2).sides
    for label in range(3):
        share = np.bincount(sides[labels == label], minlength=3) / 1000
        assert share[TEST] == pytest.approx(0.2, abs=0.04)
        assert share[VALIDATION] == pytest.approx(0.08, abs=0.03)
    ranges = divide(undivided(images, labels), 0.1, 0.4).sides
    assert (ranges[sides == TEST] == TEST).all(), "a larger share takes in a smaller one"


def test_no_picture_changes_sides_as_others_are_added_or_the_order_changes() -> None:
    images, labels = noise(400), np.arange(400) % 2
    before = divide(undivided(images[:200], labels[:200]), 0.1, 0.2).sides
    order = np.random.default_rng(1).permutation(400)
    after = np.empty(400, np.int8)
    after[order] = divide(undivided(images[order], labels[order]), 0.1, 0.2).sides
    assert (after[:200] == before).all()


@pytest.mark.parametrize("counts", [(3, 3), (3, 50), (4, 3, 5, 3)])
def test_few_pictures_of_a_class_are_on_each_side(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    for seed in range(10):
        sides = divide(undivided(noise(len(labels), seed), labels), 0.1, 0.2).sides
        for label in range(len(counts)):
            assert {*sides[labels == label].tolist()} == {TRAIN, VALIDATION, TEST}


def test_too_few_pictures_of_a_class_are_refused() -> None:
    given = undivided(noise(6), np.array([0, 0, 0, 0, 1, 1]))
    refused(
        lambda: divide(given, 0.1, 0.2),
        "class 'c1': images: 2; expected 3 or more, one to train on",
    )
    assert {*divide(given, 0, 0.2).sides.tolist()} == {TRAIN, TEST}


def test_members_of_a_group_are_on_one_side_whatever_is_added() -> None:
    images, labels = noise(400), np.arange(400) % 2
    groups = [f"patient {row // 10}" for row in range(400)]
    sides = divide(undivided(images, labels, groups), 0.1, 0.2).sides
    assert all(len({*sides[at : at + 10].tolist()}) == 1 for at in range(0, 400, 10))
    fewer = divide(undivided(images[5:], labels[5:], groups[5:]), 0.1, 0.2).sides
    assert (fewer == sides[5:]).all()
    few = [f"patient {row // 200}" for row in range(400)]
    refused(
        lambda: divide(undivided(images, labels, few), 0.1, 0.2),
        "class 'c0': groups of its pictures: 2; expected 3 or more",
    )


def test_near_duplicates_are_on_one_side() -> None:
    """Also those of other classes."""
    photos = [coarse_photo(seed) for seed in range(60)]
    changed = [image.resize((60, 60)).resize((96, 96)) for image in photos]
    images = np.stack([np.asarray(image) for image in photos + changed])
    labels = np.repeat([0, 1, 1, 0], 30)
    division = divide(undivided(images, labels), 0.2, 0.4)
    assert (division.sides[:60] == division.sides[60:]).all()
    assert division.alike == 120


def test_pictures_that_are_all_alike_are_parted() -> None:
    """A class has to be on each side."""
    images = np.concatenate([np.zeros((6, SIZE, SIZE, 3), np.uint8), noise(6)])
    sides = divide(undivided(images, np.repeat([0, 1], 6)), 0.1, 0.2).sides
    assert {*sides[:6].tolist()} == {*sides[6:].tolist()} == {TRAIN, VALIDATION, TEST}


@pytest.mark.parametrize("form", ["set", "set.zip"])
def test_what_is_prepared_has_each_picture_once(form: str, tmp_path: Path) -> None:
    files = labelled_pngs(["x/"], ["a", "b"], 40)
    path = write_any(tmp_path / form, files)
    about = prepare_in_folder(read(path), 8, 0.2, tmp_path / "out", 0.3)
    data = open_in_folder(tmp_path / "out")
    assert about == data.description
    assert about.made
    assert (about.made.test, about.made.validation, about.made.alike) == (0.3, 0.2, 0)
    names = data.names("train") + data.names("test")
    assert sorted(f"x/{name}" for name in names) == sorted(files)
    images = np.concatenate([data.stored_images("train"), data.stored_images("test")])
    labels = np.concatenate([data.stored_labels("train"), data.stored_labels("test")])
    for name, image, label in zip(names, images, labels, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(io.BytesIO(files[f"x/{name}"])))), name
        assert name.startswith(f"{about.classes[label]}/")
    assert [sum(count) for count in about.counts.values()] == [
        len(data.part(split).labels) for split in ("train", "validation", "test")
    ]


def test_a_picture_is_in_the_same_split_at_any_size_under_any_name(tmp_path: Path) -> None:
    files = labelled_pngs([""], ["a", "b"], 40)
    renamed = {f"photos/{name[0]}/new {name[2:]}": data for name, data in files.items()}
    tests = []
    for number, (size, each) in enumerate([(8, files), (24, files), (8, renamed)]):
        path = write_folder(tmp_path / str(number), each)
        prepare_in_folder(read(path, size), size, 0.1, tmp_path / "out")
        names = open_in_folder(tmp_path / "out").names("test")
        tests.append({name.replace("new ", "") for name in names})
    assert tests[0] == tests[1] == tests[2]


def test_own_validation_images_stay_what_they_are(tmp_path: Path) -> None:
    files = labelled_pngs(["train/", "val/"], ["a", "b"], 20)
    about = prepare_in_folder(read(write_folder(tmp_path / "set", files)), 8, 0.1, tmp_path / "out")
    data = open_in_folder(tmp_path / "out")
    assert about.counts["validation"] == [20, 20]
    names = [data.names("train")[row] for row in data.rows("validation")]
    assert sorted(names) == sorted(name for name in files if name.startswith("val/"))
    assert about.made
    assert (about.made.test, about.made.validation) == (0.2, None)
    assert all(name.startswith("train/") for name in data.names("test"))


def test_data_with_a_test_split_keeps_the_images_and_rows_that_it_had(tmp_path: Path) -> None:
    """As version 0.1 and all after it have prepared it."""
    plain = {
        f"{split}/{label}/{i}.png": png(100 * j + i)
        for j, (split, label) in enumerate((s, c) for s in ("train", "test") for c in "ab")
        for i in range(9)
    }
    own = {f"valid/{c}/{i}.png": png(500 + i + 10 * ord(c)) for c in "ab" for i in range(3)}
    for files, digest in ((plain, "5fc51c0bddd74944"), (plain | own, "8a0dd719a409ab76")):
        path = write_folder(tmp_path / digest, files)
        prepare_in_folder(read(path), 8, 0.34, tmp_path / "out", 0.7)
        data, total = open_in_folder(tmp_path / "out"), hashlib.sha256()
        for split in ("train", "validation", "test"):
            part = data.part(split)
            for array in (part.images, part.labels, data.rows(split)):
                total.update(array.tobytes())
        for split in ("train", "test"):
            total.update("\n".join(data.names(split)).encode())
        assert total.hexdigest().startswith(digest)


def test_folds_by_content_leave_test_alone() -> None:
    images, labels = noise(600), np.arange(600) % 3
    groups = [f"g{i // 4}" if i % 8 < 4 else "" for i in range(600)]
    given = undivided(images, labels, groups)
    usual = divide(given, 0.1, 0.2).sides
    folds = np.stack([divide(given, 0.25, 0.2, (number, 4)).sides for number in (1, 2, 3, 4)])
    assert ((folds == TEST) == (usual == TEST)).all()
    assert ((folds == VALIDATION).sum(axis=0) == (usual != TEST)).all(), "each is validation once"
    for group in {*groups} - {""}:
        members = folds[:, [other == group for other in groups]]
        assert (members == members[:, :1]).all(), "a group is in one fold"


@pytest.mark.parametrize("test", [0.0, 0.2])
def test_each_fold_of_few_pictures_has_every_class_on_each_side(test: float) -> None:
    labels = np.repeat([0, 1], [5, 40])
    given = undivided(noise(45), labels)
    usual = divide(given, 0.1, test).sides
    for number in (1, 2, 3):
        sides = divide(given, 0.1, test, (number, 3)).sides
        assert ((sides == TEST) == (usual == TEST)).all()
        for label in (0, 1):
            assert {TRAIN, VALIDATION} <= {*sides[labels == label].tolist()}


def test_each_image_is_in_one_fold() -> None:
    labels = np.repeat(np.arange(4), [10, 20, 30, 45])
    folds = [_fold_of(labels, list("abcd"), number, 5) for number in range(1, 6)]
    assert sorted(np.concatenate(folds).tolist()) == list(range(105))
    for rows in folds:
        assert np.bincount(labels[rows]).tolist() == [2, 4, 6, 9]
    refused(
        lambda: _fold_of(np.array([0, 0, 1, 1, 1]), ["cat", "dog"], 1, 3),
        "class 'cat' has 2 training images; expected 3",
    )
