"""The headers of a tar file, read with a limit on each: ustar, GNU and pax.

By hand, since `tarfile` reads names of any length into memory, takes a broken header for the end, and
before Python 3.12.6 needs time quadratic in the length of a pax header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from tarfile import ReadError
from typing import Protocol

BLOCK = 512
MAX_EXTENSION_BYTES = 64 * 2**10  # of one header that holds a long name or pax records
MAX_EXTENSIONS = 8  # such headers before one member
MAX_PADDING = 100_000_000  # bytes of zeros after an end mark

_FILES, _FOLDER, _NAME, _PAX = b"0\0\x007", b"5", b"L", b"xX"
_IGNORED = b"KgV"  # the target of a link, records for all members, the name of the volume


@dataclass(frozen=True)
class Member:
    """One member; `data` is the byte at which its content begins, in the unpacked stream.

    Attributes:
        kind: "file", "folder", "other" (a link, device or sparse file), or "cut": the file ends here
            without an end mark.
    """

    name: str
    kind: str
    data: int
    size: int


class Stream(Protocol):
    """A file that is read forwards."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""

    def seek(self, position: int, /) -> int:
        """Go to a byte."""


def members(stream: Stream, encoding: str) -> Iterator[Member]:
    """Yield the members of a tar file, and those of further tar files that follow its end mark.

    Raises:
        UnicodeDecodeError: a name is in another encoding.
        ReadError: a broken header or the end of the file in the middle of a member.
    """
    position = 0
    names: list[str] = []  # of extensions that apply to the next member
    extensions, size_record = 0, None
    while True:
        stream.seek(position)
        block = stream.read(BLOCK)
        if not block and position and not extensions:
            yield Member("", "cut", position, 0)  # as some programs write it
            return
        if block == bytes(BLOCK):
            position = _after_zeros(stream, position)
            if not position:
                return
            continue
        kind, size = _checked(block, position)
        position += BLOCK
        if kind in _NAME + _PAX + _IGNORED:
            extensions += 1
            if size > MAX_EXTENSION_BYTES or extensions > MAX_EXTENSIONS:
                raise ReadError(f"a header claims a name or records of {size} bytes")
            content = stream.read(size)
            if len(content) != size:
                raise ReadError(f"it ends in a header at byte {position}")
            if kind in _NAME:
                names.append(_text(content, encoding))
            elif kind in _PAX:
                records = _records(content)
                names += [_text(records[b"path"], encoding)] if b"path" in records else []
                size_record = records.get(b"size", size_record)
                if any(key.startswith(b"GNU.sparse.") for key in records):
                    yield Member(_text(records.get(b"path", b"?"), encoding), "other", position, 0)
            position += -(-size // BLOCK) * BLOCK
            continue
        if size_record is not None:
            size = _decimal(size_record)
        name = names[-1] if names else _short_name(block, encoding)
        folder = kind in _FOLDER or (kind in _FILES and name.endswith("/"))
        what = "folder" if folder else "file" if kind in _FILES else "other"
        yield Member(name, what, position, 0 if folder else size)
        end = position + (0 if folder or what == "other" else size)
        if end > position:
            stream.seek(end - 1)
            if not stream.read(1):
                raise ReadError(f"{name!r} ends early")
        position = -(-end // BLOCK) * BLOCK
        names, extensions, size_record = [], 0, None


def _after_zeros(stream: Stream, position: int) -> int:
    """Position of the next block that isn't zero, which is of a tar file that was joined; 0 if none is."""
    end = position + MAX_PADDING
    stream.seek(position)
    while block := stream.read(BLOCK):
        if block.strip(b"\0"):
            return position
        position += len(block)
        if position > end:
            raise ReadError("endless padding")
    return 0


def _checked(block: bytes, position: int) -> tuple[bytes, int]:
    """Type and size of a header whose checksum holds."""
    if len(block) != BLOCK:
        raise ReadError(f"it ends in a header at byte {position}")
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(rest) - 256 * sum(byte > 127 for byte in rest)  # as some old programs add
    if _number(block[148:156]) not in (sum(rest), signed):
        raise ReadError(f"a broken header at byte {position}")
    size = _number(block[124:136])
    if not 0 <= size < 2**63:
        raise ReadError(f"a header claims {size} bytes at byte {position}")
    return block[156:157], size


def _number(field: bytes) -> int:
    if field[0] in (0x80, 0xFF):  # GNU: big-endian, two's complement
        return int.from_bytes(field[1:]) - (256 ** (len(field) - 1) if field[0] == 0xFF else 0)
    text = field.split(b"\0")[0].strip()
    if not re.fullmatch(rb"[0-7]*", text):
        raise ReadError("a broken number in a header")
    return int(text or b"0", 8)


def _decimal(record: bytes) -> int:
    if not re.fullmatch(rb"\d{1,18}", record):
        raise ReadError("a broken size in a header")
    return int(record)


def _short_name(block: bytes, encoding: str) -> str:
    name = _text(block[:100], encoding)
    prefix = _text(block[345:500], encoding) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes, encoding: str) -> str:
    return field.split(b"\0")[0].decode(encoding)


def _records(content: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of a pax header."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(content) and content[at]:
        length, space, _ = content[at : at + 8].partition(b" ")
        end = at + (int(length) if length.isdigit() else 0)
        key, equals, value = content[at + len(length) + 1 : end - 1].partition(b"=")
        if not (space and equals and end <= len(content) and content[end - 1 : end] == b"\n"):
            raise ReadError("a broken record in a header")
        found[key] = value
        at = end
    return found
