"""Scores of a model in training on the validation images, of which each machine takes its part."""

from __future__ import annotations

from math import ceil

from tasks.vision.data.batches.targets import Examples
from tasks.vision.data.images import pieces
from tasks.vision.network.distribution import sum_over_machines, this_machine
from tasks.vision.network.networks import predict_batch
from tasks.vision.training.state import Checkpointer, raise_if_stopped
from tasks.vision.training.step import TrainStep


def validate(
    step: TrainStep,
    examples: Examples,
    batch: int | None,
    checkpointer: Checkpointer | None,
) -> tuple[float, float]:
    """Return mean loss and accuracy on `examples`.

    Args:
        batch: images at a time; None for the usual number.

    Raises:
        TrainingInterrupted: `checkpointer` asked for it.
    """
    loss, correct = 0.0, 0.0
    index, machines = this_machine()
    size = batch or predict_batch(examples.inputs)
    if machines > 1:  # as many pieces for each
        rounds = max(1, ceil(len(examples) / (size * machines)))
        size = max(1, ceil(len(examples) / (rounds * machines)))
    for piece, (chosen, inputs) in enumerate(pieces(examples.inputs, size)):
        raise_if_stopped(checkpointer)  # by all machines, also for the pieces of others
        if piece % machines == index:
            a, b = step.eval_batch(inputs, examples.targets[chosen])
            loss, correct = loss + a, correct + b
    loss, correct = sum_over_machines(loss, correct)
    return loss / len(examples), correct / len(examples)
