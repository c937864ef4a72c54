"""Tar files, plain or gzipped."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from tasks.vision.files.archives import Archive, refusing_damage
from tasks.vision.files.image_files import is_image
from tasks.vision.files.tar_members import members
from tasks.vision.pictures.kinds import HEAD_BYTES, Kind, sniff


class Tar(Archive):
    """A tar file, plain or gzipped: listed in one pass, read in another, in the file's own order."""

    def __init__(self, path: Path, given: str) -> None:
        try:
            self._list(path, given, "utf-8")
        except UnicodeDecodeError:  # from a system with another encoding; read as zip_files does
            self._list(path, given, "cp437")

    def _list(self, path: Path, given: str, encoding: str) -> None:
        super().__init__(path, given)
        self._offsets: dict[str, tuple[int, int]] = {}
        self._kinds: dict[str, Kind | None] = {}  # of files that are not named like images
        with self._stream() as stream:
            for member in members(stream, encoding):
                if member.kind == "cut":
                    self.cut = True
                    continue
                if member.kind == "other":
                    raise self.bad_member(member.name, "a link or device", "plain files")
                clean = self.add(member.name, member.size, folder=member.kind == "folder")
                if clean is None:
                    continue
                self._offsets[clean] = member.data, member.size
                if not is_image(clean):
                    self._kinds[clean] = sniff(stream.read(min(member.size, HEAD_BYTES)))

    @contextmanager
    def _stream(self) -> Iterator[IO[bytes] | gzip.GzipFile]:
        with self._path.open("rb") as file:
            self._gzipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not self._gzipped:
                yield file
                return
            with closing(gzip.GzipFile(fileobj=file)) as unpacked:
                yield unpacked

    def kind(self, path: str) -> Kind | None:
        return self._kinds[path]

    def reading_order(self, paths: Sequence[str]) -> list[int]:
        if not self._gzipped:
            return []
        return sorted(range(len(paths)), key=lambda index: self._offsets[paths[index]])

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        offsets = [self._offsets[path] for path in paths]
        with refusing_damage(self.given), self._stream() as stream:
            for index in sorted(range(len(offsets)), key=offsets.__getitem__):
                if fault := self._too_large.get(paths[index]):
                    yield index, fault
                    continue
                offset, size = offsets[index]
                stream.seek(offset)
                data = stream.read(size)
                if len(data) != size:
                    raise EOFError(f"{paths[index]!r} ends early")
                yield index, data
