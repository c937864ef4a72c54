"""What a folder, zip or tar of images holds, and its files' bytes: nothing is unpacked to disk.

An archive comes from anywhere, so what it claims is checked before it is read: names, kinds, sizes
and their sum. Folders and archives look the same from outside: see `Contents`.
"""

import difflib
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
from typing import IO, Protocol

from tasks.vision.errors import BadInput

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<image> and test/<class>/<image>"

MAX_FILE_BYTES = 64 * 2**20
MAX_MEMBERS = 5_000_000
MAX_INFLATION = 200  # times the archive's own size ...
FREE_INFLATION = 100_000_000  # ... beyond this many bytes, so that tiny archives may pack well

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError),
    # What the standard library's parsers let through on bytes that make no sense.
    *(ValueError, struct.error, LookupError, ArithmeticError, RuntimeError),
)


def is_image(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def shown(name: object) -> str:
    """A name as it can stand in a one-line message: escaped only if it has to be."""
    text = str(name)
    return text if text.isprintable() else repr(text)


class Contents(Protocol):
    """The files below one folder, or in one archive; paths are relative and use "/"."""

    given: str

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        """Names of the folders and the files in a folder ("" is the top); hidden ones left out."""

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        """Each file's index in `paths` and its bytes, or why they can't be had; in any order."""

    def close(self) -> None:
        """Let go of what is open."""


def open_contents(path: Path) -> Contents:
    """Open a folder or an archive, whatever `path` is; `BadInput` if it is damaged or unsafe."""
    if path.is_dir():
        return Folder(path)
    with _refusing_damage(shown(path)):
        return Zip(path) if path.name.lower().endswith(".zip") else Tar(path)


def find_root(contents: Contents, splits: Sequence[str]) -> str:
    """Where the splits lie: "" or, one folder down, "name/"."""
    folders, files = contents.children("")
    if set(SPLITS) & set(folders):
        return ""
    inner = [name for name in folders if set(SPLITS) & set(contents.children(name)[0])]
    if len(inner) > 1:
        raise BadInput(
            f"{contents.given} holds several data sets: {_listed(inner)}; expected one: name it"
        )
    if not inner:
        raise _no_split(contents, splits[0], folders + files)
    return f"{inner[0]}/"


def find_classes(contents: Contents, root: str, split: str) -> dict[str, list[str]]:
    """The image names of each class of a split; both in alphabetical order."""
    folders, files = contents.children(root.rstrip("/"))
    if split not in folders:
        raise _no_split(contents, split, folders + files)
    labels, files = contents.children(root + split)
    misplaced = [f"{split}/{name}" for name in filter(is_image, files)]
    if not labels and not misplaced:
        raise BadInput(f"{contents.given} has no class folders in {split}; expected {LAYOUT}")
    classes = {}
    for label in sorted(labels):
        folder = f"{split}/{label}"
        deeper, files = contents.children(root + folder)
        for name in deeper:
            images = filter(is_image, contents.children(f"{root}{folder}/{name}")[1])
            misplaced += [f"{folder}/{name}/{image}" for image in images]
        classes[label] = sorted(filter(is_image, files))
        if not classes[label] and not misplaced:
            raise BadInput(
                f"{contents.given} has no images in {shown(folder)}; expected some .png or .jpg:"
                " fill or remove the folder"
            )
    if misplaced:
        raise BadInput(
            f"{contents.given} has {shown(min(misplaced))}; expected {LAYOUT}: move it there"
        )
    return classes


def _no_split(contents: Contents, split: str, top: list[str]) -> BadInput:
    return BadInput(
        f"{contents.given} has no folder {split}; expected {LAYOUT}; found: {_listed(top)}"
    )


def check_same_classes(given: str, train: dict[str, list[str]], test: dict[str, list[str]]) -> None:
    """`BadInput` that names the classes which stand in one split only."""
    for a, some, b, others in (("test", test, "train", train), ("train", train, "test", test)):
        if extra := [label for label in some if label not in others]:
            close = difflib.get_close_matches(extra[0], others, n=1)
            mend = f"did you mean {shown(close[0])}?" if close else f"{b} has {_listed([*others])}"
            raise BadInput(
                f"{given} has classes in {a} that {b} lacks: {_listed(extra)}; expected the same in"
                f" both: {mend}"
            )


def _listed(names: list[str]) -> str:
    some = ", ".join(shown(name) for name in sorted(names)[:10])
    return f"{some} and {len(names) - 10} more" if len(names) > 10 else some or "nothing"


class Folder:
    """A folder on disk. Links are followed: who made the folder may read what they lead to."""

    def __init__(self, path: Path) -> None:
        self.given = shown(path)
        self._path = os.fspath(path)

    def children(self, folder: str) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        path = Path(self._path, folder)
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not _hidden(entry.name):
                        _check_utf8(self.given, entry.name)
                        (folders if entry.is_dir() else files).append(entry.name)
        except OSError as error:
            raise BadInput(
                f"{shown(path)} can't be listed ({error.strerror or error}); expected a folder that"
                " you may read: change its permissions"
            ) from error
        return folders, files

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        for index, path in enumerate(paths):
            yield index, _file_bytes(f"{self._path}/{path}")

    def close(self) -> None:
        pass


def _file_bytes(path: str) -> bytes | str:
    try:
        status = os.stat(path)  # noqa: PTH116 (a Path for each small file would double the time)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            return "not a file"
        if status.st_size > MAX_FILE_BYTES:
            return f"{status.st_size} bytes, more than {MAX_FILE_BYTES}"
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        return f"can't be read ({error.strerror or error})"


class _Archive:
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

    def close(self) -> None:
        pass

    def _add(self, name: str, size: int, *, folder: bool) -> str | None:
        """The clean path of one more member; None if it is a folder or to be ignored."""
        self._members += 1
        self._bytes += size
        if self._members > MAX_MEMBERS:
            raise self._refusal(f"has more than {MAX_MEMBERS} members", "fewer")
        if self._bytes > self._allowed:
            most = f"at most {MAX_INFLATION} times its own size"
            raise self._refusal(f"claims to unpack to more than {self._allowed} bytes", most)
        if size > MAX_FILE_BYTES and is_image(name):
            raise self._bad_member(name, f"{size} bytes", f"images of at most {MAX_FILE_BYTES}")
        parent, _, last = name.rpartition("/")
        node = self._tree.get(parent)
        # What follows is slow, and settled for most files by their folder's having passed it.
        plain = last.isascii() and not last.startswith(".") and "\\" not in last
        if folder or node is None or not parent or not plain:
            _check_utf8(self.given, name)
            if ".." in re.split(r"[\\/]", name) or re.match(r"[\\/]|[A-Za-z]:[\\/]", name):
                raise self._bad_member(name, "outside of it", "names such as train/cat/1.png")
            pieces = [piece for piece in name.split("/") if piece not in ("", ".")]
            if any(map(_hidden, pieces)):
                return None
            if folder:
                self._grow("/".join(pieces))
                return None
            parent, last = "/".join(pieces[:-1]), pieces[-1]
            node = self._grow(parent)
        if last in node[1]:
            raise self._bad_member(name, "there twice", "each name once")
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

    def _bad_member(self, name: str, fault: str, expected: str) -> BadInput:
        return self._refusal(f"has a member {name!r} that is {fault}", expected)

    def _refusal(self, fault: str, expected: str) -> BadInput:
        return BadInput(f"{self.given} {fault}; expected {expected}: pack it again")


class Zip(_Archive):
    """A zip file, read at random."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._infos: dict[str, zipfile.ZipInfo] = {}
        # Names without the UTF-8 flag are often UTF-8 too; to guess a code page would be a lottery.
        with zipfile.ZipFile(path, metadata_encoding="utf-8") as file:
            for info in file.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise self._bad_member(info.filename, "a link or device", "plain files")
                if info.flag_bits & 1:
                    raise self._bad_member(info.filename, "encrypted", "no password")
                size = max(info.file_size, info.compress_size)
                clean = self._add(info.filename, size, folder=info.is_dir())
                if clean is not None:
                    self._infos[clean] = info

    def read(self, paths: Sequence[str]) -> Iterator[tuple[int, bytes | str]]:
        infos = [self._infos[path] for path in paths]
        order = sorted(range(len(infos)), key=lambda index: infos[index].header_offset)
        with _refusing_damage(self.given), self._path.open("rb") as file:
            for index in order:
                yield index, _zip_member(file, infos[index])


def _zip_member(file: IO[bytes], info: zipfile.ZipInfo) -> bytes:
    """A member's bytes, checked; `ZipFile.open` would take four times as long for a small one."""
    file.seek(info.header_offset)
    header = file.read(30)
    if not header.startswith(b"PK\3\4"):
        raise zipfile.BadZipFile(f"no member {info.filename!r} at byte {info.header_offset}")
    file.seek(sum(struct.unpack("<HH", header[26:])), os.SEEK_CUR)
    data = file.read(info.compress_size)
    if info.compress_type == zipfile.ZIP_DEFLATED:
        # One byte more than claimed is enough to see a lie, however much it would yield.
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, info.file_size + 1)
    elif info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"{info.filename!r} is neither stored nor deflated")
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename!r} doesn't match its checksum")
    return data


