"""Result of a stage: built once when it ends, then passed to all that publish or display it."""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid5

from pydantic import Field

from tasks.io.documents import seal, unseal
from tasks.store.base import Missing, Ref, Store
from tasks.vision.evaluation.scores import Scores
from tasks.vision.recipe.schema import Strict
from tasks.vision.trained_model import Card

State = Literal["trained", "resumed", "cached"]


class StageResult(Strict):
    """A finished stage: its model, its test scores, and the controls that it is compared with.

    Attributes:
        start: what it starts from, as the recipe names it. evaluation: its predictions on the test images.
        exported: the model as a .keras file; controls have none.
    """

    start: str | None
    state: State
    model: Ref
    card: Card
    evaluation: Ref
    scores: Scores
    exported: Ref | None = None
    controls: dict[str, StageResult] = Field(default_factory=dict)


def devices_of(results: dict[str, StageResult]) -> list[str]:
    """Return the distinct devices that the stages were trained on; other machines' included."""
    return list(dict.fromkeys(result.card.device for result in results.values()))


def save_result(store: Store, run: str, result: StageResult, control: str | None = None) -> None:
    """Store a result of the flow run with the id `run`, for the flow that dispatched it.

    Args:
        control: its kind, if the run trains the controls of a stage.
    """
    store.write(_key(run, control), seal(result))


def load_result(store: Store, run: str, control: str | None = None) -> StageResult | None:
    """Return a result of a remote flow run; None if it is missing or damaged."""
    try:
        return unseal(StageResult, store.read(_key(run, control)))
    except (Missing, ValueError):
        return None


def _key(run: str, control: str | None) -> str:
    return f"outcomes/{uuid5(UUID(run), control) if control else run}.json"
