"""Digests of the source code: of what computes a result, for cache keys, and of all of relevo."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from modulefinder import ModuleFinder
from pathlib import Path
from types import CodeType

from tasks.store.base import sha256_of

PROJECT = ("flows", "tasks")
READ = {".py", ".toml", ".csv"}  # built-in recipes are read, too


@cache
def own_version() -> str:
    """Return relevo's version with a digest of its files, such as "0.2.0, code 1f0c9a3b".

    Two checkouts of one version differ in it if their code does. A worker calls it before its first run, so
    that it stays that of the code which is loaded, whatever is installed meanwhile.
    """
    return f"{metadata.version('relevo')}, code {sources_digest(Path(__file__).parents[2])[:8]}"


def sources_digest(root: Path) -> str:
    """Return the SHA-256 of all modules of the project below `root`, with the data files that they read."""
    digest = hashlib.sha256()
    files = (path for name in PROJECT for path in (root / name).rglob("*") if path.suffix in READ)
    for path in sorted(files):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


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
