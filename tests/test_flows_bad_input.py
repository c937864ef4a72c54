"""Bad images, archives and full disks: one line, exit status 2, and nothing half-written."""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL, Relevo, environment
from images import png, write_folder, write_zip
from PIL import Image

pytestmark = pytest.mark.slow

RECIPE = """
[data]
source = "photos"
image_size = 16
[stages.baseline]
epochs = 1
network = { widths = [8] }
"""


def photos(classes: tuple[str, ...] = ("cat", "dog"), count: int = 20) -> dict[str, bytes]:
    names = [(split, label) for split in ("train", "test") for label in classes]
    return {
        f"{split}/{label}/{i}.png": png(100 * n + i, (16, 16))
        for n, (split, label) in enumerate(names)
        for i in range(count)
    }


def huge() -> bytes:
    """A PNG whose header claims 50,000 x 50,000 pixels."""
    whole = bytearray(png(0))
    whole[16:24] = (50_000).to_bytes(4) * 2
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4)
    return bytes(whole)


def linked(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in photos().items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("train/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def no_utf8(path: Path) -> Path:
    write_folder(path, photos())
    Path(str(path / "train" / "cat") + "/\udcff.png").write_bytes(png(1))
    return path


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an empty class": (lambda p: write_folder(p, {**photos(), "train/owl/": b""}), "owl"),
    "text files called .png": (
        lambda p: write_folder(
            p, {**photos(), **{f"train/cat/t{i}.png": b"text" for i in range(9)}}
        ),
        "t0.png",
    ),
    "a climbing path": (
        lambda p: write_zip(p.with_suffix(".zip"), {"../x.png": b"", **photos()}),
        "..",
    ),
    "a link": (lambda p: linked(p.with_suffix(".tar")), "link"),
    "a name that is not UTF-8": (no_utf8, "UTF-8"),
    "one image of a class": (lambda p: write_folder(p, photos(count=1)), "too few"),
}


@pytest.mark.parametrize("case", CASES)
def test_data_that_can_not_be_used(case: str, relevo: Relevo, server: str, tmp_path: Path) -> None:
    make, expected = CASES[case]
    data = make(tmp_path / "data")
    (tmp_path / "mine.toml").write_text(RECIPE)
    words = [
        "run",
        str(tmp_path / "mine.toml"),
        "--data",
        str(data),
        "--store",
        str(tmp_path / "s"),
    ]
    done = relevo(*words, env={"PREFECT_API_URL": server})
    assert done.status == 2, done.err
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("prepare data:")]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("relevo: ")
    assert expected in lines[0]
    left = [path for path in (tmp_path / "s").rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []


def test_damaged_files_are_named_and_every_mode_is_read(
    relevo: Relevo, server: str, tmp_path: Path
) -> None:
    data = write_folder(tmp_path / "data", photos(count=60))
    folder = data / "train" / "cat"
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for mode in ("L", "P", "RGBA", "LA", "1"):
        grey.convert("RGB" if mode == "P" else "L").convert(mode).save(folder / f"mode{mode}.png")
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 256).save(folder / "deep.png")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(png(5, (16, 16))[:60])
    (folder / "huge.png").write_bytes(huge())
    (tmp_path / "mine.toml").write_text(RECIPE)
    words = ["run", str(tmp_path / "mine.toml"), "--data", str(data), "--json"]
    words += ["--store", str(tmp_path / "s"), "--set", "data.max_unreadable=0.05"]
    done = relevo(*words, env={"PREFECT_API_URL": server})
    assert done.json["stages"]["baseline"]["state"] == "trained"
    told = [line for line in done.err.splitlines() if "left out" in line]
    assert len(told) == 3
    for name in ("empty.png", "cut.png", "huge.png: 50000 x 50000 pixels"):
        assert any(name in line for line in told), told


def test_a_full_disk_is_one_line(prefect_home: Path, server: str, tmp_path: Path) -> None:
    def small_files_alone() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    words = ["run", "digits", "--stage", "baseline", "--store", str(tmp_path / "s"), *SMALL]
    done = subprocess.run(
        [sys.executable, "-m", "flows", *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**environment(prefect_home), "PREFECT_API_URL": server},
        preexec_fn=small_files_alone,
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("prepare data:")]
    assert len(lines) == 1, done.stderr
    assert "can't be written" in lines[0]
    assert "free space" in lines[0]
    left = [path for path in (tmp_path / "s").rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []
