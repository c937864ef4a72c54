"""The lines of a TOML file for people: each a setting, and in a comment what it means."""

from __future__ import annotations

import json
from collections.abc import Sequence

COMMENTS = 38  # the column where comments begin

Line = tuple[str, str]  # a setting and its comment


def stage(name: str, lines: Sequence[Line], about: str = "") -> list[str]:
    """A stage's table, after an empty line."""
    return ["", f"[stages.{name}]{'  # ' + about if about else ''}", *commented(lines)]


def joined(*parts: Sequence[str]) -> str:
    """The text of a file of so many lines."""
    return "\n".join([line for part in parts for line in part]) + "\n"


def commented(lines: Sequence[Line]) -> list[str]:
    """Each setting with its comment beside it, or above it where it is long."""
    out: list[str] = []
    for setting, comment in lines:
        if len(setting) < COMMENTS:
            out.append(f"{setting:<{COMMENTS}}# {comment}")
        else:
            out += [f"# {comment}:", setting]
    return out


def quoted(value: str) -> str:
    """A TOML string; JSON's, and the one character that JSON leaves and TOML forbids."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def quoted_list(values: Sequence[str]) -> str:
    """A TOML list of strings."""
    return f"[{', '.join(map(quoted, values))}]"
