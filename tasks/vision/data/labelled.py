"""Labelled images in a folder or archive, as `find_layout` lists them, become arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.vision.data.layout import LabelledFile, Layout
from tasks.vision.data.made_splits import content_hash
from tasks.vision.data.scratch import ImageBuffer, image_buffer, select
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import ImageTree
from tasks.vision.files.left_out import LeftOut
from tasks.vision.pictures.decode_pool import Files, Findings, decode_all
from tasks.vision.pictures.fit import Fit
from tasks.vision.text import first_of, printable

FEW = 3  # damaged files that are left out of any data set, unless they are more than a tenth of it


@dataclass(frozen=True)
class Split:
    """Images (N, size, size, 3) uint8, labels (N,) int32 that index the classes, and names.

    Attributes:
        held_out: (N,) bool, those that the data itself has for validation; None if it has none.
        groups: the group of each, or "". hashes: the `content_hash` of each; empty where no split is made.
    """

    images: ImageBuffer
    labels: np.ndarray
    names: list[str]
    held_out: np.ndarray | None = None
    groups: list[str] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)


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


def read_images(
    container: ImageTree,
    layout: Layout,
    splits: Sequence[str],
    image_size: int,
    *,
    max_unreadable: float | None,
    workers: int | None,
    bits: int | None,
    fit: Fit,
) -> ImageSet:
    """Decode all images of a layout; arguments and errors as for `sources.read_source`."""
    files, root = layout.files, layout.place.root
    # One array for all: both splits are decoded in one pass over the archive.
    images = image_buffer(len(files), image_size)
    bounds = _bounds(layout, splits)
    divide = len(splits) > 1 and layout.needs_division
    hashes = [b""] * len(files) if divide else []
    findings, bits = _decode(
        container,
        [root + file.path for file in files],
        images,
        workers,
        bits,
        fit,
        next(iter(bounds.values())).stop,
        hashes,
    )
    failed = findings.failed
    unreadable = {row: f"{printable(files[row].path)}: {failed[row]}" for row in sorted(failed)}
    labels = {label: number for number, label in enumerate(layout.classes)}
    read: dict[str, Split] = {}
    for split, rows in bounds.items():
        bad = [unreadable[row] for row in rows if row in failed]
        good = [row for row in rows if row not in failed]
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
                f"{container.given}: {len(bad)} of {len(rows)} images in {where} can't be"
                f" decoded: {first_of(bad, separator='; ')}; expected {limit}: mend or remove them"
            )
        start = rows.start
        if bad:  # close the gaps in small steps: one large step would need the memory twice
            for step in range(0, len(good), 1024):
                some = good[step : step + 1024]
                images[start + step : start + step + len(some)] = images[some]
        read[split] = Split(
            select(images, slice(start, start + len(good))),
            numbers,
            [file.path for file in chosen],
            _held_out(chosen),
            [file.group for file in chosen] if layout.has_groups else [],
            [hashes[row] for row in good] if hashes else [],
        )
    odd = [f"{printable(files[row].path)}: {findings.odd[row]}" for row in sorted(findings.odd)]
    return ImageSet(
        layout.classes,
        read,
        list(unreadable.values()),
        layout.left_out,
        layout.instead,
        odd,
        bits,
        layout.validation,
        layout.junk,
    )


def _bounds(layout: Layout, splits: Sequence[str]) -> dict[str, range]:
    """The rows of each split, where train has the validation images and those of no split."""
    count = len(layout.files)
    if len(splits) == 1:
        return {splits[0]: range(count)}
    trained = sum(file.split != "test" for file in layout.files)
    bounds = {"train": range(trained), "test": range(trained, count)}
    return {split: rows for split, rows in bounds.items() if rows}


def _held_out(files: list[LabelledFile]) -> np.ndarray | None:
    held_out = np.array([file.split == "validation" for file in files])
    return held_out if held_out.any() else None


def _allowed(share: float, count: int) -> int:
    """Number of damaged files that are left out of `count`: a share of a small data set is less than one."""
    return max(int(share * count), min(FEW, count // 10)) if share else 0


def _decode(
    container: ImageTree,
    names: list[str],
    images: ImageBuffer,
    workers: int | None,
    bits: int | None,
    fit: Fit,
    training: int,
    hashes: list[bytes],
) -> tuple[Findings, int]:
    """Decode all; without `bits`, 16-bit samples use as many as the largest of the first `training`.

    Cameras and microscopes put 10, 12 or 14 bits into 16, which would be nearly black.

    Args:
        hashes: receives the `content_hash` of each, if it has a place for each.
    """
    files = _hashed(container.read(names), hashes) if hashes else container.read(names)
    findings = decode_all(files, images, workers, bits or 16, fit)
    depths = findings.depths
    if bits:
        return findings, bits
    bits = max((depths[row] for row in depths if row < training), default=16)
    if bits < 16:
        rows = sorted(depths)
        deep = ((rows[at], file) for at, file in container.read([names[row] for row in rows]))
        findings.failed.update(decode_all(deep, images, workers, bits, fit).failed)
    return findings, bits


def _hashed(files: Files, hashes: list[bytes]) -> Iterator[tuple[int, bytes | str]]:
    """Pass files on, and hash those that could be read."""
    for row, data in files:
        if not isinstance(data, str):
            hashes[row] = content_hash(data)
        yield row, data
