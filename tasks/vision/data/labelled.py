"""Labelled images in a folder or archive: `train/<class>/` and `test/<class>/` become arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.vision.data.image_folder import find_layout
from tasks.vision.data.missing_split import SPLITS
from tasks.vision.errors import BadInput
from tasks.vision.files.containers import ImageTree
from tasks.vision.files.left_out import LeftOut
from tasks.vision.pictures.decode_pool import Findings, decode_all
from tasks.vision.pictures.fit import Fit
from tasks.vision.text import first_of, printable

FEW = 3  # damaged files that are left out of any data set, unless they are more than a tenth of it


@dataclass(frozen=True)
class Split:
    """Images (N, size, size, 3) uint8, labels (N,) int32 that index the classes, and names."""

    images: np.ndarray
    labels: np.ndarray
    names: list[str]


@dataclass(frozen=True)
class ImageSet:
    """Classes, and splits by name ("train", "test").

    Attributes:
        unreadable: a line for each image that can't be decoded. left_out: files that are not read.
        odd: a line for each image that was decoded and may not be what was meant.
        bits: how many bits 16-bit samples use, unless their file says it.
        instead: the folder that was read in place of a missing split.
        validation: the folder of those images of train that are for validation; "" if any may be.
    """

    classes: list[str]
    splits: dict[str, Split]
    unreadable: list[str]
    left_out: list[LeftOut] = field(default_factory=list)
    instead: str = ""
    odd: list[str] = field(default_factory=list)
    bits: int = 16
    validation: str = ""


def read_images(
    container: ImageTree,
    image_size: int,
    splits: Sequence[str],
    *,
    max_unreadable: float | None,
    workers: int | None,
    bits: int | None,
    fit: Fit,
    instead: bool,
    accept: Callable[[list[str]], None],
) -> ImageSet:
    """Decode all images of the splits; arguments and errors as for `sources.read_source`."""
    layout = find_layout(container, splits, instead=instead)
    found, root = layout.splits, layout.root
    classes = list(found[splits[0] if len(splits) == 1 else SPLITS[0]])
    accept(classes)
    names = [name for files in found.values() for label in files for name in files[label]]
    # One array for all: both splits are decoded in one pass over the archive.
    images = np.empty((len(names), image_size, image_size, 3), np.uint8)
    training = sum(map(len, found[splits[0]].values()))
    findings, bits = _decode(
        container, [root + name for name in names], images, workers, bits, fit, training
    )
    failed = findings.failed
    unreadable = {row: f"{printable(names[row])}: {failed[row]}" for row in sorted(failed)}
    read, start = {}, 0
    for split, files in found.items():
        sizes = [len(of_class) for of_class in files.values()]
        rows = range(start, start + sum(sizes))
        bad = [unreadable[row] for row in rows if row in failed]
        good = np.array([row for row in rows if row not in failed], np.int64)
        labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[good - start]
        if max_unreadable is None:
            limit, fits = "one that can be", len(good) > 0
        else:
            allowed = _allowed(max_unreadable, len(rows))
            limit = (
                f"at most {allowed:,} (data.max_unreadable = {max_unreadable:g}), and a good one in"
                " each class"
            )
            fits = len(bad) <= allowed and len(set(labels.tolist())) == len(sizes)
        if not fits:
            raise BadInput(
                f"{container.given}: {len(bad)} of {len(rows)} images in {split or 'it'} can't be"
                f" decoded: {first_of(bad, separator='; ')}; expected {limit}: mend or remove them"
            )
        if bad:  # close the gaps in small steps: one large step would need the memory twice
            for step in range(0, len(good), 1024):
                some = good[step : step + 1024]
                images[start + step : start + step + len(some)] = images[some]
        read[split] = Split(images[start : start + len(good)], labels, [names[row] for row in good])
        start = rows.stop
    odd = [f"{printable(names[row])}: {findings.odd[row]}" for row in sorted(findings.odd)]
    return ImageSet(
        classes,
        read,
        list(unreadable.values()),
        layout.left_out,
        layout.instead,
        odd,
        bits,
        layout.validation,
    )


def _allowed(share: float, count: int) -> int:
    """Number of damaged files that are left out of `count`: a share of a small data set is less than one."""
    return max(int(share * count), min(FEW, count // 10)) if share else 0


def _decode(
    container: ImageTree,
    names: list[str],
    images: np.ndarray,
    workers: int | None,
    bits: int | None,
    fit: Fit,
    training: int,
) -> tuple[Findings, int]:
    """Decode all; without `bits`, 16-bit samples use as many as the largest of the first `training`.

    Cameras and microscopes put 10, 12 or 14 bits into 16, which would be nearly black.
    """
    findings = decode_all(container.read(names), images, workers, bits or 16, fit)
    depths = findings.depths
    if bits:
        return findings, bits
    bits = max((depths[row] for row in depths if row < training), default=16)
    if bits < 16:
        rows = sorted(depths)
        deep = ((rows[at], file) for at, file in container.read([names[row] for row in rows]))
        findings.failed.update(decode_all(deep, images, workers, bits, fit).failed)
    return findings, bits
