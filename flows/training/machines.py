"""Stages that several machines train together: each is a flow run, of which the first leads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from uuid import UUID, uuid4, uuid5

from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from flows.parameters import StageInputs
from flows.training.run_context import RunContext
from tasks.cache.keys import training as training_work
from tasks.io.training import TrainingInputs
from tasks.machines.messages import Assignment
from tasks.machines.process import started
from tasks.machines.rendezvous import Group, MachineLost, Rendezvous, own_host
from tasks.progress import Event, emit
from tasks.store.base import Ref, Store
from tasks.vision.errors import BadInput
from tasks.vision.recipe.schema import Stage

ADDRESS = "RELEVO_ADDRESS"  # of this machine, as the others reach it


def machines_of(stage: Stage) -> int:
    """Return the number of machines that train a stage: one where `machines` has no effect."""
    return 1 if "machines" in stage.unused_settings() else stage.machines


def check_inline(stages: Mapping[str, Stage]) -> None:
    """Check that one process can train these stages.

    Raises:
        BadInput: one needs several machines.
    """
    for name, stage in stages.items():
        check_group(name, stage, None)


def check_group(name: str, stage: Stage, group: Group | None) -> Group | None:
    """Return the group that trains the stage, None for this machine alone.

    Raises:
        BadInput: it needs several machines, and there is one.
    """
    if machines_of(stage) == 1:
        return None
    if group is None:
        raise BadInput(
            f"stage {name}: machines = {stage.machines}, and this run trains in one process; give "
            f"--dispatch workers, with at least {stage.machines} workers, or set stages.{name}.machines=1"
        )
    return group


def group_id(title: str, attempt: int) -> UUID:
    """Return the id of the group that trains a stage of this run: the same when the run is resumed."""
    return uuid5(UUID(flow_run.id), f"{attempt}, {title}") if flow_run.id else uuid4()


def group_of(stage: Stage, inputs: StageInputs) -> Group | None:
    """Return the group of machines that a dispatched stage is trained by, None for one machine."""
    machines = machines_of(stage)
    if machines == 1 or not inputs.group:
        return None
    host = own_host(os.environ.get(ADDRESS), PREFECT_API_URL.value())
    return Group(id=str(inputs.group), index=inputs.machine, machines=machines, host=host)


@contextmanager
def leading(group: Group | None, store: Store) -> Iterator[None]:
    """Let the other machines of the group end with the training, but not if this one is to be resumed."""
    try:
        yield
    except Exception:
        if group:
            Rendezvous(store, group).close()
        raise
    if group:
        Rendezvous(store, group).close()


def follow(context: RunContext, name: str, start: Ref | None) -> None:
    """Train a stage with the leader of the context's group until it closes the group.

    Raises:
        TimeoutError: the leader did not close it within the stage's `timeout_minutes`.
    """
    assert context.group
    stage = context.recipe.stages[name]
    title, seed = f"train {name}", context.recipe.seed
    inputs = TrainingInputs(stage, context.recipe.scheme(stage), context.data, start, seed)
    work = training_work(stage, context.targets_of(stage), context.data, start, seed)
    end = monotonic() + 60 * stage.timeout_minutes
    rendezvous = Rendezvous(context.store, context.group)
    emit(Event(title, f"machine {context.group.index + 1} of {context.group.machines}"))
    for cluster in rendezvous.follow():
        if cluster:
            assignment = Assignment(
                name=title, work=inputs, key=work.key, store=context.store.uri, cluster=cluster
            )
            try:
                with started(assignment) as member:
                    member.run()
                    # The leader may need its process until it has published the model.
                    rendezvous.wait_for_end()
            except MachineLost as error:
                emit(Event(title, f"waiting for the other machines: {error}"))
        if monotonic() > end:
            raise TimeoutError(f"the leader did not end within {stage.timeout_minutes} minutes")
