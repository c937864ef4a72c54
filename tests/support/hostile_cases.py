"""The registry of hostile files: each a function that writes it, and the message that refuses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Case = tuple[Callable[[Path], Path], str]
CASES: dict[str, Case] = {}


def case(name: str, message: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    """Register a function that writes a hostile file into a folder, and the message that refuses it."""

    def register(write: Callable[[Path], Path]) -> Callable[[Path], Path]:
        CASES[name] = (write, message)
        return write

    return register
