"""What every archive must be before it is read: its members' names, kinds, sizes and their sum.

An archive comes from anywhere, so what it claims is checked first. `Archive` is the tree of what
passed; the formats fill it.
"""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.files import MAX_FILE_BYTES, check_utf8, hidden, is_image, not_utf8, shown

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

MAX_MEMBERS = 5_000_000
MAX_INFLATION = 200  # times the archive's own size ...
FREE_INFLATION = 100_000_000  # ... beyond this many bytes, so that tiny archives may pack well

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError),
    # What the standard library's parsers let through on bytes that make no sense.
    *(ValueError, struct.error, LookupError, ArithmeticError, RuntimeError),
)


class Archive:
    """The folder tree of an archive, built from members that have passed every check."""

    def __init__(self, path: Path) -> None:
        self.given = shown(path)
        self._path = path
        self._tree: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        self._members = 0
        self._bytes = 0
        self._allowed = max(FREE_INFLATION, MAX_INFLATION * path.stat().st_size)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._tree.get(folder, ((), ()))
        return list(folders), list(files)

    def leads_back(self, path: str) -> bool:
        return False  # a link in an archive is refused

    def close(self) -> None:
        pass

    def add(self, name: str, size: int, *, folder: bool) -> str | None:
        """The clean path of one more member; None if it is a folder or to be ignored."""
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
        # What follows is slow, and settled for most files by their folder's having passed it.
        plain = last.isascii() and not last.startswith(".") and "\\" not in last
        if folder or node is None or not parent or not plain:
            check_utf8(self.given, name)
            if ".." in re.split(r"[\\/]", name) or re.match(r"[\\/]|[A-Za-z]:[\\/]", name):
                raise self.bad_member(name, "outside of it", "names such as train/cat/1.png")
            pieces = [piece for piece in name.split("/") if piece not in ("", ".")]
            if any(map(hidden, pieces)):
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
        """The (folders, files) of a folder, which is made if it is new."""
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
    """Turn what the parsers raise on a damaged archive into `BadInput`."""
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
