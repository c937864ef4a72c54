"""Command: new-recipe writes a recipe for a person's own pictures."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import Flag, JsonOption, StoreOption
from flows.cli.printing.output_files import write_output
from tasks.io.locations import find_data, store_address
from tasks.store.base import Damaged, Missing
from tasks.vision.errors import BadInput

if TYPE_CHECKING:
    from tasks.vision.new_recipe.draft import Start
    from tasks.vision.new_recipe.survey import Survey
    from tasks.vision.recipe.recipe import Recipe


def new_recipe(
    folder: str,
    *,
    positive: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    second: str | None = None,
    start: str = "",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    force: Flag = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write a recipe for your own pictures, from the names of their folders.

    Example: relevo new-recipe photos --positive cherry --second plum

    Parameters
    ----------
    folder
        A folder or archive of pictures, or a table of them, here or at s3://: one folder per class, or
        train/CLASS with val/CLASS or test/CLASS or both.
    positive
        Classes that the first stage finds among the others; by default the one with most pictures.
    second
        The class that the next stage tells apart from those and the rest.
    start
        What stages start from: imagenet/NETWORK, FILE.keras, a trained model as RUN/STAGE, @ALIAS or its
        folder, or none; by default one of Keras' networks, chosen by the number of pictures.
    output
        The file to write; by default FOLDER.toml, here.
    force
        Overwrite that file.
    """
    from tasks.vision.new_recipe.draft import draft
    from tasks.vision.new_recipe.survey import survey
    from tasks.vision.recipe.parse import parse_recipe

    file = output or Path(f"{_stem(folder)}.toml")
    if positive == []:
        raise BadInput(
            "--positive: no class is named; expected one or more, as in --positive cherry"
        )
    _check_names(folder, file, force)
    source = find_data(folder)
    if source.path is None:
        raise BadInput(f"{folder!r} has a recipe of its own: relevo run {folder}")
    found = survey(source)
    network = _find_start(start, sum(found.train.values()), store_address(store))
    text = draft(found, folder, positive or (), second, network)
    recipe = parse_recipe(text, file.stem, {})
    write_output("--output", file, text.encode())
    if as_json:
        about = {
            "recipe": str(file),
            "layout": found.layout,
            "pictures": {
                "train": found.train,
                **({"validation": found.validation} if found.folder else {}),
                "test": found.test,
            },
            "set_aside_for_test": found.test_share,
            "unread": found.unread,
            "left_out": [each.model_dump() for each in found.left_out],
            "image_size": recipe.data.image_size,
            "start": network.name if network else None,
            "stages": list(recipe.stages),
            "command": _command(file),
        }
        print(json.dumps(about))
    else:
        _print_warnings(found)
        _print_summary(file, found, recipe, network)
    return 0


def _find_start(given: str, pictures: int, store: str) -> Start | None:
    """Return what `--start` names: a trained model of the store or in a folder, a network, or nothing."""
    from tasks.runs.lookup import look_up
    from tasks.vision.new_recipe.draft import Start
    from tasks.vision.new_recipe.start import find_start
    from tasks.vision.recipe.names import is_model, start_name, with_slash

    path = with_slash(given)
    if not is_model(path):
        return find_start(given, pictures)
    try:
        found = look_up(store, path)
    except (BadInput, Missing, Damaged) as error:
        raise BadInput(f"--start {given}: {error}") from None
    head = found.card.pretrained
    about = f"a head on {head}" if head else str(found.card.architecture.network)
    return Start(
        found.address,
        found.card.architecture.image_size,
        f"{start_name(found.address)}, {about}",
        found.ref.sha256,
        own=head is None,
        fit=found.card.fit,
    )


