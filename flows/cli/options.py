"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from cyclopts import UNSET, CycloptsError, Parameter, Token, convert

from tasks.vision.errors import BadInput
from tasks.vision.recipe.toml import read_toml

MAX_SETTING = 10_000  # characters
WHOLE = re.compile(r"[+-]?[0-9]+")

StoreOption = Annotated[
    str | None,
    Parameter(name="--store", help="Where results are stored: a folder or s3://bucket/prefix."),
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
    str, Parameter(help="digits, cifar10, classroom, photos, or the path of a TOML file.")
]
DataOption = Annotated[
    str | None,
    Parameter(
        help="digits, cifar10, or a folder, archive or table of images, here or at s3://bucket/path: "
        "CLASS/NAME.png, or that in train/ with val/ or test/."
    ),
]
SeedOption = Annotated[int | None, Parameter(help="Random seed, overriding the recipe's.")]
StageOption = Annotated[
    list[str] | None,
    Parameter(
        name="--stage",
        negative="",
        consume_multiple=False,
        help="Run only this stage and those it starts from; repeatable.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        negative="",
        consume_multiple=False,
        help="Override a value of the recipe, e.g. stages.baseline.epochs=3; repeatable, the last wins.",
    ),
]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]


@Parameter(name="*")
@dataclass(frozen=True)
class RunOptions:
    """Options of `run`, which `plan` takes too.

    Parameters
    ----------
    refresh
        Recompute everything, ignoring the cache.
    """

    data: DataOption = None
    store: StoreOption = None
    stage: StageOption = None
    set_: SetOption = None
    seed: SeedOption = None
    refresh: Flag = False
    as_json: JsonOption = False

    @property
    def settings(self) -> dict[str, Any]:
        """What --set and --seed override, as of `all_settings`."""
        return all_settings(self.set_, self.seed)


DEFAULTS = RunOptions()


def strict(kind: Any, tokens: Sequence[Token]) -> Any:
    """Convert the values of an argument; refuse empty ones, and fractions where integers are expected.

    Raises:
        CycloptsError: a value is refused.
    """
    for token in tokens:
        name = token.keyword or "an argument"
        if not token.value and token.implicit_value is UNSET:
            advice = "leave the option out, or give a value" if token.keyword else "give a value"
            raise CycloptsError(msg=f"{name} is empty; {advice}")
        if int in (kind, *get_args(kind)) and not WHOLE.fullmatch(token.value):
            raise CycloptsError(msg=f"{name} {token.value!r}: expected a whole number, e.g. 3")
    return convert(kind, tokens)


def all_settings(given: list[str] | None, seed: int | None) -> dict[str, Any]:
    """Parse --set and --seed into dotted keys of a recipe and their values; the last of a key wins.

    Raises:
        BadInput: a setting is not PATH=VALUE, or --seed and --set give different seeds.
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
    if len(given) > MAX_SETTING:
        raise BadInput(
            f"--set {given[:60]}...: {len(given):,} characters, expected at most {MAX_SETTING:,}; "
            "write it into a recipe"
        )
    several = BadInput(f"--set {given!r} is more than one value; give each a --set of its own")
    try:
        table = read_toml(f"value = {text}")
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "[", '"', "'"):
            raise BadInput(
                f"--set {given!r}: the value is not TOML ({error}); correct it"
            ) from None
        if len(text.splitlines()) > 1:
            raise several from None
        return path, text  # a bare word is a string
    if len(table) > 1:
        raise several
    return path, table["value"]
