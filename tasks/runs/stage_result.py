"""What a stage came to; from a worker, as a small document in the store for whoever sent it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tasks.cache.records import seal, unseal
from tasks.store.base import Missing, Ref
from tasks.store.opening import open_store


@dataclass(frozen=True)
class StageResult:
    """A finished stage: its model, its scores, how it came about, and what it is measured against.

    `exported` is the model as a .keras file; controls have none.
    """

    start: str | None
    state: str
    model: Ref
    scores: Ref
    exported: Ref | None = None
    controls: dict[str, StageResult] = field(default_factory=dict)

    def refs(self) -> dict[str, Any]:
        """The refs as JSON, controls included: what the report is made from."""
        return {
            "start": self.start,
            "model": self.model.model_dump(mode="json"),
            "evaluation": self.scores.model_dump(mode="json"),
            "controls": {kind: control.refs() for kind, control in self.controls.items()},
        }


def save_result(store: str, run: str, trained: StageResult) -> None:
    """Leave what the flow run with the id `run` came to."""
    values = {
        "start": trained.start,
        "state": trained.state,
        "model": trained.model.model_dump(mode="json"),
        "scores": trained.scores.model_dump(mode="json"),
        "exported": trained.exported and trained.exported.model_dump(mode="json"),
    }
    open_store(store).write(f"outcomes/{run}.json", seal(json.dumps(values).encode()))


def load_result(store: str, run: str) -> StageResult | None:
    """What the flow run came to; None if nothing sound lies there."""
    try:
        values = json.loads(unseal(open_store(store).read(f"outcomes/{run}.json")))
        return StageResult(
            values["start"],
            values["state"],
            Ref.model_validate(values["model"]),
            Ref.model_validate(values["scores"]),
            Ref.model_validate(values["exported"]) if values.get("exported") else None,
        )
    except (Missing, ValueError, KeyError, TypeError, RecursionError):
        return None
