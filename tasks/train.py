"""Task: train one stage of a recipe, on this machine or on several, or resume its interrupted training."""

from __future__ import annotations

from tasks.cache.cached_task import cached_task
from tasks.io.checkpoints import Checkpoints
from tasks.io.load import load_model
from tasks.io.training import TrainedModel, TrainingInputs, train_model
from tasks.machines.messages import Assignment
from tasks.machines.process import train_in_process
from tasks.machines.rendezvous import Group, Rendezvous
from tasks.store.base import Ref, Store
from tasks.vision.recipe.schema import LabelScheme, Stage


@cached_task
def train(
    name: str,
    stage: Stage,
    scheme: LabelScheme | None,
    dataset: Ref,
    start: Ref | None,
    seed: int,
    checkpoints: Checkpoints,
    store: Store,
    group: Group | None = None,
) -> TrainedModel:
    """Train and publish one model. Its checkpoints stay until its result is in the cache.

    Args:
        start: the model to start from. group: the machines that train it, of which this leads.
    """
    work = TrainingInputs(stage=stage, scheme=scheme, dataset=dataset, start=start, seed=seed)
    if group is None:
        model = train_model(name, work, checkpoints, store)
        assert model  # None is what further machines have
        return model
    cluster = Rendezvous(store, group).lead()
    return train_in_process(
        Assignment(name=name, work=work, key=checkpoints.key, store=store.uri, cluster=cluster)
    )


def load_trained(ref: Ref, store: Store) -> TrainedModel:
    """Load the card of a trained model."""
    return TrainedModel(ref=ref, card=load_model(ref, store)[0])
