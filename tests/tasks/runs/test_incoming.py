"""What came in since the run before: counted by class, by the pixels of each picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.images import labelled_pngs, png, write_folder
from support.stores import finish_run, mark

from tasks.check_images import check_images
from tasks.io.findings import FindingRefs
from tasks.prepare import prepare_images
from tasks.runs.incoming import what_came_in
from tasks.store.base import Ref, Store
from tasks.vision.data.sources import contents_of, find_source
from tasks.vision.recipe.data import Data

FILES = labelled_pngs(["train/", "test/"], ["cat", "dog"], 12)


@pytest.fixture
def home(tmp_path: Path) -> Store:
    return mark(tmp_path / "store")


def prepared(source: Path, home: Store) -> Ref:
    data = Data.model_validate({"source": str(source), "image_size": 16})
    contents = contents_of(find_source(str(source)))
    return prepare_images.fn(str(source), data, [], contents, home).ref


def test_new_removed_and_relabelled_pictures_are_counted_by_class(
    home: Store, tmp_path: Path
) -> None:
    source = write_folder(tmp_path / "photos", FILES)
    first = prepared(source, home)
    finish_run(tmp_path / "store", "one", dataset=first)
    assert what_came_in("digits", first, {}, None, home) is None
    (source / "train/cat/0.png").rename(source / "train/dog/0 renamed.png")
    (source / "train/cat/1.png").rename(source / "train/cat/another name.png")
    (source / "test/dog/5.png").unlink()
    write_folder(source, {f"train/dog/new {i}.png": png(100 + i) for i in range(20)})
    write_folder(source, {"train/cat/copy.png": png(7, (9, 8))})
    copy = (source / "test/cat/3.png").read_bytes()
    (source / "train/cat/nearly.png").write_bytes(_brighter(copy))
    now = prepared(source, home)
    images = check_images.fn(now, home).ref
    found = what_came_in("digits", now, {}, FindingRefs(images=images), home)
    assert found
    assert (found.run, found.added, found.removed, found.relabelled) == ("one", 22, 1, 1)
    counts = {
        each.label: (each.added, each.removed, each.relabelled, each.images)
        for each in found.classes
    }
    assert counts == {"cat": (2, 0, 0, 25), "dog": (20, 1, 1, 44)}
    assert (found.near_test, found.drift) == (1, None)
    assert len(found.shown) == 12
    assert all("new " in each.file or "cat/" in each.file for each in found.shown)


def _brighter(content: bytes) -> bytes:
    import io

    import numpy as np
    from PIL import Image
    from support.images import encoded

    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return encoded(Image.fromarray(np.clip(pixels + 4, 0, 255).astype(np.uint8)), "PNG")


def test_of_other_data_and_of_other_recipes_nothing_came_in(home: Store, tmp_path: Path) -> None:
    first = prepared(write_folder(tmp_path / "photos", FILES), home)
    finish_run(tmp_path / "store", "one", dataset=first)
    others = {name: png(5000 + i) for i, name in enumerate(FILES)}
    other = prepared(write_folder(tmp_path / "others", others), home)
    assert what_came_in("digits", other, {}, None, home) is None
    more = prepared(write_folder(tmp_path / "photos", {"train/cat/x.png": png(1)}), home)
    assert what_came_in("photos", more, {}, None, home) is None
    assert what_came_in("digits", more, {}, None, home)
    home.delete(first.uri)  # as `gc` does
    assert what_came_in("digits", more, {}, None, home) is None
