"""One machine of several that train a stage, without Prefect: `python -m support.machines JSON`.

The last line of its output is what the first machine has trained, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.command import ROOT


@dataclass(frozen=True)
class Job:
    """What a group of machines trains: a stage of ten classes on a dataset in a store.

    Attributes:
        cores: of the processor that each machine runs on; none for all.
    """

    store: str
    dataset: dict[str, Any]
    settings: dict[str, Any]
    machines: int = 2
    cores: Sequence[int] = ()


@contextmanager
def machines(job: Job, environment: dict[str, str] | None = None) -> Iterator[list[Machine]]:
    """Start the machines of a job; kill what still runs in the end."""
    group = str(uuid.uuid4())
    started = [Machine(job, group, index, environment) for index in range(job.machines)]
    try:
        yield started
    finally:
        for each in started:
            each.kill()


class Machine:
    """A process that stands for a worker with the flow run of one machine."""

    def __init__(
        self, job: Job, group: str, index: int, environment: dict[str, str] | None
    ) -> None:
        self._job, self._group, self._index = job, group, index
        self._environment = environment or {}
        self.start()

    def start(self) -> None:
        """Start it, again after it was killed, as a resumed flow run does."""
        job = {**self._job.__dict__, "group": self._group, "index": self._index}
        paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.machines", json.dumps(job)],
            env={**os.environ, **self._environment, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """Kill it as `kill -9` does; the process that trains for it has to end by itself."""
        self._process.kill()
        self._process.wait()

    def until(self, part: str) -> str:
        """Return the next line of its output that contains `part`."""
        assert self._process.stdout
        for line in self._process.stdout:
            print(f"machine {self._index + 1}: {line}", end="")
            if part in line:
                return line
        raise AssertionError(f"machine {self._index + 1} never said {part!r}")

    def end(self) -> None:
        """Wait until it ends by itself."""
        assert self._process.stdout
        for line in self._process.stdout:
            print(f"machine {self._index + 1}: {line}", end="")
        assert self._process.wait() == 0

    def result(self) -> dict[str, Any]:
        """Wait until it has trained; its digest, history and whether it resumed."""
        found: dict[str, Any] = json.loads(self.until('"digest"'))
        return found


def digits_in(store: str, folder: Path, copies: int = 1) -> dict[str, Any]:
    """Prepare scikit-learn's digits in a store, in copies shifted by a pixel each; return the dataset's ref."""
    import numpy as np
    from sklearn.datasets import load_digits

    from support.datasets import prepare_in_store
    from tasks.store.opening import open_store

    images, labels = load_digits(return_X_y=True)
    pixels = (images.reshape(-1, 8, 8, 1) * 15).astype("uint8")
    pixels = pixels.repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3)
    pixels = np.concatenate([np.roll(pixels, copy, axis=2) for copy in range(copies)])
    labels = np.tile(labels, copies)
    ref = prepare_in_store(pixels, labels, open_store(store), folder)
    return ref.model_dump(mode="json")


def main() -> None:
    from flows.training.machines import follow
    from flows.training.run_context import RunContext
    from tasks.cache.keys import training
    from tasks.io.checkpoints import Checkpoints
    from tasks.io.prepared import load_dataset
    from tasks.io.training import TrainedModel, TrainingInputs, train_model
    from tasks.machines.messages import Assignment
    from tasks.machines.process import train_in_process
    from tasks.machines.rendezvous import Group, MachineLost, Rendezvous
    from tasks.progress import Event, epoch_line, listening
    from tasks.store.base import Ref
    from tasks.store.opening import open_store
    from tasks.vision.recipe.recipe import Recipe

    job = json.loads(sys.argv[1])
    if job["cores"]:
        os.sched_setaffinity(0, {job["cores"][job["index"]]})
    store, dataset = open_store(job["store"], retry_for=60), Ref.model_validate(job["dataset"])
    settings = {**job["settings"], "machines": job["machines"]}
    recipe = Recipe.model_validate(
        {"name": "machines", "data": {"source": "digits"}, "stages": {"all": settings}}
    )
    stage, classes = recipe.stages["all"], load_dataset(dataset, store).classes
    alone = job["machines"] == 1
    group = None if alone else Group(id=job["group"], index=job["index"], machines=job["machines"])
    context = RunContext(recipe, dataset, classes, store, group=group)

    def show(event: Event) -> None:
        line = epoch_line(event.detail) if event.detail else event.message
        print(f"{time.monotonic():.1f} {line}", flush=True)

    def lead() -> TrainedModel:
        if not group:
            model = train_model("train all", inputs, checkpoints, store)
            assert model
            return model
        rendezvous = Rendezvous(store, group)
        while True:
            try:
                cluster = rendezvous.lead()
                assignment = Assignment(
                    name="train all", work=inputs, key=work.key, store=store.uri, cluster=cluster
                )
                model = train_in_process(assignment)
            except MachineLost as error:
                print(f"{time.monotonic():.1f} lost: {error}", flush=True)
            else:
                rendezvous.close()
                return model

    with listening(show):
        if job["index"]:
            follow(context, "all", None)
            return
        inputs = TrainingInputs(stage, recipe.scheme(stage), dataset, None, recipe.seed)
        work = training(stage, context.targets_of(stage), dataset, None, recipe.seed)
        checkpoints = Checkpoints(store, work.key)
        model = lead()
        checkpoints.load()
        checkpoints.clear()
    card = model.card
    answer = {"digest": model.ref.digest, "resumed": card.resumed, "history": card.history}
    print(json.dumps({**answer, "images": card.images}), flush=True)


if __name__ == "__main__":
    main()
