"""What the commands share: their options, and what the options' values mean."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import UNSET, CycloptsError, Parameter, Token, convert

from tasks.vision.errors import BadInput

WHOLE = re.compile(r"[+-]?[0-9]+")

StoreOption = Annotated[
    str | None,
    Parameter(name="--store", help="Where results are kept: a folder or s3://bucket/prefix."),
]
JsonOption = Annotated[
    bool,
    Parameter(
        name="--json",
        negative="",
        show_default=False,
        help="Print one JSON object on standard output.",
    ),
]
RecipeArgument = Annotated[
    str, Parameter(help="digits, cifar10, classroom, or the path of a TOML file.")
]
DataOption = Annotated[
    str | None,
    Parameter(
        help="digits, cifar10, or a folder or archive with train/CLASS/NAME.png and "
        "test/CLASS/NAME.png, here or at s3://bucket/path."
    ),
]
SeedOption = Annotated[int | None, Parameter(help="Seed of the run, in place of the recipe's.")]
StageOption = Annotated[
    list[str] | None,
    Parameter(
        name="--stage",
        negative="",
        consume_multiple=False,
        help="Only this stage and what it starts from; may be given again.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        consume_multiple=False,
        help="Change a recipe's value, e.g. stages.baseline.epochs=3; may be given again, the last counts.",
    ),
]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]


def strict(kind: Any, tokens: Sequence[Token]) -> Any:
    """Every command's values: none is empty, and a whole number is not made by rounding one.

    Raises:
        CycloptsError: one is.
    """
    for token in tokens:
        name = token.keyword or "an argument"
        if not token.value and token.implicit_value is UNSET:
            mend = "leave the option out, or give a value" if token.keyword else "give a value"
            raise CycloptsError(msg=f"{name} is empty; {mend}")
        if kind is int and not WHOLE.fullmatch(token.value):
            raise CycloptsError(msg=f"{name} {token.value!r}: expected a whole number, e.g. 3")
    return convert(kind, tokens)


def all_settings(given: list[str] | None, seed: int | None) -> dict[str, Any]:
    """--set and --seed as a recipe's dotted keys and values; of one path, the last value counts.

    Raises:
        BadInput: not PATH=VALUE, or --seed and --set give two seeds.
    """
    settings = dict(map(_setting, given or []))
    if seed is None:
        return settings
    if (other := settings.get("seed", seed)) != seed:
        raise BadInput(f"seed is given as {other!r} and as {seed!r}; leave one out")
    return {**settings, "seed": seed}


def _setting(given: str) -> tuple[str, Any]:
    path, equals, text = given.partition("=")
    if not equals or not path:
        raise BadInput(f"--set {given!r}: expected PATH=VALUE, e.g. stages.baseline.epochs=3")
    many = BadInput(f"--set {given!r} is more than one value; give each a --set of its own")
    try:
        table = tomllib.loads(f"value = {text}")
        if len(table) > 1:
            raise many
        return path, table["value"]
    except tomllib.TOMLDecodeError as error:
        if text.lstrip()[:1] in ("{", "[", '"', "'"):
            raise BadInput(f"--set {given!r}: the value is not TOML ({error}); mend it") from None
        if len(text.splitlines()) > 1:
            raise many from None
        return path, text  # a bare word is a string
