"""The settings that a sweep tries: every combination of values for some of a recipe's keys."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tasks.runs.sweeps.sweep_range import Range, range_in
from tasks.vision.errors import BadInput
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.to_toml import toml_value
from tasks.vision.recipe.toml import read_toml

MAX_RUNS = 1000  # of a sweep: its combinations, each with every seed and fold
MAX_TEXT = 10_000  # characters of the values of one key
OF_ITS_OWN = {"seed": "--seeds N", "data.fold": "--folds K", "data.source": "--data"}

Settings = dict[str, JsonValue]  # by dotted key of a recipe


class Variation(BaseModel):
    """A key of a recipe, and the values that a sweep tries for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        max_length=200, description="key of the recipe, e.g. stages.baseline.lr_scale"
    )
    values: str = Field(
        max_length=MAX_TEXT,
        description="with commas between them, e.g. 0.5, 1, 2; with a search also a range, 0.1..10",
    )

    @classmethod
    def parse(cls, given: str) -> Variation:
        """Parse PATH=V1,V2. Raises BadInput for anything else."""
        path, equals, values = given.partition("=")
        if not equals or not path or not values.strip():
            raise BadInput(
                f"--over {given[:200]!r}: expected PATH=V1,V2, e.g. stages.baseline.lr_scale=0.5,1,2, or with "
                "--search N a range, PATH=LOW..HIGH"
            )
        if len(given) > MAX_TEXT or len(path) > 200:
            raise BadInput(
                f"--over {given[:60]}...: {len(given):,} characters; expected at most {MAX_TEXT:,}"
            )
        return cls(path=path.strip(), values=values)

    def range(self) -> Range | None:
        """Return the range of numbers that is given; None for a list. Raises BadInput for half of one."""
        return range_in(self.path, self.values)

    def listed(self) -> list[JsonValue]:
        """Return the values: TOML with commas between them; a bare word is a string.

        Raises:
            BadInput: they are not TOML, or one is given twice.

        >>> Variation(path="stages.a.optimizer", values="muon, adam").listed()
        ['muon', 'adam']
        >>> Variation(path="defaults.network.widths", values="[8, 16], [16, 32]").listed()
        [[8, 16], [16, 32]]
        """
        found = _parsed(self.values)
        if found is None:
            found = []
            for part in self.values.split(","):
                word = part.strip()
                if not word or word[0] in "{[\"'":
                    raise BadInput(
                        f"--over {self.path}={self.values[:200]}: expected values with commas between them, "
                        "each as in a recipe, or one word"
                    )
                alone = _parsed(word)
                found.append(alone[0] if alone and len(alone) == 1 else word)
        shown = [toml_value(each) for each in found]
        if twice := next((each for each in shown if shown.count(each) > 1), None):
            raise BadInput(f"--over {self.path}: {twice} is given twice; leave one out")
        return found


def _parsed(text: str) -> list[JsonValue] | None:
    """The values of a list without its brackets, in TOML; None if it is not one of values as JSON has them."""
    try:
        table = read_toml(f"values = [{text}]")
        json.dumps(table)  # a date is none
    except (ValueError, TypeError):
        return None
    values: list[JsonValue] = table["values"]
    return values if len(table) == 1 and values else None


def combinations(over: Sequence[Variation], seeds: int, folds: int | None) -> list[Settings]:
    """Return the settings of every combination, in the order of the values given.

    Raises:
        BadInput: a key is given twice, or is none to vary; nothing is varied; or the runs would be too many.
    """
    check_paths(over)
    if not over and seeds == 1 and folds is None:
        raise BadInput(
            "nothing to vary; give --over PATH=V1,V2, e.g. stages.baseline.lr_scale=0.5,1,2, or --seeds N"
        )
    if ranged := next((each for each in over if each.range()), None):
        raise BadInput(
            f"--over {ranged.path}={ranged.values}: a range needs --search N; or give values with commas "
            "between them"
        )
    lists = [each.listed() for each in over]
    check_count(math.prod(map(len, lists)), seeds, folds)
    return [
        dict(zip([each.path for each in over], values, strict=True)) for values in product(*lists)
    ]


def check_paths(over: Sequence[Variation]) -> None:
    """Raise BadInput if a key is given twice, or is none to vary."""
    paths = [each.path for each in over]
    for path in paths:
        if paths.count(path) > 1:
            raise BadInput(f"--over {path} is given twice; give all its values at once: V1,V2")
        if option := OF_ITS_OWN.get(path):
            raise BadInput(
                f"--over {path}: expected a setting of training; there is {option} for it"
            )


def check_count(settings: int, seeds: int, folds: int | None) -> None:
    """Raise BadInput if so many settings, each with every seed and fold, are too many runs."""
    count = settings * seeds * (folds or 1)
    if count > MAX_RUNS:
        raise BadInput(
            f"{count:,} runs in all; expected at most {MAX_RUNS:,}: give fewer values, seeds or folds"
        )


def judged_stage(recipe: Recipe, over: Sequence[str], given: str | None) -> str:
    """Return the stage whose validation accuracy decides: the given one, else the last that is varied.

    Args:
        over: the keys that are varied. given: a stage's name.

    Raises:
        BadInput: there is no such stage, or it doesn't depend on one whose settings are varied.
    """
    named = {path.split(".")[1] for path in over if path.startswith("stages.")}
    order = list(recipe.ordered([given] if given else []))
    varied = [name for name in order if name in named]
    stage = given or (varied or order)[-1]
    chain = recipe.ordered([stage])
    for name in named:
        if name in recipe.stages and name not in chain:
            raise BadInput(
                f"--over stages.{name}: it has no effect on {stage}, by whose validation accuracy the sweep "
                "decides; name another by --stage"
            )
    return stage


def shown(settings: Settings) -> str:
    """Write settings as a person reads them: `lr_scale = 0.5, epochs = 3`."""
    names = short_names(list(settings))
    return ", ".join(
        f"{name} = {shown_value(value)}"
        for name, value in zip(names, settings.values(), strict=True)
    )


def shown_value(value: JsonValue) -> str:
    """Write a value in TOML, a text without its quotes."""
    return value if isinstance(value, str) else toml_value(value)


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the last part of each key, or more where two have the same.

    >>> short_names(["stages.a.epochs", "stages.b.epochs", "data.fit"])
    ['a.epochs', 'b.epochs', 'fit']
    """
    names = []
    for path in paths:
        parts = path.split(".")
        count = 1
        while count < len(parts) and any(
            other != path and other.split(".")[-count:] == parts[-count:] for other in paths
        ):
            count += 1
        names.append(".".join(parts[-count:]))
    return names
