"""Sources of labelled images: scikit-learn's digits, CIFAR-10, or a user's folder or archive.

`find_source` resolves a name and reads nothing; `contents_of` hashes what is there; `read_source`
decodes it, always in the same order.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tasks.vision.data import cifar10
from tasks.vision.data.contents import ArchiveContents, Contents, Reuse, folder_contents
from tasks.vision.data.digits import DIGITS, read_digits
from tasks.vision.data.labelled import ImageSet, Split, read_images
from tasks.vision.data.layouts.find_layout import find_layout
from tasks.vision.data.layouts.layout import Layout
from tasks.vision.data.layouts.missing_split import EXPECTED
from tasks.vision.data.layouts.split_names import SPLITS, VALID
from tasks.vision.data.layouts.table import is_table
from tasks.vision.data.pieces.fill_pieces import help_fill_pieces
from tasks.vision.data.pieces.picture_set import Decoding, Pictures
from tasks.vision.data.pieces.piece_folder import PieceFolder
from tasks.vision.errors import BadInput
from tasks.vision.files.archives import ARCHIVE_SUFFIXES
from tasks.vision.files.containers import ImageTree, open_container
from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.text import printable


@dataclass(frozen=True)
class Source:
    """A resolved `--data` value; kind is digits, cifar10, folder, archive or table.

    Attributes:
        given: the address that it was downloaded from, for messages.
    """

    name: str
    kind: str
    path: Path | None
    given: str = field(default="", compare=False)


def find_source(given: str) -> Source:
    """Resolve a `--data` value; `BadInput` if it names no source."""
    if given in ("digits", "cifar10"):
        return Source(given, given, None)
    kinds = f"digits, cifar10, or a folder or {', '.join(ARCHIVE_SUFFIXES)} with {EXPECTED}"
    near = {"digits": "digits", "cifar10": "cifar10"}
    try:
        path = Path(given).expanduser()
        if given and path.is_dir():
            return Source(path.name or path.resolve().name, "folder", path)
        if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
            return Source(path.name, "archive", path)
        if path.is_file() and is_table(path.name):
            return Source(path.name, "table", path)
        there = path.exists() and given != ""
        if path.parent.is_dir():
            for sibling in itertools.islice(path.parent.iterdir(), 1000):
                near[sibling.name.lower()] = str(sibling)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, an unknown home
        raise BadInput(f"data {given!r} can't be a path ({error}); expected {kinds}") from error
    if there:
        raise BadInput(f"data {given!r} is no folder, archive or table; expected {kinds}")
    close = difflib.get_close_matches(path.name.lower(), near, n=1)
    hint = f"did you mean {near[close[0]]!r}?" if close else "check the spelling"
    raise BadInput(f"data {given!r} isn't there; expected {kinds}: {hint}")


def container_of(source: Source) -> ImageTree:
    """Open a folder, an archive or the folder of a table; `BadInput` as for `open_container`."""
    assert source.path is not None
    table = table_of(source)
    # Paths in a table are relative to it.
    path = source.path.parent if table else source.path
    return open_container(path, source.given.removesuffix(f"/{table}") if table else source.given)


def table_of(source: Source) -> str:
    """The name of the table that a source is; "" for others."""
    return source.path.name if source.path and source.kind == "table" else ""


@contextmanager
def opened(
    source: Source, splits: Sequence[str] = SPLITS, *, instead: bool = False
) -> Iterator[tuple[ImageTree, Layout]]:
    """Open a folder, archive or table, and list its pictures; arguments and errors as for `find_layout`."""
    with closing(container_of(source)) as container:
        yield container, find_layout(container, splits, instead=instead, table=table_of(source))


def contents_of(source: Source) -> Contents:
    """Hash everything that `read_source` would read; `BadInput` as there."""
    if source.kind == "digits":
        version = importlib.metadata.version("scikit-learn")
        return Contents(hashlib.sha256(f"digits {version}".encode()).hexdigest())
    if source.kind == "cifar10":
        return Contents(cifar10.SHA256)
    if source.kind == "archive":
        assert source.path is not None
        return ArchiveContents(source.path, printable(source.given or source.path))
    with opened(source) as (folder, layout):
        return folder_contents(folder, layout)


def fingerprint(source: Source) -> str:
    """SHA-256, 64 hex characters, of everything that `read_source` would read; paths don't count."""
    return contents_of(source).digest


