"""Zip and tar files, checked before they are read: their members' names, kinds and sizes.

An archive may come from anywhere. `Archive` is the folder tree of the members that passed the
checks; `Tar` and `Zip` fill it.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from tasks.vision.data.image_files import MAX_FILE_BYTES, is_hidden, is_image
from tasks.vision.errors import BadInput
from tasks.vision.text import check_utf8, not_utf8, printable

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

MAX_MEMBERS = 5_000_000
MAX_INFLATION = 200  # times the archive's own size ...
FREE_INFLATION = 100_000_000  # ... beyond this many bytes, so that tiny archives may pack well

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError),
    # Raised by the standard library's parsers on invalid bytes.
    *(ValueError, struct.error, LookupError, ArithmeticError, RuntimeError),
)


class Archive:
    """The folder tree of an archive, built from members that have passed every check."""

    def __init__(self, path: Path) -> None:
        self.given = printable(path)
        self._path = path
        self._tree: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        self._members = 0
        self._bytes = 0
        self._allowed = max(FREE_INFLATION, MAX_INFLATION * path.stat().st_size)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._tree.get(folder, ((), ()))
        return list(folders), list(files)

    def is_link_loop(self, path: str) -> bool:
        return False  # an archive with links is refused

    def close(self) -> None:
        pass

    def add(self, name: str, size: int, *, folder: bool) -> str | None:
        """Check one more member; its normalised path, or None if it is a folder or ignored."""
        self._members += 1
        self._bytes += size
        if self._members > MAX_MEMBERS:
            raise self._refusal(f"has more than {MAX_MEMBERS} members", "fewer")
        if self._bytes > self._allowed:
            most = f"at most {MAX_INFLATION} times its own size"
            raise self._refusal(f"claims to unpack to more than {self._allowed} bytes", most)
        if size > MAX_FILE_BYTES and is_image(name):
            raise self.bad_member(name, f"{size} bytes", f"images of at most {MAX_FILE_BYTES}")
        parent, _, last = name.rpartition("/")
        node = self._tree.get(parent)
        # The checks below are slow; most files need none, since their folder has passed them.
        plain = last.isascii() and not last.startswith(".") and "\\" not in last
        if folder or node is None or not parent or not plain:
            check_utf8(self.given, name)
            if ".." in re.split(r"[\\/]", name) or re.match(r"[\\/]|[A-Za-z]:[\\/]", name):
                raise self.bad_member(name, "outside of it", "names such as train/cat/1.png")
            pieces = [piece for piece in name.split("/") if piece not in ("", ".")]
            if any(map(is_hidden, pieces)):
                return None
            if folder:
                self._grow("/".join(pieces))
                return None
            parent, last = "/".join(pieces[:-1]), pieces[-1]
            node = self._grow(parent)
        if last in node[1]:
            raise self.bad_member(name, "there twice", "each name once")
        node[1].add(last)
        return f"{parent}/{last}" if parent else last

    def _grow(self, folder: str) -> tuple[set[str], set[str]]:
        """The (folders, files) of a folder, created if it is new."""
        path = ""
        node = self._tree[path]
        for piece in folder.split("/") if folder else ():
            node[0].add(piece)
            path = f"{path}/{piece}" if path else piece
            node = self._tree.setdefault(path, (set(), set()))
        return node

    def bad_member(self, name: str, fault: str, expected: str) -> BadInput:
        return self._refusal(f"has a member {name!r} that is {fault}", expected)

    def _refusal(self, fault: str, expected: str) -> BadInput:
        return BadInput(f"{self.given} {fault}; expected {expected}: pack it again")


@contextmanager
def refusing_damage(given: str) -> Iterator[None]:
    """Convert the parsers' exceptions on a damaged archive to `BadInput`."""
    try:
        yield
    except BadInput:
        raise
    except UnicodeDecodeError as error:
        raise not_utf8(given, error.object) from error
    except _DAMAGE as error:
        raise BadInput(
            f"{given} can't be read ({error or type(error).__name__}); expected a whole archive"
            f" ({', '.join(ARCHIVE_SUFFIXES)}): copy or pack it again"
        ) from error


