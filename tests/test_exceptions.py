"""The tree of the project's exceptions, as `tasks` draws it, is the one in the code."""

from __future__ import annotations

import ast
import builtins
import re

from support.command import ROOT

import tasks


def exceptions_in_code() -> dict[str, str]:
    """Name -> base of every exception class, found by its base without importing its module."""
    classes = {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for room in ("flows", "tasks")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }

    def is_exception(name: str) -> bool:
        known = getattr(builtins, name, None)
        if isinstance(known, type):
            return issubclass(known, BaseException)
        return any(map(is_exception, classes.get(name, ())))

    return {name: bases[0] for name, bases in classes.items() if is_exception(name)}


def test_exceptions_are_drawn_as_one_tree() -> None:
    drawn: dict[str, str] = {}
    above = ["", ""]
    for indent, name in re.findall(r"^ {4}( *)(_?[A-Z]\w+)\b", tasks.__doc__ or "", re.M):
        depth = len(indent) // 2
        above[depth + 1 :] = [name]
        if not hasattr(builtins, name):
            drawn[name] = above[depth]
    assert drawn == exceptions_in_code()
