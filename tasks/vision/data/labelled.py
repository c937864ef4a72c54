"""Labelled images in a folder or archive, as `find_layout` lists them, decoded into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.vision.data.images import Images
from tasks.vision.data.layouts.layout import LabelledFile, Layout
from tasks.vision.data.pieces.fill_pieces import fill_pieces
from tasks.vision.data.pieces.picture_set import Decoded, Decoding, Pictures
from tasks.vision.data.pieces.piece_plan import NONE
from tasks.vision.data.pieces.pieces import Piece, PieceImages, PieceStore
from tasks.vision.data.shards.shard_files import ShardFiles
from tasks.vision.data.shards.stored_images import StoredImages
from tasks.vision.errors import BadInput
from tasks.vision.files.left_out import LeftOut
from tasks.vision.text import first_of, printable

FEW = 3  # damaged files that are left out of any data set, unless they are more than a tenth of it


@dataclass(frozen=True)
class Split:
    """Images (N, size, size, 3) uint8, labels (N,) int32 that index the classes, and names.

    Attributes:
        held_out: (N,) bool, those that the data itself has for validation; None if it has none.
        groups: the group of each, or "". known: where the images are in pieces, and what is known of them;
            None for an array.
    """

    images: Images
    labels: np.ndarray
    names: list[str]
    held_out: np.ndarray | None = None
    groups: list[str] = field(default_factory=list)
    known: PieceImages | None = None

    def select(self, rows: np.ndarray) -> Split:
        """Return some of the images, of which those in pieces are not read."""
        images = self.images
        return Split(
            images.select(rows) if isinstance(images, StoredImages) else images[rows],
            self.labels[rows],
            [self.names[row] for row in rows],
            self.held_out[rows] if self.held_out is not None else None,
            [self.groups[row] for row in rows] if self.groups else [],
            self.known.select(rows) if self.known else None,
        )


@dataclass(frozen=True)
class ImageSet:
    """Classes, and splits by name: "train" with its validation images, and "test" if the data has one.

    Attributes:
        unreadable: a line for each image that can't be decoded. left_out: files that are not read.
        odd: a line for each image that was decoded and may not be what was meant.
        bits: how many bits 16-bit samples use, unless their file says it.
        instead: the folder that was read in place of a missing split.
        validation: the folder or table that has the validation images; "" if it names none.
        junk: what systems and programs have left behind.
        pieces: those that the images are in, and `store` where they are; none for arrays.
        undivided: splits have to be made by content.
    """

    classes: list[str]
    splits: dict[str, Split]
    unreadable: list[str]
    left_out: list[LeftOut] = field(default_factory=list)
    instead: str = ""
    odd: list[str] = field(default_factory=list)
    bits: int = 16
    validation: str = ""
    junk: list[LeftOut] = field(default_factory=list)
    pieces: Sequence[Piece] = ()
    store: PieceStore | None = None
    undivided: bool = False


def read_images(
    pictures: Pictures,
    layout: Layout,
    splits: Sequence[str],
    *,
    max_unreadable: float | None,
    how: Decoding,
) -> ImageSet:
    """Decode all images of a layout.

    Args:
        pictures: the layout's files. splits, max_unreadable: as for `sources.read_source`.

    Raises:
        BadInput: too many can't be decoded.
    """
    files, given = layout.files, pictures.container.given
    bounds = _bounds(layout, splits)
    done = fill_pieces(pictures, next(iter(bounds.values())).stop, how)
    unreadable = {
        row: f"{printable(files[row].path)}: {done.failed[row]}" for row in sorted(done.failed)
    }
    labels = {label: number for number, label in enumerate(layout.classes)}
    shards = ShardFiles(
        tuple(piece.shard for piece in done.pieces), how.image_size, how.store.shard_path
    )
    read: dict[str, Split] = {}
    for split, rows in bounds.items():
        bad = [unreadable[row] for row in rows if row in done.failed]
        good = rows.start + np.flatnonzero(done.rows[rows.start : rows.stop] != NONE)
        chosen = [files[row] for row in good]
        numbers = np.array([labels[file.label] for file in chosen], np.int32)
        if max_unreadable is None:
            limit, fits = "one that can be", len(good) > 0
        else:
            allowed = _allowed(max_unreadable, len(rows))
            limit = (
                f"at most {allowed:,} (data.max_unreadable = {max_unreadable:g}), and a good one in"
                " each class"
            )
            fits = len(bad) <= allowed and len(set(numbers.tolist())) == len(labels)
        if not fits:
            where = split if layout.splits or len(splits) == 1 else "all"
            raise BadInput(
                f"{given}: {len(bad)} of {len(rows)} images in {where} can't be"
                f" decoded: {first_of(bad, separator='; ')}; expected {limit}: mend or remove them"
            )
        read[split] = Split(
            StoredImages(shards, done.rows[good]),
            numbers,
            [file.path for file in chosen],
            _held_out(chosen),
            [file.group for file in chosen] if layout.has_groups else [],
            done.images.select(good),
        )
    return ImageSet(
        layout.classes,
        read,
        list(unreadable.values()),
        layout.left_out,
        layout.instead,
        _odd(done, files),
        done.bits,
        layout.validation,
        layout.junk,
        done.pieces,
        how.store,
        undivided=len(splits) > 1 and layout.needs_division,
    )


def _odd(done: Decoded, files: Sequence[LabelledFile]) -> list[str]:
    """A line for each odd image."""
    odd = done.images.odd
    found: list[int] = np.flatnonzero(np.isin(done.rows, list(odd))).tolist()
    return [f"{printable(files[row].path)}: {odd[int(done.rows[row])]}" for row in found]


def _bounds(layout: Layout, splits: Sequence[str]) -> dict[str, range]:
    """The rows of each split, where train has the validation images and those of no split."""
    count = len(layout.files)
    if len(splits) == 1:
        return {splits[0]: range(count)}
    trained = sum(file.split != "test" for file in layout.files)
    bounds = {"train": range(trained), "test": range(trained, count)}
    return {split: rows for split, rows in bounds.items() if rows}


def _held_out(files: Sequence[LabelledFile]) -> np.ndarray | None:
    held_out = np.array([file.split == "validation" for file in files])
    return held_out if held_out.any() else None


def _allowed(share: float, count: int) -> int:
    """Number of damaged files that are left out of `count`: a share of a small data set is less than one."""
    return max(int(share * count), min(FEW, count // 10)) if share else 0