class Tar(_Archive):
    """A tar file, plain or gzipped: one pass lists it, another reads it in the file's own order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._places: dict[str, tuple[int, int]] = {}
        with closing(self._stream()) as stream:
            self._list(stream)

    def _stream(self) -> "_Stream":
        file = self._path.open("rb")
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return _Stream(gzip.GzipFile(fileobj=file) if gzipped else file, file)

    def _list(self, stream: "_Stream") -> None:
        tar = tarfile.TarFile(
            fileobj=stream,  # type: ignore[arg-type]
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else every header is kept for ever
            if not (member.isdir() or (member.isreg() and not member.issparse())):
                raise self._bad_member(member.name, "a link or device", "plain files")
            if member.size < 0:  # it would send tarfile back, round and round
                raise tarfile.ReadError(f"{member.name!r} has a negative size")
            clean = self._add(member.name, member.size, folder=member.isdir())
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
        with _refusing_damage(self.given), closing(self._stream()) as stream:
            for index in sorted(range(len(places)), key=places.__getitem__):
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


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _check_utf8(given: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise _not_utf8(given, name) from None


def _not_utf8(given: str, name: str | bytes) -> BadInput:
    return BadInput(f"{given} holds the name {name!r}; expected names in UTF-8: rename it")


@contextmanager
def _refusing_damage(given: str) -> Iterator[None]:
    try:
        yield
    except BadInput:
        raise
    except UnicodeDecodeError as error:
        raise _not_utf8(given, error.object) from error
    except _DAMAGE as error:
        raise BadInput(
            f"{given} can't be read ({error or type(error).__name__}); expected a whole archive"
            f" ({', '.join(ARCHIVE_SUFFIXES)}): copy or pack it again"
        ) from error
