"""A file is what its first bytes say, whatever its name."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image
from support.images import HEIC, JPEG_XL, encoded, write_folder

from tasks.vision.data.unlabelled import UnlabelledImages
from tasks.vision.files.image_files import read_file
from tasks.vision.pictures import decode
from tasks.vision.pictures.kinds import HEAD_BYTES, sniff
from tasks.vision.pictures.limits import UnreadableError

READABLE = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "AVIF"]
FAULTS = {
    "JPEG XL": (JPEG_XL, "JPEG XL can't be read; convert it to JPEG", True),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL can't be read", True),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "JPEG 2000 can't be read", True),
    "CR2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "CR2 can't be read", True),
    "CR3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100), "CR3 can't be read", True),
    "PSD": (b"8BPS\0\1" + bytes(100), "PSD can't be read", True),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG can't", True),
    "icon": (b"\0\0\1\0\1\0\x10\x10" + bytes(100), "ICO can't be read", True),
    "HTML": (b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Not found", "an HTML page, not an", False),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 124\n",
        "a Git LFS pointer, not an image; run git lfs pull",
        False,
    ),
    "PDF": (b"%PDF-1.7\n" + bytes(100), "a PDF, not an image", False),
    "film": (b"\0\0\0\x18ftypisom\0\0\0\0isom" + bytes(100), "a video, not an image", False),
    "AVI": (b"RIFF\0\0\0\0AVI LIST" + bytes(100), "a video, not an image", False),
    "zip": (b"PK\3\4" + bytes(100), "an archive, not an image", False),
    "empty": (b"", "an empty file, not an image", False),
}
UNKNOWN = [b"This is no image.", b"BMW is a make of cars", b"RIFF is a word", bytes(300), b"P6"]


@pytest.mark.parametrize("kind", READABLE)
def test_a_picture_is_read_whatever_its_name(kind: str, tmp_path: Path) -> None:
    data = encoded(Image.new("RGB", (8, 8), "red"), kind)
    found = sniff(data[:HEAD_BYTES])
    assert found
    assert found.picture
    assert not found.fault
    folder = write_folder(tmp_path / "photos", {"IMG_1.HEIC": data})
    with UnlabelledImages([str(folder)]) as images:
        (batch,) = images.batches(8)
    assert not batch.unreadable
    assert (batch.images == decode.decode(data, 8)).all()


def test_heic_names_the_package_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for data in (HEIC, HEIC.replace(b"heic", b"mif1", 1)):
        with pytest.raises(UnreadableError) as caught:
            decode.decode(data, 8)
        said = "HEIC can't be read without pillow-heif; install that, or convert it to JPEG"
        assert str(caught.value) == said


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_no_readable_picture_is_named(case: str, tmp_path: Path) -> None:
    data, fault, picture = FAULTS[case]
    found = sniff(data[:HEAD_BYTES])
    assert found
    assert found.picture is picture
    assert fault in found.fault
    with pytest.raises(UnreadableError, match="^" + fault[:9]):
        decode.decode(data, 8)
    (tmp_path / "1.jpg").write_bytes(data)
    assert read_file(str(tmp_path / "1.jpg")) == found.fault


@pytest.mark.parametrize("data", UNKNOWN)
def test_unknown_bytes_have_no_kind(data: bytes) -> None:
    assert sniff(data[:HEAD_BYTES]) is None


def test_of_several_pages_the_first_is_read() -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    assert tuple(decode.decode(buffer.getvalue(), 8)[0, 0]) == (255, 0, 0)
