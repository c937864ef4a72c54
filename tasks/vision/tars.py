"""A tar file of images, plain or gzipped, read in its own order without unpacking it."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

from tasks.vision.archives import FREE_INFLATION, Archive, refusing_damage
from tasks.vision.files import MAX_FILE_BYTES, foreign


class Tar(Archive):
    """A tar file, plain or gzipped: one pass lists it, another reads it in the file's own order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._places: dict[str, tuple[int, int]] = {}
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
            tar.members.clear()  # type: ignore[attr-defined]  # else every header is kept for ever
            if not (member.isdir() or (member.isreg() and not member.issparse())):
                raise self.bad_member(member.name, "a link or device", "plain files")
            if member.size < 0:  # it would send tarfile back, round and round
                raise tarfile.ReadError(f"{member.name!r} has a negative size")
            clean = self.add(member.name, member.size, folder=member.isdir())
            if clean is not None:
                self._places[clean] = member.offset_data, member.size
        # tarfile takes a broken header for the end, and would lose the rest in silence.
        if stream.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"no end mark, or a broken header, at byte {tar.offset}")
        end = stream.tell() + FREE_INFLATION
        while stream.read(2**20):  # up to the checksum at the end of a gzip file
            if stream.tell() > end:
                raise tarfile.ReadError("endless padding")

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        places = [self._places[path] for path in paths]
        with refusing_damage(self.given), closing(self._stream()) as stream:
            for index in sorted(range(len(places)), key=places.__getitem__):
                if fault := foreign(paths[index]):
                    yield index, fault
                    continue
                offset, size = places[index]
                stream.seek(offset)
                data = stream.read(size)
                if len(data) != size:
                    raise EOFError(f"{paths[index]!r} ends early")
                yield index, data


class _Stream:
    """A file that won't be read in a gulp: a tar header may claim a name of any length."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, raw: IO[bytes]) -> None:
        self._file = file
        self._raw = raw
        self.seek = file.seek
        self.tell = file.tell
        self.last = b""  # what the last read gave

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_FILE_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        self.last = self._file.read(size)
        return self.last

    def close(self) -> None:
        self._file.close()
        self._raw.close()
