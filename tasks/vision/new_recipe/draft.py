"""A recipe for a person's own pictures, drafted from their folders: what is there, what suits it.

The rules of thumb follow the built-in recipes: few images get a smaller network, more epochs and more
validation; large pictures more pixels and one block of layers more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from textwrap import wrap

from tasks.vision.errors import BadInput, nearest
from tasks.vision.new_recipe.survey import Survey
from tasks.vision.recipe.names import good_name
from tasks.vision.text import printable

WIDTH = 96  # of the lines that list the classes
COMMENTS = 38  # the column where comments begin

Line = tuple[str, str]  # a setting and its comment


def draft(
    pictures: Survey, source: str, positive: Sequence[str] = (), second: str | None = None
) -> str:
    """A recipe's TOML: a detector, what it hands on, and all classes from scratch; each line explained.

    Args:
        source: the recipe's data.source.
        positive: the classes that the detector finds; the class with most pictures when empty.
        second: the class told apart next; the one with most pictures of the others when None.

    Raises:
        BadInput: a class that is not there, or too few pictures or classes to learn from.
    """
    classes = list(pictures.train)
    _check_counts(pictures, printable(source))
    for name in (*positive, *([second] if second else [])):
        if name not in classes:
            raise BadInput(f"class {name!r}{nearest(name, classes)}")
    if len(classes) == 2:
        _check_no_choice(positive, second)
        return joined(_head(pictures, source, classes), _defaults(pictures), _only_stage())
    by_count = sorted(classes, key=lambda name: -pictures.train[name])
    found = list(dict.fromkeys(positive)) or by_count[:1]
    others = [name for name in by_count if name not in found]
    if not others:
        raise BadInput(f"--positive names all {len(classes)} classes; leave one out as the rest")
    if second in found or (second and len(others) == 1):
        raise BadInput(
            f"--second {second!r}: expected a class beside {', '.join(found)} that leaves a rest"
        )
    lines = _head(pictures, source, found)
    after = second or others[0]
    target = _free_name(" or ".join(found), [])
    then = _free_name(after, [target])
    rest = next(name for name in ("other", "rest", "none") if name not in (target, then))
    schemes = _scheme("detector", {target: found}, rest)
    stages = stage("baseline", _detector("detector"))
    # Of three classes "this, that or another" are all; of two others, nothing would be left.
    three = second is not None or (len(classes) > 3 and len(others) > 1)
    if three:
        schemes += _scheme("two", {target: found, then: [after]}, rest)
        stages += stage("transfer", _head_on("baseline", "two"))
    stages += stage("all_classes", SMOOTHED, "from scratch: the next ones are compared with it")
    stages += stage("all_classes_from_baseline", _head_on("baseline", None))
    if three:
        stages += stage("all_classes_from_transfer", [*_fine_tuned("transfer"), *SMOOTHED])
    return joined(lines, schemes, _defaults(pictures), stages)


def _check_counts(pictures: Survey, given: str) -> None:
    classes, total = len(pictures.train), sum(pictures.train.values())
    if classes < 2:
        raise BadInput(
            f"{given}: train and test hold one class, {next(iter(pictures.train))!r}; expected two or more: "
            "add a folder train/CLASS and test/CLASS for another"
        )
    poor = min(pictures.train, key=lambda name: pictures.train[name])
    if pictures.train[poor] < 2 or round(total * _validation(total)) < classes:
        raise BadInput(
            f"{given}: class {poor!r} has {pictures.train[poor]} in train, all classes together "
            f"{total}; expected 5 or more pictures of each: add some"
        )


def _free_name(classes: str, taken: Sequence[str]) -> str:
    """What a target is called: as its classes, where that is short enough and not yet taken."""
    return next(each for each in (good_name(classes), "found", "next") if each not in ["", *taken])


def _check_no_choice(positive: Sequence[str], second: str | None) -> None:
    """`BadInput` where a person chooses classes and there is nothing to choose."""
    for option, value in (("--positive", " ".join(positive)), ("--second", second)):
        if value:
            raise BadInput(
                f"{option} {value}: with two classes one stage tells them apart; expected three or "
                "more classes: leave the option out"
            )


# What suits so many pictures of such a size


def _image_size(pictures: Survey) -> int:
    return 32 if pictures.side < 48 else 64 if pictures.side < 80 else 96


def _widths(pictures: Survey) -> list[int]:
    total = sum(pictures.train.values())
    widths = [16, 32, 64] if total < 2000 else [32, 64, 128] if total < 20000 else [64, 256, 256]
    return widths if _image_size(pictures) == 32 else [*widths, widths[-1]]


def _epochs(total: int) -> int:
    return 40 if total < 500 else 24 if total < 2000 else 16 if total < 10000 else 10


def _validation(total: int) -> float:
    return 0.2 if total < 2000 else 0.1


def _batch_size(total: int) -> int:
    return max(8, min(1000, round(total * (1 - _validation(total)) / 15)))


def _steps(total: int) -> int:
    """How many full batches there are in an epoch, of what validation leaves."""
    return max(1, (total - ceil(total * _validation(total))) // _batch_size(total))


# The lines, each a setting and what it means

SMOOTHED: list[Line] = [
    ("label_smoothing = 0.2", "do not be too sure; nothing starts from this one")
]
COMPARED = [
    "# Beside each stage that starts from another, two controls are trained to compare it with: the",
    "# same network from scratch, and the same head on a frozen random one. controls = false: without.",
]
ALONE = [
    "# With two classes one stage learns all that there is to tell apart: nothing is handed on, and",
    "# nothing is compared with it. A third class makes a chain of stages.",
]


def _head(pictures: Survey, source: str, found: Sequence[str]) -> list[str]:
    total, tests = sum(pictures.train.values()), sum(pictures.test.values())
    size = _image_size(pictures)
    counted = ", ".join(f"{printable(name)} {count}" for name, count in pictures.train.items())
    about = (
        f"{total} training and {tests} test pictures of {len(pictures.train)} classes: {counted}"
    )
    alone = len(pictures.train) == 2
    what = " or ".join(found) + (" (nothing is handed on)" if alone else ", and all classes")
    return [
        *(f"# {line}" for line in wrap(about, WIDTH)),
        "# Train it with: relevo run THIS_FILE   Look first, at what and for how long: relevo plan",
        *(ALONE if alone else COMPARED),
        f"description = {quoted('Own pictures: ' + what)}",
        "",
        "[data]",
        *commented(
            [
                (
                    f"source = {quoted(source)}",
                    "relative to where relevo runs; --data overrides it",
                ),
                (
                    f"image_size = {size}",
                    f"pixels a side: more show more and cost more (yours: {pictures.side})",
                ),
                (
                    f"validation = {_validation(total)}",
                    "share of train kept for choosing; test is for the end",
                ),
                ("max_unreadable = 0.01", "share of files that may be damaged; they are named"),
            ]
        ),
    ]


def _scheme(name: str, targets: dict[str, list[str]], rest: str) -> list[str]:
    listed = ", ".join(
        f"{quoted(target)} = {quoted_list(names)}" for target, names in targets.items()
    )
    lines = [
        (f"targets = {{ {listed} }}", "a target and the classes that count as it"),
        (f"rest = {quoted(rest)}", "every other class"),
    ]
    return ["", f"[labels.{name}]  # how classes become targets of a stage", *commented(lines)]


def _defaults(pictures: Survey) -> list[str]:
    total = sum(pictures.train.values())
    lines = [
        (
            f"network = {{ widths = {_widths(pictures)} }}",
            "channels of its blocks; wider learns more, slower",
        ),
        (
            f"batch_size = {_batch_size(total)}",
            f"pictures a step, so that an epoch has {_steps(total)}",
        ),
        ("flip = true", "learn mirror images too; false for letters, digits, signs"),
        (f"shift = {_image_size(pictures) // 16}", "pixels that pictures are moved by at random"),
        ('restore = "best"', 'the epoch that is best on validation; or "last"'),
    ]
    return [
        "",
        "[defaults]  # of every stage that does not say otherwise",
        *commented(
            [
                *lines,
                (f"epochs = {_epochs(total)}", "passes over the pictures; few pictures need more"),
            ]
        ),
    ]


def _only_stage() -> list[str]:
    return stage("all_classes", [('labels = "all"', "both classes; all layers learn from scratch")])


def _detector(labels: str) -> list[Line]:
    return [
        (f"labels = {quoted(labels)}", "a scheme; with no start, all layers learn from scratch")
    ]


def _head_on(start: str, labels: str | None) -> list[Line]:
    chosen = [(f"labels = {quoted(labels)}", "a scheme; left out: all classes")] if labels else []
    return [
        (f"start = {quoted(start)}", "what that stage has learnt is handed on"),
        *chosen,
        ('train = "head"', "and frozen: only a new last layer learns"),
        ("epochs = 30", "of the last layer alone; they take seconds"),
        ('features = "every layer"', "what it sees of the frozen network"),
    ]


def _fine_tuned(start: str) -> list[Line]:
    return [
        (f"start = {quoted(start)}", "what that stage has learnt is handed on"),
        ('train = "head then all"', "a new last layer first, then all layers"),
        ("head_epochs = 10", "of the last layer alone"),
    ]


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
