"""Images that are prepared in a temporary file: the same data set as from memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from support.datasets import prepare_in_folder
from support.images import png, read, write_any

from tasks.vision.data import scratch
from tasks.vision.data.scratch import ScratchImages, image_buffer, select
from tasks.vision.errors import BadInput


def test_a_file_of_images_is_read_and_written_like_an_array(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY", 0)
    random = np.random.default_rng(0)
    array, file = random.integers(0, 256, (40, 4, 4, 3), np.uint8), image_buffer(40, 4)
    assert isinstance(file, ScratchImages)
    assert (file.shape, file.nbytes) == (array.shape, array.nbytes)
    file[random.permutation(40)] = 7
    file[:20] = array[:20]
    rows = np.array([39, 21, 22, 23, 20])
    file[rows] = array[rows]
    file[24:39] = array[24:39]
    np.testing.assert_array_equal(np.asarray(file), array)
    np.testing.assert_array_equal(file[rows], array[rows])
    np.testing.assert_array_equal(file[5], array[5])
    some = select(file, rows)
    some[1:3] = 0
    assert not file[21:23].any()
    assert file[23].any()


@pytest.mark.parametrize("name", ["set", "set.zip"])
@pytest.mark.parametrize("layout", ["test", "made", "valid"])
def test_what_is_prepared_in_a_file_is_what_is_prepared_in_memory(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"test": ["train/", "test/"], "made": [""], "valid": ["train/", "val/"]}[layout]
    files = {
        f"{split}{label}/{i}.png": png(1000 * s + 100 * ord(label) + i)
        for s, split in enumerate(splits)
        for label in "ab"
        for i in range(30)
    }
    files |= {f"{splits[0]}a/7.png": b"", f"{splits[0]}b/8.png": files[f"{splits[0]}a/1.png"]}
    path = write_any(tmp_path / name, files)
    seen = []
    for bound in (scratch.IN_MEMORY, 0):
        monkeypatch.setattr(scratch, "IN_MEMORY", bound)
        found = read(path, max_unreadable=0.5)
        assert isinstance(found.splits["train"].images, ScratchImages) == (bound == 0)
        prepare_in_folder(found, 8, 0.2, tmp_path / "out")
        seen.append((tmp_path / "out").read_bytes())
    assert seen[0] == seen[1]


def test_a_file_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(BadInput, match="free space there, or set TMPDIR"):
        image_buffer(3, 4)
