"""A recipe as it ran, in TOML."""

from __future__ import annotations

import json
from typing import Any

from tasks.vision.recipe.recipe import Recipe


def as_toml(recipe: Recipe) -> str:
    """The recipe as it ran, in TOML: every default that means something, written out."""
    lines: list[str] = []

    def table(path: str, values: dict[str, Any]) -> None:
        plain = {k: v for k, v in values.items() if not isinstance(v, dict) and v is not None}
        nested = {k: v for k, v in values.items() if isinstance(v, dict)}
        if path and (plain or not nested):
            lines.append(f"\n[{path}]")
        lines.extend(f"{_quoted(key)} = {toml_value(value)}" for key, value in plain.items())
        for key, value in nested.items():
            table(f"{path}.{_quoted(key)}" if path else _quoted(key), value)

    idle = {
        part: {name: each.unused_settings() for name, each in tables.items()}
        for part, tables in (("labels", recipe.labels), ("stages", recipe.stages))
    }
    table("", recipe.model_dump(mode="json", exclude=idle))
    return "\n".join(lines).strip() + "\n"


def _quoted(key: str) -> str:
    plain = key.replace("-", "_")
    return key if plain.isascii() and plain.isidentifier() else toml_value(key)


def toml_value(value: Any) -> str:
    """A value in TOML: JSON, but for its tables and one character."""
    if isinstance(value, dict):
        inside = (f"{toml_value(key)} = {toml_value(part)}" for key, part in value.items())
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
