"""Decoding many images: processes don't change the result, and all of them end."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from support.command import ROOT
from support.images import encoded, png, read, refused, same, write_zip

from tasks.vision.data.labelled import ImageSet
from tasks.vision.pictures import decode_pool


@pytest.fixture
def large_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six hundred images, enough for processes, some of them unreadable."""
    monkeypatch.setattr(decode_pool, "PROCESSES_FROM", 100)
    monkeypatch.setattr(decode_pool, "CHUNK_IMAGES", 50)
    files = {}
    for index in range(600):
        data = b"broken" if index % 97 == 5 else png(index, (8 + index % 2, 8))
        files[f"{'test' if index % 5 == 0 else 'train'}/{index % 3}/{index}.png"] = data
    return write_zip(tmp_path / "large.zip", files)


def decoders(caller: int | None = None) -> list[psutil.Process]:
    """The decoding processes among a caller's children: other libraries start processes, too."""
    children = psutil.Process(caller).children()
    return [
        child
        for child in children
        if any("tasks.vision.pictures.decode_worker" in w for w in cmdline(child))
    ]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_number_of_workers_does_not_change_the_result(large_zip: Path) -> None:
    alone = read(large_zip, workers=1, max_unreadable=0.1)
    assert len(alone.unreadable) == 7
    for count in (3, None):
        assert same(read(large_zip, workers=count, max_unreadable=0.1), alone)
    folder = large_zip.with_suffix("")
    with zipfile.ZipFile(large_zip) as archive:
        archive.extractall(folder)
    assert same(read(folder, workers=2, max_unreadable=0.1), alone)
    assert not decoders()


def test_threads_give_the_same_result_as_processes(
    large_zip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_processes = read(large_zip, workers=2, max_unreadable=0.1)
    monkeypatch.setattr(decode_pool, "PROCESSES_FROM", 10**9)
    assert same(read(large_zip, workers=3, max_unreadable=0.1), by_processes)


CRASH = """
import os, signal
from PIL.GifImagePlugin import GifImageFile
GifImageFile.load = lambda self: os.kill(os.getpid(), signal.SIGSEGV)
"""


HUNGRY = """
from PIL.GifImagePlugin import GifImageFile
GifImageFile.load = lambda self: bytearray(3 * 2**30)
"""


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        (CRASH, "damaged image (it crashes the decoder)"),
        (HUNGRY, "takes more than 2048 MiB of memory"),
    ],
    ids=["crash", "memory"],
)
def test_file_that_ends_its_worker_is_the_only_one_left_out(
    patch: str, fault: str, large_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands for a fault in a native decoder: each worker's Pillow is patched at its start."""
    alone = read(large_zip, workers=1, max_unreadable=0.1)
    with zipfile.ZipFile(large_zip, "a") as archive:
        archive.writestr("train/0/zz.png", encoded(Image.new("P", (8, 8)), "GIF"))
    (tmp_path / "sitecustomize.py").write_text(patch)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = read(large_zip, workers=2, max_unreadable=0.1)
    line = f"train/0/zz.png: {fault}"
    assert line in found.unreadable
    unreadable = [each for each in found.unreadable if each != line]
    assert same(ImageSet(found.classes, found.splits, unreadable), alone)
    assert not decoders()


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In workers and in threads, without waiting for themselves when a file is mended."""
    large = encoded(Image.new("RGB", (7_000, 5_000), "red"), "PNG", compress_level=1)
    broken = large[:33] + b"\0\0\0\0tEXtnone" + large[33:]
    for many in (1, 10**9):
        monkeypatch.setattr(decode_pool, "PROCESSES_FROM", many)
        out = np.zeros((3, 8, 8, 3), np.uint8)
        files: list[tuple[int, bytes | str]] = [(0, large), (1, broken), (2, large)]
        found = decode_pool.decode_all(files, out, workers=2)
        assert not found.failed
        assert (out == (255, 0, 0)).all()


def test_killed_worker_is_reported_and_all_workers_end(large_zip: Path) -> None:
    def files() -> Iterator[tuple[int, bytes]]:
        image = png(1)
        for index in itertools.count():  # endless, so that the killed worker gets another chunk
            if index == 300:
                decoders()[0].kill()
            yield index % 600, image

    out = np.empty((600, 8, 8, 3), np.uint8)
    with pytest.raises(ChildProcessError, match="exit status -9"):
        decode_pool.decode_all(files(), out, workers=2)
    assert not decoders()


def test_fault_in_a_large_job_is_refused_and_all_workers_end(
    large_zip: Path,
) -> None:
    data = bytearray(large_zip.read_bytes())
    data[data.index(b"300.png") + 60] ^= 255
    large_zip.write_bytes(data)
    refused(lambda: read(large_zip, workers=2, max_unreadable=0.1), "300.png", "checksum")
    assert not decoders()


SCRIPT = """
import hashlib, sys
from tasks.vision.pictures import decode_pool
from tasks.vision.data import sources
decode_pool.PROCESSES_FROM = 100
found = sources.read_source(sources.find_source(sys.argv[1]), 8, workers=2, max_unreadable=0.1)
print(hashlib.sha256(found.splits["train"].images[:].tobytes()).hexdigest())
"""


@pytest.mark.parametrize("start", ["standard input", "file elsewhere"])
def test_workers_need_no_main_guard(start: str, large_zip: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-" if start == "standard input" else str(script), str(large_zip)],
        input=SCRIPT if start == "standard input" else None,
        capture_output=True,
        text=True,
        cwd=ROOT if start == "standard input" else tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    expected = np.asarray(read(large_zip, workers=1, max_unreadable=0.1).splits["train"].images)
    assert done.stdout.split() == [hashlib.sha256(expected.tobytes()).hexdigest()]
    assert done.stderr == ""


ENDLESS = """
import itertools, sys
import numpy as np
from tasks.vision.pictures import decode_pool
from tasks.vision.data.labelled import ImageSet
decode_pool.PROCESSES_FROM = 100
image = open(sys.argv[1], "rb").read()
def endless():
    for index in itertools.count():
        if index == 20_000:  # both workers are busy
            print("ready", flush=True)
        yield index % 600, image
decode_pool.decode_all(endless(), np.empty((600, 8, 8, 3), np.uint8), workers=2)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_caller(stop: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(1))
    caller = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "1.png")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with caller:
        assert caller.stdout is not None
        assert caller.stderr is not None
        caller.stdout.readline()
        children = decoders(caller.pid)
        assert len(children) == 2
        if stop == signal.SIGINT:
            os.killpg(caller.pid, stop)  # as a terminal sends it: to the workers, too
        else:
            caller.send_signal(stop)
        errors = caller.stderr.read().decode()
        assert caller.wait(60) != 0
    end = time.monotonic() + 60
    while any(map(lives, children)):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert errors.count("Traceback") == (1 if stop == signal.SIGINT else 0)


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
