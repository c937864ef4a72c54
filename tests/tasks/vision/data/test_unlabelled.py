"""Images to predict come in batches from any folder or archive; batches are prefetched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
from support.images import JPEG_XL, png, write_folder, write_zip

from tasks.inference.predict import ImageSample
from tasks.vision.data import unlabelled
from tasks.vision.data.batches.prefetch import prefetch
from tasks.vision.data.unlabelled import UnlabelledImages
from tasks.vision.pictures import decode_pool
from tasks.vision.text import printable


def test_many_arguments_are_one_batch(tmp_path: Path) -> None:
    files = {f"{row:03d}.png": png(row) for row in range(300)}
    folder = write_folder(tmp_path / "folder", files)
    given = [str(folder / name) for name in files]
    with UnlabelledImages(given) as one_by_one, UnlabelledImages([str(folder)]) as together:
        (a,), (b,) = one_by_one.batches(8), together.batches(8)
    assert a.names == b.names == given
    assert (a.images == b.images).all()


def test_batches_follow_the_order_of_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlabelled, "BATCH", 7)
    monkeypatch.setattr(decode_pool, "PROCESSES_FROM", 10)  # one pool of workers for all batches
    files = {f"{row:02d}.png": b"broken" if row == 5 else png(row) for row in range(10)}
    archive = write_zip(tmp_path / "a.zip", dict(reversed(files.items())))
    folder = write_folder(tmp_path / "b", files)
    with UnlabelledImages([str(archive), str(folder), str(folder / "00.png")]) as found:
        assert len(found) == 21
        batches = list(found.batches(8))
    assert [len(each.names) + len(each.unreadable) for each in batches] == [7, 7, 7]
    names = [name for each in batches for name in each.names]
    expected = [str(place / name) for place in (archive, folder) for name in files]
    expected.append(str(folder / "00.png"))
    assert names == [name for name in expected if "05.png" not in name]
    assert [name for each in batches for name in each.unreadable] == [
        str(archive / "05.png"),
        str(folder / "05.png"),
    ]
    images = np.concatenate([each.images for each in batches])
    assert (images[:9] == images[9:18]).all()
    assert (images[-1] == images[0]).all()


def test_names_not_in_utf8_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", {"a.png": png(1), "deep/c.png": png(2)})
    (folder / "b\udcff.png").write_bytes(png(3))
    (folder / "\udcfe").mkdir()
    (folder / "\udcfe" / "d.png").write_bytes(png(4))
    with UnlabelledImages([str(folder)]) as found:
        (batch,) = found.batches(8)
    assert batch.names == [str(folder / "a.png"), str(folder / "deep/c.png")]
    assert batch.unreadable == {
        str(folder / name): "its name is not UTF-8; rename it" for name in ("b\udcff.png", "\udcfe")
    }
    assert [printable(Path(name).name) for name in batch.unreadable] == ["b\\xff.png", "\\xfe"]


@pytest.mark.parametrize("target", [".", "..", "../..", "link", "../other"])
def test_link_loop_is_left_out_and_named_once(target: str, tmp_path: Path) -> None:
    """To a folder that it lies in, to itself, or to one with a link to its own; a broken one beside it."""
    folder = write_folder(tmp_path / "top", {"in/a.png": png(1), "z.png": png(2)})
    (folder / "in/link").symlink_to(target)
    (folder / "in/gone.png").symlink_to("nowhere")
    if target == "../other":
        (folder / "other").mkdir()
        (folder / "other/link").symlink_to("../in")
    with UnlabelledImages([str(folder)]) as found:
        (batch,) = found.batches(8)
    good = [str(folder / "z.png"), str(folder / "in/a.png")]
    back = "a link to itself or to a folder that it is in; remove the link"
    left = [name for name, reason in batch.unreadable.items() if reason == back]
    assert str(folder / "in/gone.png") in batch.unreadable
    if target == "../other":  # each is seen from the other, once
        assert left == [str(folder / name) for name in ("in/link/link", "other/link/link")]
    else:
        assert batch.names == good
        assert left == [str(folder / "in/link")]


def test_photos_of_unsupported_formats_are_left_out_and_named(tmp_path: Path) -> None:
    files = {"a.jxl": JPEG_XL, "b.png": png(1), "c.txt": b"passed over"}
    folder = write_folder(tmp_path / "folder", files)
    archive = write_zip(tmp_path / "a.zip", {"only.heic": JPEG_XL})
    with UnlabelledImages([str(folder), str(archive), str(folder / "a.jxl")]) as found:
        (batch,) = found.batches(8)
    assert batch.names == [str(folder / "b.png")]
    assert batch.unreadable == {
        str(folder / "a.jxl"): "JPEG XL can't be read; convert it to JPEG",
        str(archive / "only.heic"): "JPEG XL can't be read; convert it to JPEG",
    }


@pytest.mark.parametrize("write", [write_folder, write_zip])
def test_files_are_images_by_their_content_and_others_are_counted_by_kind(
    write: Callable[[Path, dict[str, bytes]], Path], tmp_path: Path
) -> None:
    files = {
        "b/a.jfif": png(1),
        "b/no ending": png(2),
        "c.png": png(3),
        "x.cr2": b"II",
        "x.png": png(4),
    }
    others = {"notes.txt": b".", "b/more.TXT": b".", "b/film.avi": bytes(300), "b/.img.png": png(5)}
    junk = {"@eaDir/c.png": png(6), "Thumbs.db": b"."}
    path = write(tmp_path / "set.zip", files | others | junk)
    with UnlabelledImages(
        [str(path), str(write_folder(tmp_path / "d", {"1.png": png(1)}))]
    ) as found:
        (batch,) = found.batches(8)
    names = ["c.png", "x.png", "b/a.jfif", "b/no ending"]
    assert batch.names == [*(str(path / name) for name in names), str(tmp_path / "d/1.png")]
    assert list(map(str, found.left_out)) == [
        "files that are no images: .txt (2), such as notes.txt",
        "images hidden by a dot at the beginning of a name (rename it): b/ (1), such as b/.img.png",
        "files that are no images: .avi (1), such as b/film.avi",
    ]


def test_batch_size_shrinks_for_large_images() -> None:
    assert unlabelled.batch_size(32) == 2000
    assert 1 <= unlabelled.batch_size(1024) <= 22
    assert unlabelled.batch_size(100_000) == 1


def counted(made: list[int], most: int) -> Generator[int, None, None]:
    for number in range(most):
        made.append(number)
        yield number


def test_prefetch_makes_no_more_than_depth_in_advance() -> None:
    made: list[int] = []
    with prefetch(counted(made, 100), 3) as numbers:
        assert next(numbers) == 0
        end = time.monotonic() + 10
        while len(made) < 5 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(made) == 5  # one taken, three waiting, one in hand
        assert list(numbers) == list(range(1, 100))


def test_prefetch_raises_in_turn_and_ends_its_thread() -> None:
    def faulty() -> Generator[int, None, None]:
        yield 1
        raise ValueError("the second")

    with prefetch(faulty(), 5) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="the second"):
            next(items)
    closed: list[str] = []

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    with prefetch(endless(), 2) as items:
        next(items)
    assert closed == ["prefetch"]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("count", [0, 5, 40, 1000, 12_345])
def test_sample_is_spread_over_all_images(count: int) -> None:
    sample = ImageSample(most=20)
    numbers = np.arange(count)
    for part in np.array_split(numbers, 7):
        images = np.zeros((len(part), 2, 2, 3), np.uint8)
        chances = np.stack([part, -part], 1).astype(np.float32)
        sample.offer(images, chances, ["a"] * len(part))
    sampled = [int(row[0]) for row in sample._probabilities]
    assert len(sampled) <= 80
    assert sampled == list(range(0, count, sampled[1] - sampled[0] if len(sampled) > 1 else 1))
    assert len(sampled) >= min(count, 20)
    assert sample.grid(["a", "b"], "many").startswith(b"\x89PNG")