def read_source(
    source: Source,
    image_size: int,
    *,
    splits: Sequence[str] = SPLITS,
    max_unreadable: float | None = 0.01,
    cifar10_archive: Path | None = None,
    workers: int | None = None,
    bits: int | None = None,
    fit: Fit = CROP,
    instead: bool = False,
    accept: Callable[[list[str]], None] = lambda classes: None,
    reuse: Reuse | None = None,
) -> ImageSet:
    """Read splits of images, `image_size` pixels a side.

    Args:
        splits: both "train" and "test", which is made later where the data has none; or one of them, or
            "valid"; others are not read.
        max_unreadable: the share of a split's images that may be left out as they can't be decoded;
            with None any number, as long as one can be.
        cifar10_archive: the published archive, already checked; by default it is downloaded to the
            user's cache folder.
        workers: how many decode at once, by default one per core; doesn't change the result.
        bits: how many bits 16-bit samples use; by default as many as the largest of the first split.
        fit: how pictures that are not square become it, as for `decode`.
        instead: of a single split; where it is missing, read what `find_layout` finds in its place.
        accept: called with the classes before anything is downloaded or decoded; may raise.
        reuse: where images are stored, and what is there already; by default a temporary folder.

    Raises:
        BadInput: the data can't be used as it is.
        ConnectionError: CIFAR-10 can't be downloaded; a retry may help.
        ChildProcessError: a process that decodes was killed.
    """
    if image_size < 1:
        raise BadInput(f"image size {image_size}; expected 1 pixel or more")
    if not splits or (set(splits) - set(SPLITS) and tuple(splits) != (VALID,)):
        raise BadInput(
            f"splits {list(splits)}; expected one or both of {', '.join(SPLITS)}, or {VALID}"
        )
    if source.kind in ("digits", "cifar10") and VALID in splits:
        raise BadInput(f"{source.kind} has no split {VALID}; expected {' or '.join(SPLITS)}")
    if source.kind == "digits":
        accept(list(DIGITS))
        return read_digits(image_size, splits)
    if source.kind == "cifar10":
        accept(list(cifar10.CLASSES))
        archive = cifar10_archive or cifar10.fetch()
        read = {split: Split(*cifar10.read_split(archive, split, image_size)) for split in splits}
        return ImageSet(list(cifar10.CLASSES), read, [])
    known = reuse or Reuse(Contents(""), PieceFolder())
    how = Decoding(
        image_size,
        fit,
        bits,
        known.store,
        known.earlier,
        workers,
        known.on_reuse,
        known.on_share,
    )
    with _pictures(source, known, splits, instead=instead) as (pictures, layout):
        accept(layout.classes)
        return read_images(pictures, layout, splits, max_unreadable=max_unreadable, how=how)


def help_read(source: Source, image_size: int, fit: Fit, reuse: Reuse) -> int:
    """Decode images for another process that calls `read_source`; return how many pieces it made.

    Raises:
        BadInput, ChildProcessError: as for `read_source`.
    """
    if source.kind in ("digits", "cifar10"):
        return 0
    how = Decoding(image_size, fit, None, reuse.store, reuse.earlier)
    with _pictures(source, reuse, SPLITS) as (pictures, _):
        return help_fill_pieces(pictures, how)


@contextmanager
def _pictures(
    source: Source, known: Reuse, splits: Sequence[str], *, instead: bool = False
) -> Iterator[tuple[Pictures, Layout]]:
    with closing(container_of(source)) as container:
        layout = known.contents.layout or find_layout(
            container, splits, instead=instead, table=table_of(source)
        )
        yield known.contents.pictures(container, layout, hashed=bool(known.earlier)), layout


def classes_in(source: Source) -> list[str]:
    """Names of the classes that `read_source` would find; no image is read. `BadInput` as there."""
    if source.kind in ("digits", "cifar10"):
        return list(DIGITS if source.kind == "digits" else cifar10.CLASSES)
    with opened(source) as (_, layout):
        return layout.classes
