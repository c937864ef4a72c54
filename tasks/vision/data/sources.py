"""Where images come from: scikit-learn's digits, CIFAR-10, or a folder or archive of one's own.

`find_source` names a source and reads nothing; `fingerprint` is what its content hashes to;
`read_source` turns it into uint8 arrays, always in the same order.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.vision.data import cifar10
from tasks.vision.data.archives import ARCHIVE_SUFFIXES
from tasks.vision.data.containers import Container, open_container
from tasks.vision.data.decode_pool import decode_all
from tasks.vision.data.image_files import file_digest, select_images
from tasks.vision.data.image_folder import (
    LAYOUT,
    SPLITS,
    check_same_classes,
    find_classes,
    find_root,
)
from tasks.vision.errors import BadInput
from tasks.vision.text import printable

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Source:
    """What a `--data` value turned out to be; kind is digits, cifar10, folder or archive."""

    name: str
    kind: str
    path: Path | None


@dataclass(frozen=True)
class Split:
    """Images (N, size, size, 3) uint8, labels (N,) int32 that index the classes, and names."""

    images: np.ndarray
    labels: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class ImageSet:
    """Classes, splits by name ("train", "test"), and a line for each file that can't be decoded."""

    classes: list[str]
    splits: dict[str, Split]
    unreadable: list[str]


def find_source(given: str) -> Source:
    """The source that a `--data` value names; `BadInput` if there is none."""
    if given in ("digits", "cifar10"):
        return Source(given, given, None)
    kinds = f"digits, cifar10, or a folder or {', '.join(ARCHIVE_SUFFIXES)} with {LAYOUT}"
    near = {"digits": "digits", "cifar10": "cifar10"}
    try:
        path = Path(given).expanduser()
        if given and path.is_dir():
            return Source(path.name or path.resolve().name, "folder", path)
        if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
            return Source(path.name, "archive", path)
        there = path.exists() and given != ""
        if path.parent.is_dir():
            for sibling in itertools.islice(path.parent.iterdir(), 1000):
                near[sibling.name.lower()] = str(sibling)
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, an unknown home
        raise BadInput(f"data {given!r} can't be a path ({error}); expected {kinds}") from error
    if there:
        raise BadInput(f"data {given!r} is no folder and no archive; expected {kinds}")
    close = difflib.get_close_matches(path.name.lower(), near, n=1)
    mend = f"did you mean {near[close[0]]!r}?" if close else "check the spelling"
    raise BadInput(f"data {given!r} isn't there; expected {kinds}: {mend}")


def fingerprint(source: Source) -> str:
    """SHA-256, 64 hex characters, of all that `read_source` would read, wherever it lies."""
    if source.kind == "digits":
        version = importlib.metadata.version("scikit-learn")
        return hashlib.sha256(f"digits {version}".encode()).hexdigest()
    if source.kind == "cifar10":
        return cifar10.SHA256
    assert source.path is not None
    if source.kind == "archive":
        return file_digest(source.path)
    with closing(open_container(source.path)) as folder, ThreadPoolExecutor() as pool:
        root = find_root(folder, SPLITS)
        names = sorted(
            f"{split}/{label}/{name}"
            for split in set(SPLITS) & set(folder.children(root)[0])
            for label in folder.children(root + split)[0]
            for name in select_images(folder.children(f"{root}{split}/{label}")[1])
        )

        def digests(start: int) -> list[bytes]:
            part = [root + name for name in names[start : start + 256]]
            # A file that can't be read stands there with the reason.
            files = (file for _, file in folder.read(part))
            return [
                hashlib.sha256(file.encode() if isinstance(file, str) else file).digest()
                for file in files
            ]

        parts = pool.map(digests, range(0, len(names), 256))
        total = hashlib.sha256()
        for name, digest in zip(names, itertools.chain.from_iterable(parts), strict=True):
            total.update(name.encode() + b"\0" + digest)
    return total.hexdigest()


