"""Small archives that claim or unpack to a lot are refused in a line, soon and in little memory."""

from __future__ import annotations

import copy
import gzip
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command import ROOT

BLOCK = 512


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def extension(kind: bytes, content: bytes, claimed: int | None = None) -> bytes:
    size = len(content) if claimed is None else claimed
    return header("x", size, kind) + padded(content)


def record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    return str(length + (len(str(length)) > len(str(len(rest))))).encode() + rest


def gzipped(parts: Iterator[bytes]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for part in parts:
            file.write(part)
    return buffer.getvalue()


def zip_of_names(names: Iterator[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"")
    return buffer.getvalue()


def overlapping_zip() -> bytes:
    """As in Fifield's "A better zip bomb": each member's bytes hold the headers of the next ones."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a/0.png", bytes(60_000_000))
        for i in range(1, 300):
            info = copy.copy(archive.infolist()[0])
            info.filename = f"train/a/{i}.png"
            archive.filelist.append(info)
    return buffer.getvalue()


NAMES = tarfile.GNUTYPE_LONGNAME
HOSTILE: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a long GNU name": lambda: (
        ".tar.gz",
        gzipped(iter([header("x", 2**28, NAMES), *[bytes(2**20)] * 30])),
    ),
    "a long pax name": lambda: (
        ".tar.gz",
        gzipped(iter([extension(b"x", record(b"path", b"a/" * 2**22))])),
    ),
    "many parts": lambda: (
        ".tar.gz",
        gzipped(
            extension(NAMES, f"{i:05}/".encode() + b"a/" * 30_000) + header("x") for i in range(90)
        ),
    ),
    "many parts within bounds": lambda: (
        ".tar.gz",
        gzipped(
            extension(NAMES, f"{i}/{'a' * 38}/".encode() * 95 + b"x.png") + header("x")
            for i in range(3000)
        ),
    ),
    "a zip of long names": lambda: (
        ".zip",
        zip_of_names(f"{i}/" + "a/" * 32_000 for i in range(12)),
    ),
    "a zip of folders": lambda: (
        ".zip",
        zip_of_names(f"{i}/" + "/".join("abcdefghij" * 9) + "/x" for i in range(3000)),
    ),
    "overlapping members": lambda: (".zip", overlapping_zip()),
    "a gzip bomb": lambda: (
        ".tgz",
        gzipped(iter([header("bomb", 2**30), *[bytes(2**20)] * 150])),
    ),
    "a gzip bomb of padding": lambda: (
        ".tgz",
        gzipped(iter([header("train/a/1.png"), *[bytes(2**20)] * 110])),
    ),
    "extensions without end": lambda: (
        ".tar.gz",
        gzipped(extension(b"x", record(b"path", b"a")) for _ in range(50)),
    ),
    "records of all members": lambda: (
        ".tar.gz",
        gzipped(
            extension(b"g", b"".join(record(b"%d" % (5000 * i + j), b"") for j in range(4000)))
            + header(f"train/a/{i}.png")
            for i in range(60)
        ),
    ),
    "digits in a pax header": lambda: (".tar", extension(b"x", b"1" * 65_000) + header("x")),
    "records without a sign": lambda: (".tar", extension(b"x", b"4 a\n" * 16_000) + header("x")),
    "a negative size": lambda: (".tar", header("train/a/1.png", -1)),
    "a pax size": lambda: (
        ".tar",
        extension(b"x", record(b"size", b"9" * 18)) + header("train/a/1.png"),
    ),
    "an endless pax size": lambda: (
        ".tar",
        extension(b"x", record(b"size", b"9" * 60_000)) + header("train/a/1.png"),
    ),
    "a sparse pax member": lambda: (
        ".tar",
        extension(b"x", record(b"GNU.sparse.realsize", b"9" * 15)) + header("train/a/1.png"),
    ),
    "a link up": lambda: (".tar", header("train/a", kind=tarfile.SYMTYPE)),
    "an archive in an archive": lambda: (
        ".zip",
        zip_of_names(f"train/{'ab'[i % 2]}/{i}.zip" for i in range(9)),
    ),
}

LIMITED = """
import resource, sys, time
from tasks.vision.data.sources import find_source, read_source
from tasks.vision.errors import BadInput
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
before = time.process_time()
try:
    read_source(find_source(sys.argv[1]), 8)
except BadInput as error:
    print(error)
# Unlike ru_maxrss it doesn't count the process that started this one.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time() - before, peak)
"""


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archive_is_refused_within_seconds_and_little_memory(
    case: str, tmp_path: Path
) -> None:
    suffix, data = HOSTILE[case]()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    message, costs = done.stdout.splitlines()
    assert message.startswith(str(path))
    assert "expected" in message
    assert len(message) < 1000
    seconds, peak = costs.split()
    assert float(seconds) < 5
    assert int(peak) < 2**20  # KiB
