"""Images in a bucket: downloaded once, atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.buckets import StartRelay
from support.images import labelled_pngs, png, same, small_set, write_folder, write_zip

from tasks.io.locations import find_data, local_data, store_address
from tasks.store.base import StoreError
from tasks.vision.data.sources import find_source, fingerprint, read_source
from tasks.vision.errors import BadInput


def upload(s3: Any, bucket: str, files: dict[str, bytes], prefix: str = "") -> None:
    for name, content in files.items():
        if content:
            s3.put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=content)


def test_local_data_of_a_prefix_equals_the_uploaded_folder(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    files = {**small_set(), "train/a b/ü 1.png": png(7), "test/a b/1.png": png(8)}
    upload(s3, bucket, files, "pictures/")
    s3.put_object(Bucket=bucket, Key="pictures/train/", Body=b"")  # as consoles mark a folder
    here = find_source(str(write_folder(tmp_path / "here", files)))
    there = find_source(local_data(f"s3://{bucket}/pictures/"))
    assert fingerprint(there) == fingerprint(here)
    a, b = (read_source(source, 8) for source in (here, there))
    assert a.classes == b.classes
    assert all(np.array_equal(a.splits[s].images, b.splits[s].images) for s in ("train", "test"))


def test_local_data_downloads_each_version_once(
    bucket: str, s3: Any, tmp_path: Path, relay: StartRelay
) -> None:
    archive = write_zip(tmp_path / "x.zip", small_set())
    upload(s3, bucket, {"x.zip": archive.read_bytes()})
    watch = relay()
    first = local_data(f"s3://{bucket}/x.zip")
    assert Path(first).read_bytes() == archive.read_bytes()
    got = watch.count("GET")
    assert local_data(f"s3://{bucket}/x.zip") == first
    assert watch.count("GET") == got
    upload(s3, bucket, {"x.zip": b"another"})
    assert Path(local_data(f"s3://{bucket}/x.zip")).read_bytes() == b"another"


def test_local_data_removes_idle_downloads(bucket: str, s3: Any) -> None:
    upload(s3, bucket, {f"{name}/train/a/1.png": b"x" for name in ("used", "unused", "new")})
    brought = [Path(local_data(f"s3://{bucket}/{name}")) for name in ("used", "unused")]
    for path in brought:
        os.utime(path.parent, (0, 0))
    local_data(f"s3://{bucket}/used")
    local_data(f"s3://{bucket}/new")
    assert [path.exists() for path in brought] == [True, False]
    assert len(list(brought[0].parents[1].iterdir())) == 2


def test_local_data_leaves_no_partial_download(
    bucket: str, s3: Any, relay: StartRelay, tmp_path: Path
) -> None:
    upload(s3, bucket, {"train/a/1.png": b"x" * 10_000, "train/a/2.png": b"y" * 10_000}, "p/")
    broken: list[str] = []

    def fault(name: str) -> str | None:
        if "2.png" in name and len(broken) < 2:
            broken.append(name)
            return "truncate"
        return None

    relay(fault)
    folder = Path(local_data(f"s3://{bucket}/p"))
    assert [path.stat().st_size for path in sorted(folder.rglob("*.png"))] == [10_000, 10_000]
    assert broken
    relay(lambda name: (403, "AccessDenied") if "2.png" in name else None)
    s3.put_object(Bucket=bucket, Key="p/train/a/3.png", Body=b"z")
    with pytest.raises(StoreError):
        local_data(f"s3://{bucket}/p")
    places = list((tmp_path / "data").iterdir())
    assert [place / "p" for place in places] == [folder], "nothing half-brought beside the whole"


def test_local_data_errors_are_one_line(bucket: str, s3: Any) -> None:
    with pytest.raises(BadInput, match="there is nothing at"):
        local_data(f"s3://{bucket}/nowhere")
    with pytest.raises(StoreError, match="no such bucket"):
        local_data("s3://not-a-bucket-of-mine/x")
    s3.put_object(Bucket=bucket, Key="bad/../../x.png", Body=b"z")
    with pytest.raises(StoreError, match="rename it"):
        local_data(f"s3://{bucket}/bad")


@pytest.mark.parametrize(
    ("files", "key", "expected"),
    [
        (
            {"1.png": png(1), "2.png": png(2)},
            "pets",
            "sort the images into a folder for each class",
        ),
        ({"test/a/1.png": png(1), "val/a/1.png": png(2)}, "pets", "no folder train"),
        ({"1.png": png(1), "x.csv": b"file,label"}, "pets/y.csv", "isn't there; expected a table"),
        (
            {"train/a/1.png": png(1), "test/b/1.png": png(2)},
            "pets/",
            "classes in test that train lacks",
        ),
        ({"film.mp4": b"long"}, "pets/film.mp4", "is no folder, archive or table"),
    ],
)
def test_a_layout_that_can_not_be_trained_is_refused_after_the_listing(
    files: dict[str, bytes],
    key: str,
    expected: str,
    bucket: str,
    s3: Any,
    relay: StartRelay,
    tmp_path: Path,
) -> None:
    upload(s3, bucket, files, "pets/")
    watch = relay()
    with pytest.raises(BadInput, match=expected) as caught:
        find_data(f"s3://{bucket}/{key}")
    assert f"s3://{bucket}/{key}" in str(caught.value)
    assert not [name for name in watch.requests if name.startswith("GET") and ".png" in name]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["pets", "pets/x.csv", "pets.zip"])
@pytest.mark.parametrize("layout", ["class folders", "train and val", "a table"])
def test_layouts_in_a_bucket_read_like_those_here(
    layout: str, name: str, bucket: str, s3: Any, tmp_path: Path
) -> None:
    folders = {"class folders": [""], "train and val": ["train/", "val/"], "a table": ["data/"]}
    files = labelled_pngs(folders[layout], ["a", "b"], 3)
    if layout == "a table":
        rows = "".join(f"{file},{file.split('/')[1]}\n" for file in files)
        files["x.csv"] = f"file,label\n{rows}".encode()
    elif name.endswith(".csv"):
        pytest.skip("no table")
    here = write_folder(tmp_path / "pets", files)
    archive = write_zip(tmp_path / "pets.zip", files)
    upload(s3, bucket, files, "pets/")
    upload(s3, bucket, {"pets.zip": archive.read_bytes()})
    found = read_source(find_data(f"s3://{bucket}/{name}"), 8)
    assert same(found, read_source(find_source(str(here)), 8))


def test_faults_of_images_in_a_bucket_name_its_address(
    bucket: str, s3: Any, tmp_path: Path
) -> None:
    broken = {**small_set(), "train/car/1.png": b"", "train/car/2.png": b""}
    upload(s3, bucket, {**broken, "train/car/1.png": b"no image", "x.zip": b"PK no zip"}, "pets/")
    address = f"s3://{bucket}/pets"
    for each, expected in ((address, "can't be decoded"), (f"{address}/x.zip", "can't be read")):
        with pytest.raises(BadInput, match=expected) as caught:
            read_source(find_data(each), 8, max_unreadable=0.0)
        assert str(caught.value).startswith(each)
        assert str(tmp_path) not in str(caught.value)


def test_store_address_is_given_or_from_the_environment_or_a_folder_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELEVO_STORE", raising=False)
    assert store_address(None) == str(tmp_path / "artifacts")
    monkeypatch.setenv("RELEVO_STORE", "s3://bucket/x")
    assert store_address(None) == "s3://bucket/x"
    assert store_address("y") == str(tmp_path / "y")
