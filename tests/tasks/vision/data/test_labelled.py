"""A data set's own range of 16-bit samples, and what is odd about its images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.datasets import open_in_folder, prepare_in_folder
from support.images import encoded, png, read, write_any
from support.pictures import deep, photo, png16, see_through

from tasks.vision.data.dataset import Description
from tasks.vision.data.unlabelled import UnlabelledImages


def microscope(bits: int) -> dict[str, bytes]:
    """Images of so many bits in 16, some of them dim, beside 8-bit ones."""
    files = {}
    for split in ("train", "test"):
        for label in ("cell", "none"):
            for index in range(4):
                samples = deep(bits, 1 if index % 2 else 3) // (8 if index == 3 else 1)
                files[f"{split}/{label}/{index}.png"] = png16(samples)
            files[f"{split}/{label}/z.png"] = png(len(files), (16, 16))
    return files


@pytest.mark.parametrize("name", ["set", "set.zip", "set.tar.gz"])
def test_deep_samples_are_scaled_by_the_range_of_all_training_images(
    name: str, tmp_path: Path
) -> None:
    files = microscope(12)
    found = read(write_any(tmp_path / name, files), 16)
    assert found.bits == 12
    for split in found.splits.values():
        dim = split.images[3]
        assert (dim[..., :1] == (deep(12, 1) // 8) >> 4).all(), "as dim as it was beside the others"
        assert (split.images[0] == deep(12) >> 4).all()
    about = prepare_in_folder(found, 16, 0.2, tmp_path / "prepared")
    assert about.bits == open_in_folder(tmp_path / "prepared").description.bits == 12
    (tmp_path / "1.png").write_bytes(files["test/cell/3.png"])
    with UnlabelledImages([str(tmp_path / "1.png")]) as images:
        (batch,) = images.batches(16, about.bits)
    assert (batch.images[0] == found.splits["test"].images[3]).all()
    again = read(tmp_path / name, 16, splits=("test",), bits=12)
    assert (again.splits["test"].images[:] == found.splits["test"].images[:]).all()


def test_full_range_stays_as_it_is(tmp_path: Path) -> None:
    files = microscope(12) | {"train/cell/full.png": png16(deep(16, 1))}
    found = read(write_any(tmp_path / "set", files), 16)
    assert found.bits == 16
    assert (found.splits["train"].images[0] == deep(12) >> 8).all()
    assert (
        read(
            write_any(
                tmp_path / "plain",
                {f"{s}/{c}/1.png": png(1) for s in ("train", "test") for c in "ab"},
            )
        ).bits
        == 16
    )


def test_odd_images_are_read_and_named(tmp_path: Path) -> None:
    whole = encoded(photo(1), "JPEG")
    files = {f"{s}/{c}/{i}.png": png(i) for s in ("train", "test") for c in "ab" for i in range(5)}
    files |= {"train/a/cut.jpg": whole[:-2], "test/b/clear.png": encoded(see_through(0), "PNG")}
    found = read(write_any(tmp_path / "set", files))
    assert found.odd == [
        "train/a/cut.jpg: its end is missing",
        "test/b/clear.png: its transparency hides everything and was ignored",
    ]
    assert not found.unreadable
    assert len(found.splits["train"].images) == 11
    about: Description = prepare_in_folder(found, 8, 0.2, tmp_path / "prepared")
    assert about.odd.count == 2