class Tar(Archive):
    """A tar file, plain or gzipped: listed in one pass, read in another, in the file's own order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._offsets: dict[str, tuple[int, int]] = {}
        with closing(self._stream()) as stream:
            self._list(stream)

    def _stream(self) -> _Stream:
        file = self._path.open("rb")
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return _Stream(gzip.GzipFile(fileobj=file) if gzipped else file, file)

    def _list(self, stream: _Stream) -> None:
        tar = tarfile.TarFile(
            fileobj=stream,  # type: ignore[arg-type]
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it holds every header in memory
            if not (member.isdir() or (member.isreg() and not member.issparse())):
                raise self.bad_member(member.name, "a link or device", "plain files")
            if member.size < 0:  # tarfile would read the same header again and again
                raise tarfile.ReadError(f"{member.name!r} has a negative size")
            clean = self.add(member.name, member.size, folder=member.isdir())
            if clean is not None:
                self._offsets[clean] = member.offset_data, member.size
        # tarfile takes a broken header for the end and would silently drop the rest.
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no end mark, or a broken header, at byte {tar.offset}")
        end = stream.tell() + FREE_INFLATION
        while stream.read(2**20):  # up to the checksum at the end of a gzip file
            if stream.tell() > end:
                raise tarfile.ReadError("endless padding")

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        offsets = [self._offsets[path] for path in paths]
        with refusing_damage(self.given), closing(self._stream()) as stream:
            for index in sorted(range(len(offsets)), key=offsets.__getitem__):
                offset, size = offsets[index]
                stream.seek(offset)
                data = stream.read(size)
                if len(data) != size:
                    raise EOFError(f"{paths[index]!r} ends early")
                yield index, data


class _Stream:
    """A file with limited reads, since a tar header may claim a name of any length."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, raw: IO[bytes]) -> None:
        self._file = file
        self._raw = raw
        self.seek = file.seek
        self.tell = file.tell
        self.last = b""  # result of the last read

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_FILE_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        self.last = self._file.read(size)
        return self.last

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class Zip(Archive):
    """A zip file, read by random access."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        # Names without the UTF-8 flag are often UTF-8 too; their code page can't be guessed.
        with zipfile.ZipFile(path, metadata_encoding="utf-8") as file:
            infos = file.infolist()
            # Old programs on Windows wrote a backslash for "/", against the format; none mixes the two.
            backslashed = not any("/" in info.filename for info in infos)
            for info in infos:
                name = info.filename.replace("\\", "/") if backslashed else info.filename
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise self.bad_member(info.filename, "a link or device", "plain files")
                if info.flag_bits & 1:
                    raise self.bad_member(info.filename, "encrypted", "no password")
                size = max(info.file_size, info.compress_size)
                clean = self.add(name, size, folder=name.endswith("/"))
                if clean is not None:
                    self._infos[clean] = info

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        infos = [self._infos[path] for path in paths]
        order = sorted(range(len(infos)), key=lambda index: infos[index].header_offset)
        with refusing_damage(self.given), self._path.open("rb") as file:
            for index in order:
                yield index, _zip_member(file, infos[index])


def _zip_member(file: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    """A member's bytes, checked; `ZipFile.open` takes four times as long for a small one."""
    file.seek(info.header_offset)
    header = file.read(30)
    if not header.startswith(b"PK\3\4"):
        raise zipfile.BadZipFile(f"no member {info.filename!r} at byte {info.header_offset}")
    file.seek(sum(struct.unpack("<HH", header[26:])), os.SEEK_CUR)
    data = file.read(info.compress_size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        # One byte more than claimed proves a wrong size, without inflating the rest.
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
    elif info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{info.filename!r} is neither stored nor deflated")
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename!r} doesn't match its checksum")
    return data
