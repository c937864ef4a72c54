"""What a stage that was sent to a worker came to, for whoever sent it: a small document in the store."""

from __future__ import annotations

import json

from tasks.keys import seal, unseal
from tasks.publish import Trained
from tasks.store import Missing, Ref, open_store


def keep_outcome(store: str, run: str, trained: Trained) -> None:
    """Leave what the flow run with the id `run` came to."""
    values = {
        "start": trained.start,
        "state": trained.state,
        "model": trained.model.model_dump(mode="json"),
        "scores": trained.scores.model_dump(mode="json"),
        "exported": trained.exported and trained.exported.model_dump(mode="json"),
    }
    open_store(store).write(f"outcomes/{run}.json", seal(json.dumps(values).encode()))


def read_outcome(store: str, run: str) -> Trained | None:
    """What the flow run came to; None if nothing sound lies there."""
    try:
        values = json.loads(unseal(open_store(store).read(f"outcomes/{run}.json")))
        return Trained(
            values["start"],
            values["state"],
            Ref.model_validate(values["model"]),
            Ref.model_validate(values["scores"]),
            Ref.model_validate(values["exported"]) if values.get("exported") else None,
        )
    except (Missing, ValueError, KeyError, TypeError, RecursionError):
        return None
