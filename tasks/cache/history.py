"""Earlier work in a store's cache: how new work differs from it, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tasks.cache.cache import NOT_CACHED, Cache, Hit
from tasks.cache.records import Record, Work
from tasks.io.checkpoints import checkpointed
from tasks.io.load import load_model
from tasks.store.base import Damaged, Missing, Ref
from tasks.store.opening import open_store
from tasks.vision.recipe.schema import Network, Stage

SHOWN = 3  # differences listed before "and N more"


@dataclass(frozen=True)
class PlannedTraining:
    """A stage or control that may have to be trained."""

    stage: Stage
    network: Network
    image_size: int
    images: int | None  # training images; None if not counted yet


class History:
    """Earlier work in a store's cache."""

    def __init__(self, store: str) -> None:
        self.store = open_store(store)
        self._cache = Cache(self.store)

    def lookup(self, work: Work) -> tuple[Ref | None, str]:
        """Return the ref of a cache hit, or None; and the reason."""
        found = self._cache.lookup(work)
        if isinstance(found, Hit):
            return found.ref, "its result is cached"
        return None, self._why_not_yet(work) if found.reason == NOT_CACHED else found.reason

    def _why_not_yet(self, work: Work) -> str:
        if work.key in self._checkpointed:
            return "it was interrupted; it resumes from its checkpoint"
        near = self._nearest(work)
        return "; ".join(_differences(work, near)) if near else "nothing similar is cached"

    def estimate(self, job: PlannedTraining, work: Work | None = None) -> float | None:
        """Estimate the seconds of `job` from the most similar earlier training.

        None if no such training has the same network and image size, or the images aren't counted. Of a
        stage on a pretrained network, `work` counts, and the features are part of it.
        """
        stage = job.stage
        near = self._nearest(work or Work("train", {"stage": stage.settings_in_key()}))
        if near is None or job.images is None:
            return None
        try:
            card, _ = load_model(near.ref, self.store)
        except (Missing, Damaged):
            return None
        then, was = card.architecture, near.ingredients["stage"]
        if then.image_size != job.image_size:
            return None
        seconds = card.seconds * job.images / card.images
        if stage.pretrained:
            same = work is not None and near.ingredients["start"] == work.ingredients["start"]
            tuned = stage.train == "head then all"
            return seconds * (stage.epochs / was["epochs"] if tuned else 1) if same else None
        if then.network != job.network:
            return None
        epochs = stage.epochs + (stage.head_epochs if stage.train == "head then all" else 0)
        return seconds * epochs / (was["epochs"] + was.get("head_epochs", 0))

    @cached_property
    def _checkpointed(self) -> set[str]:
        return checkpointed(self.store)

    @cached_property
    def _done(self) -> list[tuple[str, Record]]:
        """All undamaged records with their tasks, the newest first."""
        found = []
        for entry in sorted(self._cache.entries(), key=lambda e: e.modified, reverse=True):
            try:
                record = self._cache.read(entry.key)
            except (Missing, ValueError):
                continue
            found.append((entry.key.removeprefix("cache/").rsplit("-", 1)[0], record))
        return found

    def _nearest(self, work: Work) -> Record | None:
        """Return the record of the same task and labels that differs in the fewest ingredients."""
        now = _flat(work.ingredients)

        def alike(done: Record) -> bool:
            same = ("labels", "stage.train")
            then = _flat(done.ingredients)
            return all(then.get(key) == now[key] for key in same if key in now)

        def distance(done: Record) -> tuple[int, float]:
            then = _flat(done.ingredients)
            changed = _changed(now, then)
            pairs = [(now[key], then[key]) for key in changed if key in now and key in then]
            numbers = [pair for pair in pairs if all(isinstance(n, int | float) for n in pair)]
            return len(changed), sum(abs(a - b) for a, b in numbers)

        found = [done for task, done in self._done if task == work.task and alike(done)]
        return min(found, key=distance, default=None)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Flatten {"a": {"b": 1}} to {"a.b": 1}; module names keep their dots."""
    if not isinstance(value, dict):
        return {path: value}
    out: dict[str, Any] = {}
    for key, part in value.items():
        out |= _flat(part, f"{path}.{key}" if path else key)
    return out


def _changed(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    return [key for key in sorted({*now, *then}) if now.get(key) != then.get(key)]


def _differences(work: Work, near: Record) -> list[str]:
    now, then = _flat(work.ingredients), _flat(near.ingredients)
    said = [_words(key, now.get(key), then.get(key)) for key in _changed(now, then)]
    if len(said) > SHOWN + 1:
        said = [*said[:SHOWN], f"and {len(said) - SHOWN} more"]
    return said


def _words(key: str, now: Any, then: Any) -> str:
    kind, _, name = key.partition(".")
    if kind == "code":
        path = name.replace(".", "/") + ".py"
        return f"{path} {'is new' if then is None else 'is gone' if now is None else 'changed'}"
    if key in {"dataset", "images", "source", "model"}:
        return "the images differ" if key != "model" else "the model differs"
    if key == "inputs":
        return "its features differ"
    if key == "network":
        return "the network differs"
    if key == "start":
        return "what it starts from differs"
    if kind in {"labels", "classes", "limits"}:
        return "the labels differ"
    return f"{(name or kind).replace('_', ' ')} {_short(now)}, was {_short(then)}"


def _short(value: Any) -> str:
    return "unset" if value is None else str(value)
