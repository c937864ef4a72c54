"""Preparing data: published whole, split the same way every time, and CIFAR-10 downloaded once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cifar import cifar_archive, serving
from support.datasets import open_in_folder, prepare_in_folder
from support.images import png, write_folder, write_zip

from tasks.cache.cached_task import Published
from tasks.io.prepared import load_dataset
from tasks.prepare import fetch_archive, prepare_images
from tasks.progress import listening
from tasks.store.opening import open_store
from tasks.vision.data import cifar10
from tasks.vision.data.contents import Contents
from tasks.vision.data.dataset import Description
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.data.sources import contents_of, find_source, read_source
from tasks.vision.errors import BadInput
from tasks.vision.files.image_files import file_digest
from tasks.vision.recipe.data import Data


def test_the_digits_become_an_index_and_shards_named_by_content(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    refs = []
    for name in ("one", "two"):
        found = read_source(find_source("digits"), 32)
        prepare_in_folder(found, 32, 0.1, tmp_path / name)
        refs.append(store.put("dataset", tmp_path / name, ".safetensors"))
    assert refs[0] == refs[1]
    assert refs[0].sha256 in refs[0].uri
    data = open_in_folder(tmp_path / "one")
    train, validation, test = (data.part(split) for split in ("train", "validation", "test"))
    assert test.images.dtype == np.uint8
    assert [len(p.labels) for p in (train, validation, test)] == [1293, 144, 360]
    assert train.images.shape[1:] == (32, 32, 3)


def test_validation_is_carved_from_train_class_by_class(tmp_path: Path) -> None:
    found = read_source(find_source("digits"), 16)
    about = prepare_in_folder(found, 16, 0.1, tmp_path / "file")
    data = open_in_folder(tmp_path / "file")
    train, validation = data.part("train"), data.part("validation")
    whole = {image.tobytes() for image in np.asarray(found.splits["train"].images)}
    assert {image.tobytes() for image in validation.images} <= whole
    assert len(train.labels) + len(validation.labels) == len(found.splits["train"].labels)
    for held_out, rest in zip(about.counts["validation"], about.counts["train"], strict=True):
        assert held_out / (held_out + rest) == pytest.approx(0.1, abs=0.01)


def test_images_in_train_and_test_are_named(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    labels = np.array([0, 1] * 10, np.int32)
    train = Split(images, labels, [f"train/{i}" for i in range(20)])
    test = Split(images[3:5].copy(), labels[3:5], ["test/a", "test/b"])
    about = prepare_in_folder(
        ImageSet(["x", "y"], {"train": train, "test": test}, []), 16, 0.2, tmp_path / "file"
    )
    assert about.duplicates.first == (("train/3", "test/a"), ("train/4", "test/b"))
    assert about.contradictions.count == 0


def noise(*counts: int) -> ImageSet:
    """As many images of each class, in train and in test."""
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 16, 16, 3), np.uint8)
    split = Split(images, labels, [str(row) for row in range(len(labels))])
    return ImageSet([f"c{i}" for i in range(len(counts))], {"train": split, "test": split}, [])


@pytest.mark.parametrize(
    ("counts", "validation", "message"),
    [
        (
            (4, 1),
            0.4,
            "class 'c1' has one training image; expected two or more, .+ remove the class",
        ),
        (
            (2,) * 20,
            0.1,
            "is 4; expected one or more of each class, .+ to 0.5 at least and 0.5 at most",
        ),
        ((30, 30), 0.99, "set data.validation to 0.04 at least and 0.97 at most"),
    ],
)
def test_too_few_images_to_hold_some_out_are_refused(
    counts: tuple[int, ...], validation: float, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        prepare_in_folder(noise(*counts), 16, validation, tmp_path / "f")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("counts", "validation"), [((40, 2), 0.1), ((2, 2, 60), 0.1), ((2, 30), 0.9), ((2, 2), 0.5)]
)
def test_each_class_is_in_train_and_in_validation(
    counts: tuple[int, ...], validation: float, tmp_path: Path
) -> None:
    """A stage of two rare classes alone would have nothing to choose its epochs by."""
    about = prepare_in_folder(noise(*counts), 16, validation, tmp_path / "f")
    assert min(about.counts["train"] + about.counts["validation"]) >= 1
    data = open_in_folder(tmp_path / "f")
    rows = [data.part(split).images.tobytes() for split in ("train", "validation")]
    assert sum(map(len, rows)) == sum(counts) * 16 * 16 * 3


def test_a_data_set_of_twins_alone_can_be_opened_again(tmp_path: Path) -> None:
    """Its lists of names would be longer than a header may be."""
    images = np.zeros((60_000, 16, 16, 3), np.uint8)
    labels = np.arange(60_000, dtype=np.int32) % 2
    names = [
        f"train/a rather long name of a class of images/{'x' * 100}{i}.png" for i in range(60_000)
    ]
    split = Split(images, labels, names)
    lines = [f"{name}: an empty file" for name in names]
    about = prepare_in_folder(
        ImageSet(["a", "b"], {"train": split, "test": split}, lines), 16, 0.1, tmp_path / "f"
    )
    assert about.duplicates.count == len(names)
    assert about.contradictions.count == len(names)
    assert about.unreadable.count == len(names)
    assert open_in_folder(tmp_path / "f").description == about
    assert about.duplicates.first[0] == (names[0], names[0])


def test_names_of_classes_that_no_header_holds_are_refused(tmp_path: Path) -> None:
    found = noise(*(2,) * 10)
    vast = ImageSet([f"{i}{'x' * 2_000_000}" for i in range(10)], found.splits, [])
    with pytest.raises(BadInput, match=r"the names of 10 classes take .+ shorten them"):
        prepare_in_folder(vast, 16, 0.5, tmp_path / "f")


def header_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def with_header(path: Path, text: str) -> Path:
    """The file with another header, of the same data."""
    data = path.read_bytes()
    rest = data[8 + int.from_bytes(data[:8], "little") :]
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + rest)
    return path


FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a list": lambda header: [header],
    "a number": lambda header: 1,
    "no note": lambda header: {**header, "__metadata__": None},
    "a note that is a list": lambda header: {**header, "__metadata__": ["relevo"]},
    "an entry that is a number": lambda header: {**header, "train_labels": 1},
    "a shape that overflows": lambda header: shaped(header, [2**62]),
    "a shape that overflows to nothing": lambda header: shaped(header, [2**32, 2**32]),
    "a negative shape": lambda header: shaped(header, [-1]),
    "a shape of a fraction": lambda header: shaped(header, [1.5]),
    "offsets past the end": lambda header: {
        **header,
        "train_names": {"dtype": "U8", "shape": [8], "data_offsets": [2**40, 2**40 + 8]},
    },
    "offsets that overflow": lambda header: {
        **header,
        "train_names": {"dtype": "U8", "shape": [8], "data_offsets": [10**400, 10**400 + 8]},
    },
    "an unknown type": lambda header: {
        **header,
        "train_names": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
    },
    "fewer labels than images": lambda header: shaped(header, [1]),
    "no labels": lambda header: {k: v for k, v in header.items() if k != "train_labels"},
}


def shaped(header: dict[str, Any], shape: list[Any]) -> dict[str, Any]:
    return {**header, "train_labels": {**header["train_labels"], "shape": shape}}


@pytest.mark.parametrize("case", [*FORGED, "nested deep", "nested deep in the note"])
def test_forged_header_is_refused_in_a_line(case: str, tmp_path: Path) -> None:
    prepare_in_folder(noise(20, 20), 16, 0.1, tmp_path / "f")
    header = header_of(tmp_path / "f")
    open_in_folder(with_header(tmp_path / "f", json.dumps(header)))
    deep = "[" * 100_000 + "]" * 100_000
    if case == "nested deep":
        text = deep
    elif case in FORGED:
        text = json.dumps(FORGED[case](header))
    else:
        text = json.dumps({**header, "__metadata__": {"relevo": deep}})
    with pytest.raises(BadInput, match="is not a prepared data set; prepare it again"):
        open_in_folder(with_header(tmp_path / "f", text))


def test_a_data_set_of_one_class_is_refused_before_it_is_read(tmp_path: Path) -> None:
    files = {f"{split}/cat/{i}.png": b"never read" for split in ("train", "test") for i in range(9)}
    path, store = write_folder(tmp_path / "one", files), open_store(tmp_path / "store")
    contents = contents_of(find_source(str(path)))
    with pytest.raises(BadInput, match="has one class, 'cat'; expected two or more"):
        prepare_images.fn(str(path), Data(source="x", image_size=16), [], contents, store)


def test_what_is_left_out_is_emitted_and_stored(tmp_path: Path) -> None:
    files = {
        f"{split}/{label}/{i}.png": png(100 * j + i)
        for j, (split, label) in enumerate((s, c) for s in ("train", "test") for c in "ab")
        for i in range(9)
    }
    files |= {"train/a/x.png": files["train/b/1.png"], "test/a/y.png": files["train/a/1.png"]}
    files |= {"train/a/1.tga": bytes(300), "valid/a/1.png": png(1), "train/b/z.png": b""}
    path, store = write_folder(tmp_path / "set", files), open_store(tmp_path / "store")
    contents = contents_of(find_source(str(path)))
    data = Data(source=str(path), image_size=16, max_unreadable=0.1, validation=0.2)
    seen: list[str] = []
    with listening(lambda event: seen.append(str(event.message))):
        ref = prepare_images.fn(str(path), data, [], contents, store).ref
    assert seen[1:] == [
        "19 training images, 19 test images, of 2 classes",
        "left out train/b/z.png: an empty file, not an image",
        "left out files that are no images: .tga (1), such as train/a/1.tga",
        "left out validation images of other classes than those of train (some of train are held out"
        " instead): valid/ (1), such as valid/a/1.png",
        "in both train and test: 1 image, such as train/a/1.png = test/a/y.png",
        "the same pixels with different labels: 1 image, such as train/a/x.png = train/b/1.png",
    ]
    about = load_dataset(ref, store).description
    assert [each.kind for each in about.left_out] == [".tga", "valid/"]


def test_a_data_set_of_crops_has_the_digest_that_it_had_before_there_was_a_choice() -> None:
    about = Description(image_size=16, classes=["a", "b"], counts={})
    assert "fit" not in about.model_dump_json()
    padded = about.model_copy(update={"fit": "pad"})
    assert Description.model_validate_json(padded.model_dump_json()) == padded


def test_validation_images_of_the_datas_own_are_the_validation_split(tmp_path: Path) -> None:
    """Whatever share of train a recipe asks for."""
    files = {
        f"{split}/{label}/{i}.png": png(100 * j + i)
        for j, (split, label) in enumerate((s, c) for s in ("train", "valid", "test") for c in "ab")
        for i in range({"train": 6, "valid": 3, "test": 4}[split])
    }
    path, store = write_folder(tmp_path / "set", files), open_store(tmp_path / "store")
    contents = contents_of(find_source(str(path)))
    data = Data(source=str(path), image_size=16, validation=0.01)
    seen: list[str] = []
    with listening(lambda event: seen.append(str(event.message))):
        ref = prepare_images.fn(str(path), data, [], contents, store).ref
    assert seen[2:] == ["valid: 6 validation images; data.validation is not used"]
    prepared = load_dataset(ref, store)
    about = prepared.description
    assert about.counts == {"train": [6, 6], "validation": [3, 3], "test": [4, 4]}
    assert about.validation == "valid"
    for split in ("train", "test"):
        part = prepared.part(split)
        assert part.labels.tolist() == [0] * (len(part.labels) // 2) + [1] * (len(part.labels) // 2)
    own = read_source(find_source(str(path)), 16, splits=("valid",)).splits["valid"]
    assert np.array_equal(prepared.part("validation").images, own.images)
    assert np.array_equal(prepared.part("validation").labels, own.labels)


def test_validation_images_that_cannot_be_read_are_named_by_their_class(tmp_path: Path) -> None:
    labels = [(split, label) for split in ("train", "val", "test") for label in "ab"]
    files = {f"{s}/{c}/{i}.png": png(10 * n + i) for n, (s, c) in enumerate(labels) for i in (1, 2)}
    files |= {"val/b/1.png": b"", "val/b/2.png": b""}
    found = read_source(
        find_source(str(write_folder(tmp_path / "x", files))), 8, max_unreadable=0.5
    )
    with pytest.raises(
        BadInput, match=r"class 'b' has no image in validation \(val\) that can be read"
    ):
        prepare_in_folder(found, 8, 0.1, tmp_path / "dataset")


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

    def prepare_again(contents: Contents) -> Published:
        return prepare_images.fn(str(path), settings, [], contents, store)

    before = contents_of(find_source(str(path)))
    write(path, {**files, "train/cat/1.png": png(1000)})
    with pytest.raises(BadInput, match=r"data.zip changed while it was read; wait .+ again"):
        prepare_again(before)
    assert not store.top(), "nothing is stored"
    assert prepare_again(contents_of(find_source(str(path)))).ref.kind == "dataset"


def test_another_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x10\0\0\0\0\0\0\0{}" + b"junk" * 10)
    with pytest.raises(BadInput, match="is not a prepared data set"):
        open_in_folder(tmp_path / "x")


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
