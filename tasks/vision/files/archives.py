"""Zip and tar files, checked before they are read: their members' names, kinds and sizes.

An archive may come from anywhere. `Archive` is the folder tree of the members that passed the
checks; `Tar` and `Zip` fill it.
"""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.vision.errors import BadInput
from tasks.vision.files.image_files import MAX_FILE_BYTES, is_hidden, looks_like_image
from tasks.vision.files.left_out import is_junk
from tasks.vision.text import printable

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

MAX_MEMBERS = 5_000_000
MAX_FOLDERS = 100_000
MAX_NAME_BYTES, MAX_PARTS = 4096, 100  # of one member's path, as a file system allows
MAX_INFLATION = 200  # times the archive's own size ...
FREE_INFLATION = 100_000_000  # ... beyond this many bytes, so that tiny archives may pack well
MAX_IMAGE_INFLATION = 1100  # of images: more than deflate can, since flat bitmaps pack that well

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError),
    # Raised by the standard library's parsers on invalid bytes.
    *(ValueError, struct.error, LookupError, ArithmeticError, RuntimeError),
)


class Archive:
    """The folder tree of an archive, built from members that have passed every check."""

    cut = False

    def __init__(self, path: Path, given: str) -> None:
        self.given = given
        self._path = path
        self._tree: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
        self._hidden: dict[str, Counter[str]] = {}
        self._junk: dict[str, set[str]] = {}
        self._too_large: dict[str, str] = {}
        self._members = 0
        self._bytes = 0
        self._image_bytes = 0
        self._size = path.stat().st_size

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders, files = self._tree.get(folder, ((), ()))
        return list(folders), list(files)

    def hidden_images(self, folder: str) -> dict[str, int]:
        return dict(self._hidden.get(folder, {}))

    def junk(self, folder: str) -> list[str]:
        folders, files = self.children(folder)
        return sorted({*self._junk.get(folder, ()), *filter(is_junk, (*folders, *files))})

    def is_link_loop(self, path: str) -> bool:
        return False  # an archive with links is refused

    def reading_order(self, paths: Sequence[str]) -> list[int]:
        return []  # a zip and a plain tar can be read anywhere

    def close(self) -> None:
        pass

    def add(self, name: str, size: int, *, folder: bool) -> str | None:
        """Check one more member; its normalised path, or None if it is a folder or ignored."""
        image = looks_like_image(name)
        self._members += 1
        self._bytes += len(name) + (0 if image else size)
        self._image_bytes += size if image else 0
        if self._members > MAX_MEMBERS:
            raise self._refusal(f"has more than {MAX_MEMBERS} members", "fewer")
        if len(name) > MAX_NAME_BYTES or name.count("/") >= MAX_PARTS:
            short = f"names of at most {MAX_NAME_BYTES} bytes and {MAX_PARTS} parts"
            raise self.bad_member(f"{name[:60]}...", f"{len(name)} letters long", short)
        for total, times in (
            (self._bytes, MAX_INFLATION),
            (self._image_bytes, MAX_IMAGE_INFLATION),
        ):
            if total > (allowed := max(FREE_INFLATION, times * self._size)):
                most = f"at most {times} times its own size"
                raise self._refusal(f"claims to unpack to more than {allowed} bytes", most)
        parent, _, last = name.rpartition("/")
        node = self._tree.get(parent)
        # The checks below are slow; most files need none, since their folder has passed them.
        plain = last.isascii() and not last.startswith(".") and "\\" not in last
        if folder or node is None or not parent or not plain:
            if ".." in re.split(r"[\\/]", name) or re.match(r"[\\/]|[A-Za-z]:[\\/]", name):
                raise self.bad_member(name, "outside of it", "names such as train/cat/1.png")
            pieces = [piece for piece in name.split("/") if piece not in ("", ".")]
            if any(map(is_hidden, pieces)):
                self._hide(pieces)
                return None
            if folder:
                self._grow("/".join(pieces))
                return None
            parent, last = "/".join(pieces[:-1]), pieces[-1]
            node = self._grow(parent)
        if last in node[1]:
            raise self.bad_member(name, "there twice", "each name once")
        node[1].add(last)
        path = f"{parent}/{last}" if parent else last
        if size > MAX_FILE_BYTES:
            self._too_large[path] = f"{size} bytes, more than {MAX_FILE_BYTES}"
        return path

    def _hide(self, pieces: list[str]) -> None:
        """Note junk; count an image in another hidden folder, or a hidden one."""
        for at, piece in enumerate(pieces):
            if is_junk(piece):
                self._junk.setdefault("/".join(pieces[:at]), set()).add(piece)
                return
        if looks_like_image(pieces[-1]):
            depth = next(at for at, piece in enumerate(pieces) if is_hidden(piece))
            self._hidden.setdefault("/".join(pieces[:depth]), Counter())[pieces[depth]] += 1

    def _grow(self, folder: str) -> tuple[set[str], set[str]]:
        """The (folders, files) of a folder, created if it is new."""
        path = ""
        node = self._tree[path]
        for piece in folder.split("/") if folder else ():
            node[0].add(piece)
            path = f"{path}/{piece}" if path else piece
            node = self._tree.setdefault(path, (set(), set()))
        if len(self._tree) > MAX_FOLDERS:
            raise self._refusal(f"has more than {MAX_FOLDERS} folders", "fewer")
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


def not_utf8(given: str, name: str | bytes) -> BadInput:
    """The error for a name that isn't UTF-8; `given` is where it was found."""
    shown = printable(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
    return BadInput(f"{given} holds the name '{shown}'; expected names in UTF-8: rename it")