def read_source(
    source: Source,
    image_size: int,
    *,
    splits: Sequence[str] = SPLITS,
    max_unreadable: float = 0.01,
    cache_dir: Path | None = None,
    workers: int | None = None,
    accept: Callable[[list[str]], None] = lambda classes: None,
) -> ImageSet:
    """Read the splits asked for as images of `image_size` pixels a side.

    Args:
        splits: one or both of "train" and "test"; the other is not looked at.
        max_unreadable: the share of a split's images that may be left out as they can't be decoded.
        cache_dir: where the CIFAR-10 archive is kept; default: `relevo` in the user's cache folder.
        workers: how many decode at once, by default one per core; doesn't change the result.
        accept: called with the classes before anything is downloaded or decoded; may raise.

    Raises:
        BadInput: the data can't be used as it is.
        ConnectionError: CIFAR-10 can't be downloaded; trying again may help.
        ChildProcessError: a process that decodes was killed.
    """
    if image_size < 1:
        raise BadInput(f"image size {image_size}; expected 1 pixel or more")
    if not splits or set(splits) - set(SPLITS):
        raise BadInput(f"splits {list(splits)}; expected one or both of {', '.join(SPLITS)}")
    if source.kind == "digits":
        accept(list(DIGITS))
        return _digits(image_size, splits)
    if source.kind == "cifar10":
        accept(list(cifar10.CLASSES))
        archive = cifar10.fetch(cache_dir)
        read = {split: Split(*cifar10.read_split(archive, split, image_size)) for split in splits}
        return ImageSet(list(cifar10.CLASSES), read, [])
    assert source.path is not None
    with closing(open_container(source.path)) as contents:
        return _pictures(contents, image_size, splits, max_unreadable, workers, accept)


def classes_in(source: Source) -> list[str]:
    """The classes that `read_source` would find; no picture is looked at. BadInput as there."""
    if source.kind in ("digits", "cifar10"):
        return list(DIGITS if source.kind == "digits" else cifar10.CLASSES)
    assert source.path is not None
    with closing(open_container(source.path)) as contents:
        return list(_images_of(contents, SPLITS)[1]["train"])


# Folders and archives of pictures


def _images_of(
    contents: Container, splits: Sequence[str]
) -> tuple[str, dict[str, dict[str, list[str]]]]:
    """Where the splits lie, and the image names of each class of each."""
    root = find_root(contents, splits)
    found = {split: find_classes(contents, root, split) for split in splits}
    if len(found) == 2:
        check_same_classes(contents.given, found["train"], found["test"])
    return root, found


def _pictures(
    contents: Container,
    image_size: int,
    splits: Sequence[str],
    max_unreadable: float,
    workers: int | None,
    accept: Callable[[list[str]], None],
) -> ImageSet:
    root, found = _images_of(contents, splits)
    names_of_classes = list(found[min(found, key=SPLITS.index)])
    accept(names_of_classes)
    names = [
        f"{split}/{label}/{name}"
        for split, classes in found.items()
        for label in classes
        for name in classes[label]
    ]
    # One array for all: both splits are decoded in one pass over the archive.
    images = np.empty((len(names), image_size, image_size, 3), np.uint8)
    failed = decode_all(contents.read([root + name for name in names]), images, workers)
    unreadable = {row: f"{printable(names[row])}: {failed[row]}" for row in sorted(failed)}
    read, start = {}, 0
    for split, classes in found.items():
        sizes = [len(files) for files in classes.values()]
        rows = range(start, start + sum(sizes))
        bad = [unreadable[row] for row in rows if row in failed]
        kept = np.array([row for row in rows if row not in failed], np.int64)
        labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[kept - start]
        if len(bad) / len(rows) > max_unreadable or len(set(labels.tolist())) < len(sizes):
            raise BadInput(
                f"{contents.given}: {len(bad)} of {len(rows)} images in {split} can't be decoded:"
                f" {'; '.join(bad[:3])}{' ...' if len(bad) > 3 else ''}; expected at most"
                f" {max_unreadable:.2%} (a recipe's data.max_unreadable), and a good one in each"
                " class: mend or remove them"
            )
        if bad:  # close the gaps in small steps: one large step would need the memory twice
            for step in range(0, len(kept), 1024):
                some = kept[step : step + 1024]
                images[start + step : start + step + len(some)] = images[some]
        names_kept = [names[row] for row in kept]
        read[split] = Split(images[start : start + len(kept)], labels, names_kept)
        start = rows.stop
    return ImageSet(names_of_classes, read, list(unreadable.values()))


# The scans that scikit-learn ships


def _digits(image_size: int, splits: Sequence[str]) -> ImageSet:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans, labels = load_digits(return_X_y=True)
    rows = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    grey = np.rint(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    read = {}
    for split in splits:
        chosen = np.sort(rows[SPLITS.index(split)])
        images = np.empty((len(chosen), image_size, image_size, 3), np.uint8)
        for image, scan in zip(images, grey[chosen], strict=True):
            # Bicubic: bilinear blurs the strokes, Lanczos rings around them.
            small = Image.fromarray(scan)
            large = small.resize((image_size, image_size), Image.Resampling.BICUBIC)
            image[:] = np.asarray(large)[:, :, None]
        names = [f"digits/{row:04d}" for row in chosen]
        read[split] = Split(images, labels[chosen].astype(np.int32), names)
    return ImageSet(list(DIGITS), read, [])
