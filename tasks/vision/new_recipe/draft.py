"""A recipe for a person's own pictures, drafted from a survey of their folders.

`draft.toml.jinja` has its text, `pretrained.toml.jinja` that of one with a pretrained start, and this module
what fills them. The rules of thumb follow the built-in
recipes: few images get a smaller network, more epochs and a larger share for validation; larger
pictures get more pixels and one more block of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import wrap
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tasks.vision.errors import BadInput, nearest
from tasks.vision.new_recipe.survey import Survey
from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.recipe.names import good_name
from tasks.vision.recipe.to_toml import toml_value
from tasks.vision.text import printable

TEMPLATE, PRETRAINED = "draft.toml.jinja", "pretrained.toml.jinja"
PHOTO_FIT: Fit = CROP  # what a draft sets data.fit to; the built-in recipe for photos has the same
WIDTH = 96  # of the lines that list the classes
COMMENT_COLUMN = 38
COMMENT = "  # "

Schemes = dict[str, dict[str, list[str]]]  # scheme -> target -> classes


@dataclass(frozen=True)
class Start:
    """The pretrained network or trained model that a draft starts from.

    Attributes:
        name: what the recipe calls it. size: pixels per side of its images. about: a few words on its source.
        sha256: of its file, "" where the name says it all.
        own: relevo's own network, all layers of which learn. fit: how the pictures that it saw became squares.
    """

    name: str
    size: int
    about: str
    sha256: str = ""
    own: bool = False
    fit: Fit = PHOTO_FIT


def draft(
    survey: Survey,
    source: str,
    positive: Sequence[str] = (),
    second: str | None = None,
    start: Start | None = None,
) -> str:
    """Write a recipe's TOML, each line explained: a detector, what it transfers to, and all classes.

    With a pretrained start there is a detector only where its classes are named.

    Args:
        source: the recipe's data.source.
        positive: the classes that the detector finds; the class with most pictures when empty.
        second: the class distinguished next; the one with most pictures of the others when None.
        start: what every stage starts from; without one, all is learnt from scratch.

    Raises:
        BadInput: a class that is not there, or too few pictures or classes to learn from.
    """
    classes = list(survey.train)
    _check_counts(survey, printable(source))
    for name in (*positive, *([second] if second else [])):
        if name not in classes:
            raise BadInput(f"class {name!r}{nearest(name, classes)}")
    schemes: Schemes
    if len(classes) == 2 or (start and not positive and not second):
        if len(classes) == 2:
            _check_no_choice(positive, second)
        schemes, rest = {}, ""
        what = "all classes" if start else f"{' or '.join(classes)} (nothing is transferred)"
    else:
        found, others = _choose(survey, positive, second)
        # No second stage by default if its targets would be all the classes, or leave no "another".
        two = second is not None or (len(classes) > 3 and len(others) > 1 and not start)
        schemes, rest = _schemes(found, second or others[0], two)
        what = f"{' or '.join(found)}, and all classes"
    total, tests = sum(survey.train.values()), sum(survey.test.values())
    counts = ", ".join(f"{printable(name)} {count}" for name, count in survey.train.items())
    about = "about " if survey.test_share else ""
    summary = (
        f"{about}{total} training and {tests} test pictures of {len(classes)} classes: {counts}"
    )
    held_out = 0 if survey.validation else ceil(total * _validation(total))
    common = {
        "summary": wrap(summary, WIDTH),
        "folder": survey.folder,
        "own": sum(survey.validation.values()),
        "description": f"Own pictures: {what}",
        "source": source,
        "schemes": schemes,
        "rest": rest,
        "side": survey.side,
        "fit": start.fit if start else PHOTO_FIT,
        "validation": _validation(total),
        "test_share": survey.test_share,
        "batch_size": _batch_size(total - held_out),
        "steps": max(1, (total - held_out) // _batch_size(total - held_out)),
    }
    if start:
        return _render(
            PRETRAINED,
            **common,
            image_size=start.size,
            start=start.name,
            about=start.about,
            sha256=start.sha256,
            trained=start.own,
            shift=start.size // 16,
            epochs=_epochs(total) // 2,
        )
    return _render(
        TEMPLATE,
        **common,
        image_size=_image_size(survey),
        shift=_image_size(survey) // 16,
        widths=_widths(survey),
        epochs=_epochs(total),
    )


def _check_counts(survey: Survey, given: str) -> None:
    classes, total = len(survey.train), sum(survey.train.values())
    if classes < 2:
        raise BadInput(
            f"{given}: there is one class, {next(iter(survey.train))!r}; expected two or more: add a folder of "
            "pictures for another"
        )
    poor = min(survey.train, key=lambda name: survey.train[name])
    share = not survey.validation and round(total * _validation(total)) < classes
    if survey.train[poor] < 2 or share:
        raise BadInput(
            f"{given}: of class {poor!r} about {survey.train[poor]} would be left to train on, of all classes"
            f" {total}, once test images are set aside; expected 5 or more pictures of each class, for"
            " training, validation and test: add some, or remove the class"
        )


def _check_no_choice(positive: Sequence[str], second: str | None) -> None:
    """Raise `BadInput` if a person chooses between two classes: there is nothing to choose."""
    for option, value in (("--positive", " ".join(positive)), ("--second", second)):
        if value:
            raise BadInput(
                f"{option} {value}: with two classes one stage tells them apart; expected three or "
                "more classes: leave the option out"
            )


def _choose(
    survey: Survey, positive: Sequence[str], second: str | None
) -> tuple[list[str], list[str]]:
    """Choose the classes that the detector finds; return them and the others, most pictures first."""
    by_count = sorted(survey.train, key=lambda name: -survey.train[name])
    found = list(dict.fromkeys(positive)) or by_count[:1]
    others = [name for name in by_count if name not in found]
    if not others:
        raise BadInput(f"--positive names all {len(by_count)} classes; leave one out as the rest")
    if second in found or (second and len(others) == 1):
        raise BadInput(
            f"--second {second!r}: expected a class beside {', '.join(found)} that leaves a rest"
        )
    return found, others


def _schemes(found: list[str], after: str, two: bool) -> tuple[Schemes, str]:
    """Name the targets of the detector and, with `two`, of the stage after it; and their rest."""
    target = _free_name(" or ".join(found), [])
    then = _free_name(after, [target])
    rest = next(name for name in ("other", "rest", "none") if name not in (target, then))
    schemes: Schemes = {"detector": {target: found}}
    if two:
        schemes["two"] = {target: found, then: [after]}
    return schemes, rest


def _free_name(classes: str, taken: Sequence[str]) -> str:
    """Name a target after its classes, where that is short enough and not yet taken."""
    return next(each for each in (good_name(classes), "found", "next") if each not in ["", *taken])


# Rules of thumb for this many pictures of this size


def _image_size(survey: Survey) -> int:
    return 32 if survey.side < 48 else 64 if survey.side < 80 else 96


def _widths(survey: Survey) -> list[int]:
    total = sum(survey.train.values())
    widths = [16, 32, 64] if total < 2000 else [32, 64, 128] if total < 20000 else [64, 256, 256]
    return widths if _image_size(survey) == 32 else [*widths, widths[-1]]


def _epochs(total: int) -> int:
    return 40 if total < 500 else 24 if total < 2000 else 16 if total < 10000 else 10


def _validation(total: int) -> float:
    return 0.2 if total < 2000 else 0.1


def _batch_size(trained: int) -> int:
    """For so many images that validation leaves."""
    return max(8, min(1000, round(trained / 15)))


def _render(template: str, **values: Any) -> str:
    """Fill a template; `toml` is its filter for a value."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),  # of HTML, which this is not
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["toml"] = toml_value
    text = environment.get_template(template).render(values)
    # Not splitlines: a class may be called by some of the characters that it splits at.
    return "\n".join(map(_align, text.split("\n")))


def _align(line: str) -> str:
    """Move a setting's comment to its column, or above a setting that reaches past it."""
    setting, mark, comment = line.rpartition(COMMENT)
    if not mark or line.startswith(("#", "[")):
        return line
    if len(setting) < COMMENT_COLUMN:
        return f"{setting:<{COMMENT_COLUMN}}# {comment}"
    return f"# {comment}:\n{setting}"
