"""What a search picks from: for each key a list of values or a range of numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from pydantic import JsonValue

from tasks.runs.sweeps.sweep_range import Range
from tasks.sweeps.grid import Settings, Variation, check_count, check_paths
from tasks.vision.errors import BadInput

Space = dict[str, "Range | list[JsonValue]"]  # by dotted key of a recipe


def space_of(over: Sequence[Variation], search: int, seeds: int, folds: int | None) -> Space:
    """Return what a search of so many settings picks from.

    Raises:
        BadInput: a key is given twice, or is none to vary; nothing is varied; there is less to pick from
            than is to be picked; or the runs would be too many.
    """
    check_paths(over)
    if not over:
        raise BadInput(
            f"--search {search}: nothing to pick from; give --over PATH=LOW..HIGH or PATH=V1,V2, e.g. "
            "stages.baseline.lr_scale=0.1..10"
        )
    space: Space = {each.path: each.range() or each.listed() for each in over}
    count = settings_in(space)
    if count is not None and count < search:
        raise BadInput(
            f"--search {search}: there are {count:,} combinations; expected at most as many, or lists alone "
            "and no --search, which tries all of them"
        )
    check_count(search, seeds, folds)
    return space


def settings_in(space: Space) -> int | None:
    """Return the number of different settings; None if that is no limit."""
    counts = [each.count if isinstance(each, Range) else len(each) for each in space.values()]
    known = [count for count in counts if count is not None]
    return math.prod(known) if len(known) == len(counts) else None


def is_in(space: Space, settings: Settings) -> bool:
    """True if these settings can be picked from the space."""
    return settings.keys() == space.keys() and all(
        isinstance(value, int | float) and each.low <= value <= each.high
        if isinstance(each, Range)
        else value in each
        for each, value in ((space[path], value) for path, value in settings.items())
    )


def examples(space: Space) -> Iterator[Settings]:
    """Yield settings that have each listed value and each end of a range: what a recipe must accept."""
    values = [list(each.ends()) if isinstance(each, Range) else each for each in space.values()]
    first = [each[0] for each in values]
    yield dict(zip(space, first, strict=True))
    for path, more in zip(space, values, strict=True):
        for value in more[1:]:
            yield dict(zip(space, first, strict=True)) | {path: value}


def all_settings(space: Space) -> Iterator[Settings]:
    """Yield all settings of a space that has a limited number of them."""
    values = [
        list(range(round(each.low), round(each.high) + 1)) if isinstance(each, Range) else each
        for each in space.values()
    ]
    for chosen in product(*values):
        yield dict(zip(space, chosen, strict=True))
