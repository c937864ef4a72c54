"""Parse the JSON of a foreign file: bounds on size, nesting and number of values are checked before parsing."""

from __future__ import annotations

import json
import re

from tasks.vision.errors import BadInput

MAX_BYTES = 32 << 20  # the largest network of keras.applications has 2 MiB
MAX_DEPTH = 64
MAX_VALUES = 2_000_000
# A string to its end, or a bracket or comma outside of one.
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[][{},]', re.DOTALL)


def parse_json(content: bytes, origin: str) -> object:
    """Return the parsed document; `origin` names it in messages.

    Raises:
        BadInput: it is no JSON, too large, nested too deeply, or has NaN or a key twice in one object.
    """
    _check_bounds(content, origin)
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{origin} can't be read as JSON ({error}); save the model again with model.save('x.keras')"
        ) from None


def _check_bounds(content: bytes, origin: str) -> None:
    if len(content) > MAX_BYTES:
        raise BadInput(f"{origin} has {len(content):,} bytes; at most {MAX_BYTES:,} expected")
    depth = 0
    for values, token in enumerate(TOKEN.finditer(content)):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0][:1], 0)
        if depth > MAX_DEPTH:
            raise BadInput(f"{origin} is nested deeper than {MAX_DEPTH} levels, as no network is")
        if values > MAX_VALUES:
            raise BadInput(f"{origin} has more than {MAX_VALUES:,} values, as no network has")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"the number {constant}")
