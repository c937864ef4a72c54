"""A recipe as it ran, in TOML."""

from __future__ import annotations

import json
from typing import Any

import tomli_w

from tasks.vision.recipe.recipe import Recipe


def as_toml(recipe: Recipe) -> str:
    """Write a recipe with every default that has an effect spelled out; it parses to the same recipe."""
    unused = {
        part: {name: each.unused_settings() for name, each in tables.items()}
        for part, tables in (("labels", recipe.labels), ("stages", recipe.stages))
    }
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude=unused, exclude_none=True))


# By hand, since tomli-w writes whole documents: no inline tables, and each list over several lines.
def toml_value(value: Any) -> str:
    """A JSON-like value in TOML, on one line."""
    if isinstance(value, dict):
        inside = (f"{toml_value(key)} = {toml_value(part)}" for key, part in value.items())
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    # JSON's strings are TOML's, but for one character that JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
