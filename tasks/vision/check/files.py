"""Formats, modes and sizes of picture files, from their headers; nothing is decoded."""

from __future__ import annotations

from collections import Counter
from statistics import median

from tasks.vision.check.findings import FileFindings, FileSize
from tasks.vision.data.sources import Source, opened
from tasks.vision.pictures.readers import read_header

LONG = 2.0  # times the shorter side: of a longer picture, the centre square is less than half
SMALL = 0.5  # of the size of the prepared images


def look_at_files(source: Source, image_size: int) -> FileFindings:
    """Read the headers of all picture files; those that can't be read are left to preparation.

    Raises:
        BadInput: the layout is none that can be trained from.
    """
    formats: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    sizes: list[FileSize] = []
    with opened(source) as (container, layout):
        paths = [file.path for file in layout.files]
        for index, data in container.read([layout.place.root + path for path in paths]):
            if header := read_header(data):
                formats[header.kind] += 1
                modes[header.mode] += 1
                sizes.append(FileSize(name=paths[index], width=header.width, height=header.height))
    sizes.sort(key=lambda each: (min(each.width, each.height), each.name))
    sides = [min(each.width, each.height) for each in sizes]
    long = [
        each for each in sizes if max(each.width, each.height) > LONG * min(each.width, each.height)
    ]
    return FileFindings(
        files=len(sizes),
        formats=dict(formats.most_common()),
        modes=dict(modes.most_common()),
        sides=(sides[0], round(median(sides)), sides[-1]) if sides else (0, 0, 0),
        smaller=sum(side < image_size for side in sides),
        small=tuple(
            each for each, side in zip(sizes, sides, strict=True) if side < SMALL * image_size
        ),
        long=tuple(sorted(long, key=_elongation, reverse=True)),
    )


def _elongation(file: FileSize) -> float:
    return max(file.width, file.height) / max(1, min(file.width, file.height))
