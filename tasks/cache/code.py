"""Digests of the source code that computes a result, for cache keys."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType

from tasks.store.base import sha256_of

PROJECT = ("flows", "tasks")


@cache
def code_digests(*modules: str) -> dict[str, str]:
    """Return the SHA-256 of the source of these modules and of all project modules they import."""
    found = sorted(_closure(modules).items())
    return {name: sha256_of(path.read_bytes().replace(b"\r\n", b"\n"))[0] for name, path in found}


def _closure(modules: tuple[str, ...]) -> dict[str, Path]:
    """Map `modules` and all project modules that they import, directly or indirectly, to their files."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name.split(".")[0] not in PROJECT:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue  # a function or class in `from module import name`
        found[name] = Path(spec.origin)
        for module, names in imports_of(found[name]):
            waiting += [module, *_submodules(module, names)]
    return found


def imports_of(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the modules that a file imports anywhere, each with the names in `from module import names`.

    From compiled code: before CPython 3.11.8, `ast.parse` fails in several threads (python/cpython#106905).
    """
    finder = ModuleFinder()
    waiting = [compile(path.read_bytes(), str(path), "exec", dont_inherit=True, optimize=0)]
    while waiting:
        code = waiting.pop()
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]
        for kind, found in finder.scan_opcodes(code):
            if kind == "absolute_import":
                names, module = found
                yield module, names or ()


def _submodules(package: str, names: tuple[str, ...]) -> list[str]:
    """Return the modules among the names that `from package import names` imports."""
    if not names or package.split(".")[0] not in PROJECT:
        return []  # find_spec would import a library's package
    base = importlib.util.find_spec(package)
    if base is None or base.submodule_search_locations is None:
        return []
    return [f"{package}.{name}" for name in names]
