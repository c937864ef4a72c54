"""One record of an alias's history, and which names an alias may have."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator

from tasks.store.base import Ref
from tasks.store.keys import ALIAS
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.paired import PairedScores
from tasks.vision.recipe.schema import Strict

SIGN = "@"  # before an alias where a model is named
RESERVED = "latest"  # names the newest run
Action = Literal["promoted", "not promoted", "returned"]
MAX_WHY = 1000  # characters
Text = Annotated[str, Field(max_length=MAX_WHY)]


class AliasedModel(Strict):
    """A model of a run: its names, and its file in the store."""

    run: str = Field(min_length=1, max_length=255)
    stage: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")
    ref: Ref

    @field_validator("run")
    @classmethod
    def _is_a_name(cls, run: str) -> str:
        if {"/", "\\"} & {*run} or run in {".", ".."} or not run.isprintable():
            raise ValueError("a run's name has no slash and no control character")
        return run

    def __str__(self) -> str:
        return f"{self.run}/{self.stage}"


class AliasRecord(Strict):
    """One entry of an alias's history.

    Attributes:
        alias, number: as in its key. id: of this record alone, so that its writer knows it again.
        by: user@host, or the flow run. why: the reason that was given, or that a comparison gave.
        model: what the alias names from this record on.
        candidate: the model that was not promoted.
        before: number of the record whose model the alias returns to; None for the first model.
        scores: of the comparison with the model before, if it was asked for.
    """

    alias: str = Field(pattern=f"^{ALIAS}$")
    number: int = Field(ge=1)
    id: str = Field(pattern="^[0-9a-f]{32}$")
    action: Action
    at: AwareDatetime
    by: Text
    why: Text
    model: AliasedModel
    candidate: AliasedModel | None = None
    before: int | None = Field(None, ge=1)
    scores: PairedScores | None = None


def is_alias(given: object) -> bool:
    """True for the name of a model that is an alias: @best."""
    return isinstance(given, str) and given.startswith(SIGN)


def alias_name(given: str) -> str:
    """Return an alias without its sign.

    Raises:
        BadInput: no alias may be called so.
    """
    name = given.removeprefix(SIGN)
    if not re.fullmatch(ALIAS, name) or name == RESERVED:
        raise BadInput(
            f"alias {given!r}: expected 1 to 40 small letters, digits, - and _, a letter first, and not "
            f"{RESERVED}, e.g. best"
        )
    return name
