"""A table of pictures, CSV or JSON Lines: file and label, and split and group where it has them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.vision.data.layouts.layout import LabelledFile
from tasks.vision.data.layouts.split_names import NAMES, split_of
from tasks.vision.errors import BadInput
from tasks.vision.text import first_of, is_utf8, normalized, printable

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
COLUMNS = {  # relevo's own name first, then those of others
    "file": ("file", "file_name", "filename", "path", "image"),
    "label": ("label", "class", "category"),
    "split": ("split", "set", "subset"),
    "group": ("group",),
}
_NAMED = {other: name for name, others in COLUMNS.items() for other in others}
_DELIMITERS = ",;\t"  # the last two as Excel writes them
_LINES = (".jsonl", ".ndjson")
_NOT_SPLIT = "no split"  # of a row, in messages


def is_table(name: str) -> bool:
    """True if the name ends as a table's."""
    return name.lower().endswith(TABLE_SUFFIXES)


def is_labelled(name: str, content: bytes) -> bool:
    """True if a table has the columns file and label; other tables are nobody's labels."""
    try:
        first = next(_rows(name, content, name), None)
    except BadInput:
        return False
    return first is not None and {"file", "label"} <= first.values.keys()


def read_table(given: str, name: str, content: bytes) -> list[LabelledFile]:
    """Read a table's rows, with paths as it has them, relative to it.

    Args:
        given: the table's address, for messages.

    Raises:
        BadInput: a row is faulty, by its line; or a file or group is there twice.
    """
    files: list[LabelledFile] = []
    seen: dict[str, int] = {}
    splits: dict[str, tuple[str, int]] = {}
    for row in _rows(given, content, name):
        if missing := [column for column in ("file", "label") if column not in row.values]:
            raise row.fault(f"no column {missing[0]}", "the columns file and label: add it")
        file = _labelled(row)
        if file.path in seen:
            raise row.fault(
                f"{printable(file.path)} again, as in line {seen[file.path]}",
                "each file once: remove a line",
            )
        seen[file.path] = row.line
        split = file.split or _NOT_SPLIT
        if file.group:
            other, line = splits.setdefault(file.group, (split, row.line))
            if other != split:
                raise row.fault(
                    f"group {printable(file.group)} is in {split}, and in line {line} in {other}",
                    "one split for each group: correct one of them",
                )
        if files and (files[0].split is None) != (file.split is None):
            raise row.fault(f"{split}, unlike the lines before", "a split in each line, or in none")
        files.append(file)
    if not files:
        raise BadInput(f"{given} has no rows; expected the columns file and label: add some")
    return files


@dataclass(frozen=True)
class _Row:
    """One row: its known columns, and the line that it begins in."""

    given: str
    line: int
    values: dict[str, str]

    def fault(self, what: str, expected: str) -> BadInput:
        return BadInput(f"{self.given}, line {self.line}: {what}; expected {expected}")


def _labelled(row: _Row) -> LabelledFile:
    label = normalized(row.values["label"].strip())
    if not label:
        raise row.fault("an empty label", "the name of a class: fill it in, or remove the line")
    value = row.values.get("split", "").strip()
    split = split_of(value)
    if value and not split:
        known = first_of(itertools.chain.from_iterable(NAMES.values()), 20)
        raise row.fault(f"split {printable(value)}", f"one of {known}: correct it")
    return LabelledFile(_path(row), label, split, normalized(row.values.get("group", "").strip()))


def _path(row: _Row) -> str:
    """The path of a row's file, plain and with slashes; `BadInput` if it leads out of the table's folder."""
    given = row.values["file"].strip()
    path = given.replace("\\", "/")  # as Windows writes it
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or not is_utf8(path):
        raise row.fault(
            "no file" if not parts else f"file {printable(given)}", "a path: fill it in"
        )
    if path.startswith("/") or "://" in path or re.match("[A-Za-z]:", path) or ".." in parts:
        raise row.fault(
            f"file {printable(given)}",
            "a path below the table's folder: move the table or the file",
        )
    return "/".join(parts)


def _rows(given: str, content: bytes, name: str) -> Iterator[_Row]:
    text = _decoded(content)
    lines = _json_rows if name.lower().endswith(_LINES) else _csv_rows
    try:
        for line, values in lines(text):
            known = {_NAMED.get(column.strip().lower()): value for column, value in values}
            yield _Row(given, line, {column: value for column, value in known.items() if column})
    except (csv.Error, ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{given} can't be read as a table ({error}); expected CSV or JSON Lines: save it as that"
        ) from None


def _decoded(content: bytes) -> str:
    """Decode UTF-8, with its mark or without, UTF-16 with its mark, or else Windows' own, as Excel writes."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _csv_rows(text: str) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Line and (column, value) of each row; a row of another length is a ValueError."""
    head = text.partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=head.count), strict=True
    )
    header = next(reader, [])
    before = reader.line_num
    for row in reader:
        line, before = before + 1, reader.line_num
        if not any(map(str.strip, row)):
            continue
        if len(row) != len(header):
            raise ValueError(
                f"line {line} has {len(row)} columns, and the first line {len(header)}"
            )
        yield line, list(zip(header, row, strict=True))


def _json_rows(text: str) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Line and (key, value) of each object; numbers count as text, null as nothing."""
    for line, each in enumerate(text.split("\n"), start=1):
        if not each.strip():
            continue
        try:
            values = json.loads(each)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {line} is not JSON: {error.msg}") from None
        if not isinstance(values, dict):
            raise ValueError(f"line {line} is no object in braces")
        known = [(key, value) for key, value in values.items() if key.lower() in _NAMED]
        if wrong := [key for key, value in known if not isinstance(value, str | int | None)]:
            raise ValueError(f"line {line}: {wrong[0]} is no text")
        yield line, [(key, "" if value is None else str(value)) for key, value in known]
