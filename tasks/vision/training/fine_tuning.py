"""Fine-tuning of a pretrained network under a head that was trained on its features.

The head is trained first, since a random one would pass large, useless gradients down and spoil what the
network has learnt (Kumar et al., arXiv 2202.10054). Then the last blocks, or all, learn on augmented photos.
The last epoch counts, unless another or the head alone is clearly better on validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tasks.vision.data.batches.targets import Examples
from tasks.vision.device import Device
from tasks.vision.network.distribution import strategy_for
from tasks.vision.network.runtime import set_up
from tasks.vision.pretrained.compute.features import batch_size
from tasks.vision.pretrained.compute.tunable import FeatureStatistics, TunableNetwork
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork
from tasks.vision.recipe.schema import Stage
from tasks.vision.training.loop import Fit
from tasks.vision.training.scaled_adam import ScaledAdam
from tasks.vision.training.state import Checkpointer, FitConfig, PreviousPhases, Progress


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned network with its head.

    Attributes:
        history: a row for each epoch, that of the head alone first.
        selected_epoch: whose weights the model has, 1-based, into it.
        seconds: of the head and of fine-tuning.
    """

    model: HeadOnNetwork
    history: tuple[dict[str, float], ...]
    selected_epoch: int
    seconds: float
    resumed: bool


def fine_tune(
    stage: Stage,
    start: HeadOnNetwork,
    seen: FeatureStatistics,
    before: PreviousPhases,
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    device: Device,
    prior_shift: np.ndarray | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpointer: Checkpointer | None = None,
) -> FineTuned:
    """Train network and head further, or resume it.

    Args:
        start: a network and the head that was trained on its features.
        seen: what is known of the features of the training images, by the network as it is at the start.
        before: history and seconds of the head.
        train, validation: uint8 images (n, size, size, 3) with target indices.
        prior_shift: (outputs,) added to the logits in training alone (`Targets.prior_shift`).
        checkpointer: saves checkpoints; training resumes from the last one, if there is one.

    Raises:
        BadInput: all blocks of the network would be frozen, or TensorFlow sees fewer devices than asked for.
        Diverged: the loss became NaN, infinite or huge.
        TrainingInterrupted: `checkpointer` asked for it.
    """
    set_up(device)
    with strategy_for(device, stage.devices).scope():
        model = TunableNetwork(start, seen, stage.frozen_blocks)
        config = FitConfig.of(stage, prior_shift, batch_size(train.inputs.shape[1]))
        config = replace(config, settled=True)
        fit = Fit("all", model, ScaledAdam(model, stage.lr_scale), config, seed, before)
        fit.run(train, validation, on_progress, checkpointer)
    history = (*fit.before.history, *fit.history)
    return FineTuned(
        model=model.trained(),
        history=history,
        selected_epoch=fit.selected_epoch(len(validation)),
        seconds=fit.before.seconds + fit.seconds,
        resumed=fit.before.resumed or fit.resumed,
    )