def _check_names(folder: str, file: Path, force: bool) -> None:
    """Raise `BadInput` if the recipe can't name the folder or be written to the file."""
    from tasks.vision.text import is_utf8, printable

    for name in (folder, str(file)):
        if not is_utf8(name):
            raise BadInput(
                f"'{printable(name)}': expected a name in UTF-8, as a recipe is: rename it"
            )
    if not file.name.lower().endswith(".toml"):
        raise BadInput(f"--output {printable(file)}: expected a name that ends in .toml")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise BadInput(f"--output {file}: expected a file's name in a folder that is there")
    if file.exists() and not force:
        raise BadInput(f"{file} is there already; --force overwrites it, -o FILE names another")


def _print_warnings(found: Survey) -> None:
    from tasks.vision.new_recipe.survey import small_classes
    from tasks.vision.text import first_of, printable

    for each in found.left_out:
        print(f"left out {each}", file=sys.stderr)
    if found.unread:
        counted = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(found.unread.items()))
        print(
            f"left out, since no such picture can be read: {counted}; convert them to JPEG or move them "
            "away, or the run stops where they are more than data.max_unreadable",
            file=sys.stderr,
        )
    if found.damaged:
        print(
            f"no picture can be read in {first_of(found.damaged)}; mend or remove them, since a run stops "
            "where they are more than data.max_unreadable",
            file=sys.stderr,
        )
    if small := small_classes(found):
        counted = ", ".join(f"{printable(label)} {count}" for label, count in small.items())
        print(f"few pictures in train; more would help: {counted}", file=sys.stderr)


def _print_summary(file: Path, found: Survey, recipe: Recipe, start: Start | None) -> None:
    from tasks.vision.text import printable

    about = "about " if found.test_share else ""
    print(
        f"{file}: {len(found.train)} classes, {about}{sum(found.train.values())} training and "
        f"{sum(found.test.values())} test pictures"
    )
    print(f"found: {found.layout}; {_split_words(found, recipe)}")
    counts = (f"{printable(label)} {count:,}" for label, count in found.pictures.items())
    print(f"pictures: {', '.join(counts)}")
    print(f"stages: {', '.join(recipe.stages)}")
    if start:
        print(
            f"start: {start.name}, {start.about}; --start FILE.keras takes a network of yours, "
            "RUN/STAGE a model of an earlier run, none trains from scratch"
        )
    elif scheme := recipe.scheme(next(iter(recipe.stages.values()))):
        print(f"the first finds {', '.join(scheme.targets)}; --positive names other classes")
    else:
        print("with two classes one stage tells them apart; nothing is transferred")
    print(f"now: {_command(file)}")
    # Every draft has this stage, whatever the number of classes.
    print("then: relevo predict latest/all_classes MORE_PICTURES --csv seen.csv")


def _split_words(found: Survey, recipe: Recipe) -> str:
    """Say where the splits come from."""
    from tasks.vision.text import percent

    test, validation = f"{percent(recipe.data.test)} of each class", percent(recipe.data.validation)
    words = []
    if found.test_share:
        words.append(f"no test images: about {test} are set aside for test by content")
    if found.folder:
        count = sum(found.validation.values())
        words.append(f"the {count:,} of {found.folder} are the validation images")
    else:
        words.append(f"{validation} of train are held out for validation")
    if found.groups:
        words.append(f"each of {found.groups:,} groups stays in one split")
    return "; ".join(words)


def _command(file: Path) -> str:
    return shlex.join(["relevo", "run", str(file)])


def _stem(given: str) -> str:
    """The name of a folder, archive or table without its suffix; "photos" where nothing is left."""
    from tasks.vision.data.layouts.table import TABLE_SUFFIXES
    from tasks.vision.files.archives import ARCHIVE_SUFFIXES

    name = given.rpartition("/")[2] if "://" in given else Path(given).resolve().name
    suffixes = (*ARCHIVE_SUFFIXES, *TABLE_SUFFIXES)
    suffix = next((each for each in suffixes if name.lower().endswith(each)), "")
    return name[: len(name) - len(suffix)] or "photos"
