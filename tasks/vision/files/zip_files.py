"""Zip files."""

from __future__ import annotations

import itertools
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tasks.vision.files.archives import Archive, refusing_damage
from tasks.vision.pictures.kinds import HEAD_BYTES, Kind, sniff


class Zip(Archive):
    """A zip file, read by random access."""

    def __init__(self, path: Path, given: str) -> None:
        super().__init__(path, given)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        with _open(path) as file:
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
        self._check_overlap(infos)

    def _check_overlap(self, infos: list[zipfile.ZipInfo]) -> None:
        """Refuse members that share bytes, with which a small file unpacks to any size."""
        ordered = sorted(infos, key=lambda info: info.header_offset)
        for info, after in itertools.pairwise(ordered):
            if info.header_offset + info.compress_size >= after.header_offset:
                raise self.bad_member(after.filename, "inside of another", "members side by side")

    def kind(self, path: str) -> Kind | None:
        if path in self._too_large:
            return None
        with self._path.open("rb") as file:
            return sniff(_zip_head(file, self._infos[path]))

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        infos = [self._infos[path] for path in paths]
        order = sorted(range(len(infos)), key=lambda index: infos[index].header_offset)
        with refusing_damage(self.given), self._path.open("rb") as file:
            for index in order:
                too_large = self._too_large.get(paths[index])
                yield index, too_large or _zip_member(file, infos[index])


def _open(path: Path) -> zipfile.ZipFile:
    """Names without the UTF-8 flag are often UTF-8 too; in an archive where one isn't, all are cp437.

    Their code page can't be guessed, but cp437 has a letter for each byte, so that no two names become one.
    """
    try:
        return zipfile.ZipFile(path, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(path)


def _packed(file: IO[bytes], info: zipfile.ZipInfo, most: int) -> bytes:
    """At most `most` of a member's bytes as they are stored."""
    file.seek(info.header_offset)
    header = file.read(30)
    if not header.startswith(b"PK\3\4"):
        raise zipfile.BadZipFile(f"no member {info.filename!r} at byte {info.header_offset}")
    file.seek(sum(struct.unpack("<HH", header[26:])), os.SEEK_CUR)
    return file.read(min(info.compress_size, most))


def _zip_head(file: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    """A member's first bytes, unchecked; empty where they can't be unpacked."""
    data = _packed(file, info, 4 * HEAD_BYTES)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, HEAD_BYTES)
        except zlib.error:
            return b""
    return data[:HEAD_BYTES] if info.compress_type == zipfile.ZIP_STORED else b""


def _zip_member(file: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    """A member's bytes, checked; `ZipFile.open` takes four times as long for a small one."""
    data = _packed(file, info, info.compress_size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        # One byte more than claimed proves a wrong size, without inflating the rest.
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
    elif info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{info.filename!r} is neither stored nor deflated")
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename!r} doesn't match its checksum")
    return data
