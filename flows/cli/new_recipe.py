"""Command: new-recipe writes a recipe for a person's own pictures."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.options import Flag, JsonOption
from tasks.io.locations import local_data
from tasks.vision.errors import BadInput


def new_recipe(
    folder: str,
    *,
    positive: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    second: str | None = None,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Flag = False,
    as_json: JsonOption = False,
) -> int:
    """Write a recipe for your own pictures, from the names of their folders.

    Example: relevo new-recipe photos --positive cherry --second plum

    Parameters
    ----------
    folder
        A folder or archive with train/CLASS/NAME.png and test/CLASS/NAME.png, here or at s3://.
    positive
        Classes that the first stage finds among the others; by default the one with most pictures.
    second
        The class that the next stage tells apart from those and the rest.
    output
        The file to write; by default FOLDER.toml, here.
    force
        Overwrite that file.
    """
    from tasks.vision.data.sources import find_source
    from tasks.vision.new_recipe.draft import draft
    from tasks.vision.new_recipe.survey import few, look
    from tasks.vision.recipe.parse import parse_recipe
    from tasks.vision.text import is_utf8, printable

    file = output or Path(f"{_stem(folder)}.toml")
    for name in (folder, str(file)):
        if not is_utf8(name):
            raise BadInput(
                f"'{printable(name)}': expected a name in UTF-8, as a recipe is: rename it"
            )
    if positive == []:
        raise BadInput(
            "--positive: no class is named; expected one or more, as in --positive cherry"
        )
    if not file.name.lower().endswith(".toml"):
        raise BadInput(f"--output {printable(file)}: expected a name that ends in .toml")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise BadInput(f"--output {file}: expected a file's name in a folder that is there")
    if file.exists() and not force:
        raise BadInput(f"{file} is there already; --force overwrites it, -o FILE names another")
    source = find_source(local_data(folder))
    if source.path is None:
        raise BadInput(f"{folder!r} has a recipe of its own: relevo run {folder}")
    pictures = look(source.path)
    text = draft(pictures, folder, positive or (), second)
    recipe = parse_recipe(text, file.stem, {})
    _write(file, text)
    command = shlex.join(["relevo", "run", str(file)])
    if as_json:
        counts = {"train": pictures.train, "test": pictures.test}
        about = {"image_size": recipe.data.image_size, "stages": list(recipe.stages)}
        found = {"pictures": counts, "unread": pictures.unread}
        print(json.dumps({"recipe": str(file), **found, **about, "command": command}))
        return 0
    if pictures.unread:
        counted = ", ".join(
            f"{count:,} {suffix}" for suffix, count in sorted(pictures.unread.items())
        )
        print(
            f"left out, since no such picture can be read: {counted}; convert them to JPEG or move them "
            "away, or the run stops where they are more than data.max_unreadable",
            file=sys.stderr,
        )
    if poor := few(pictures):
        counted = ", ".join(f"{printable(label)} {count}" for label, count in poor.items())
        print(f"few pictures in train; more would help: {counted}", file=sys.stderr)
    print(
        f"{file}: {len(pictures.train)} classes, {sum(pictures.train.values())} training and "
        f"{sum(pictures.test.values())} test pictures"
    )
    print(f"stages: {', '.join(recipe.stages)}")
    if scheme := recipe.scheme(next(iter(recipe.stages.values()))):
        print(f"the first finds {', '.join(scheme.targets)}; --positive names other classes")
    else:
        print("with two classes one stage tells them apart; nothing is handed on")
    print(f"now: {command}")
    # Every draft has this stage, whatever the number of classes.
    print("then: relevo predict latest/all_classes MORE_PICTURES --csv seen.csv")
    return 0


def _stem(given: str) -> str:
    from tasks.vision.data.archives import ARCHIVE_SUFFIXES

    name = given.rpartition("/")[2] if "://" in given else Path(given).resolve().name
    suffix = next((each for each in ARCHIVE_SUFFIXES if name.lower().endswith(each)), "")
    return name[: len(name) - len(suffix)] or "photos"


def _write(file: Path, text: str) -> None:
    """The whole file or none of it."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(text, "utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadInput(
            f"{file} can't be written ({error.strerror}); name another: -o FILE"
        ) from None
