"""One stage from its images to a finished model: the pure function behind the task `train`.

train "all": all layers. "head": a new head on the parent's frozen backbone. "head then all": first the
head, then all layers (fine-tuning), or all but the frozen first blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import numpy as np

from tasks.vision.cluster import Cluster
from tasks.vision.data.batches.targets import Examples, Targets
from tasks.vision.data.images import Images, pieces
from tasks.vision.device import Device
from tasks.vision.network.networks import build_model, freeze_blocks, initialise, micro_batch
from tasks.vision.network.runtime import start
from tasks.vision.network.weights import get_weights
from tasks.vision.recipe.schema import Stage
from tasks.vision.trained_model import Architecture, Card, Tensors
from tasks.vision.training.loop import Fit
from tasks.vision.training.optimizers import Adam, make_optimizer
from tasks.vision.training.state import Checkpointer, FitConfig, PreviousPhases, Progress
from tasks.vision.training.together import Together
from tasks.vision.training.transfer import (
    compare_frozen_weights,
    compute_features,
    head_model,
    load_backbone,
    recalibrate_batch_norm,
)

HEAD_BATCH = 512  # a linear head on cached features gains nothing from larger batches
HEAD_IMAGES = 10_000  # images used to pre-train the head before fine-tuning all layers


@dataclass(frozen=True)
class Parent:
    """The model that a stage starts from."""

    card: Card
    tensors: Tensors


def train_stage(
    stage: Stage,
    targets: Targets,
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    device: Device,
    parent: Parent | None = None,
    prior_shift: np.ndarray | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    checkpointer: Checkpointer | None = None,
    cluster: Cluster | None = None,
    on_joined: Callable[[], None] = lambda: None,
) -> tuple[Card, Tensors]:
    """Train one stage to its end, or resume it.

    Args:
        train, validation: uint8 images (n, size, size, 3) with target indices.
        prior_shift: (outputs,) added to the logits in training alone (`Targets.prior_shift`).
        parent: the model that the stage starts from; without one, train="head" uses a random backbone.
        checkpointer: saves checkpoints; training resumes from the last one, if there is one.
        cluster: the machines that train the stage together, each of which calls this; `on_joined` is
            called once they have found each other.

    Raises:
        BadInput: TensorFlow sees fewer devices than the stage asks for.
        TrainingInterrupted: `checkpointer` asked for it.

    Returns:
        The model's card and its tensors, `layer/variable` to float32 arrays.
    """
    devices = 1 if stage.train == "head" else stage.devices  # a head alone trains in seconds
    strategy = start(device, devices, cluster)
    on_joined()
    architecture = _architecture(stage, targets, train.inputs, parent)
    tuned = parent is not None and stage.train != "head"
    perturb, frozen = (stage.perturb, stage.frozen_blocks) if tuned else (0.0, 0)
    with strategy.scope():
        if checkpointer and cluster:
            checkpointer = Together(checkpointer)
        model = build_model(architecture)
        initialise(model, None if parent else train.inputs, seed)
        freeze_blocks(model, frozen)
        if parent:
            load_backbone(model, parent.tensors, perturb)
        elif stage.random_backbone:
            recalibrate_batch_norm(model, train.inputs, checkpointer)
        config = FitConfig.of(stage, prior_shift, micro_batch(model, architecture.image_size))
        phases = _Phases(
            stage, architecture, model, config, train, validation, seed, on_progress, checkpointer
        )
        fit = phases.run()

    tensors = get_weights(model)
    history = [*fit.before.history, *fit.history]
    seconds = fit.before.seconds + fit.seconds
    selected = fit.best_epoch if stage.restore == "best" else len(history)
    return (
        Card(
            architecture=architecture,
            labels=targets.labels,
            classes=targets.classes,
            train=stage.train,
            frozen_blocks=frozen,
            perturb=perturb,
            epochs=len(history),
            selected_epoch=selected,
            seconds=seconds,
            images=len(train),
            images_per_second=len(history) * len(train) / seconds,
            resumed=fit.before.resumed or fit.resumed,
            flip=stage.flip,
            device=f"{device}, {len(cluster.addresses)} machines" if cluster else str(device),
            history=history,
            frozen=compare_frozen_weights(parent.tensors, tensors)
            if parent and stage.train == "head"
            else None,
        ),
        tensors,
    )


@dataclass(frozen=True)
class _Phases:
    """The phases of one stage, and what they share."""

    stage: Stage
    architecture: Architecture
    model: keras.Model
    config: FitConfig
    train: Examples
    validation: Examples
    seed: int
    on_progress: Callable[[Progress], None]
    checkpointer: Checkpointer | None

    def run(self) -> Fit:
        """Train the head, all layers or both; a snapshot of the second phase skips the first."""
        snapshot = self.checkpointer.load() if self.checkpointer else None
        if self.stage.train == "all" or (snapshot and snapshot.values["phase"] == "all"):
            return self._all(PreviousPhases())
        head = self._head()
        if self.stage.train == "head":
            return head
        before = (*head.before.history, *head.history)
        seconds = head.before.seconds + head.seconds
        return self._all(PreviousPhases(before, seconds, head.resumed))

    def _all(self, past: PreviousPhases) -> Fit:
        """Train all layers, then re-estimate the statistics of batch normalisation."""
        stage = self.stage
        optimizer = make_optimizer(
            stage.optimizer, self.model, stage.lr_scale, head_is_trained=stage.train != "all"
        )
        fit = Fit("all", self.model, optimizer, self.config, self.seed, past)
        fit.run(self.train, self.validation, self.on_progress, self.checkpointer)
        if stage.restore == "last" or fit.best_epoch > len(fit.before.history):
            clock = time.monotonic()
            recalibrate_batch_norm(self.model, self.train.inputs, self.checkpointer)
            fit.seconds += time.monotonic() - clock
            fit.history[-1]["seconds"] = fit.before.seconds + fit.seconds
        return fit

    def _head(self) -> Fit:
        """Compute the frozen backbone's features once and train the head on them."""
        clock, stage = time.monotonic(), self.stage
        examples = self.train if stage.train == "head" else self.train.subsample(HEAD_IMAGES)
        features, validation = self._features(examples), self._features(self.validation)
        head = head_model(self.model, features.inputs)
        # The fast network scales its logits down: a head alone must take steps that much larger.
        fast = self.architecture.network.kind == "airbench"
        scaled = fast and self.architecture.features == "last layer"
        rate = stage.head_lr_scale / (self.architecture.own_network.logit_scale if scaled else 1.0)
        optimizer = Adam(head.trainable_variables, rate, decaying=fast)
        config = replace(
            self.config,
            epochs=stage.epochs if stage.train == "head" else stage.head_epochs,
            batch_size=min(stage.batch_size, HEAD_BATCH),
            flip=False,
            micro_batch=None,
            photos=False,
            shift=0,
            early_epochs=0,
        )
        before = PreviousPhases(seconds=time.monotonic() - clock)
        fit = Fit("head", head, optimizer, config, self.seed, before)
        fit.run(features, validation, self.on_progress, self.checkpointer)
        return fit

    def _features(self, examples: Examples) -> Examples:
        return Examples(
            compute_features(self.model, examples.inputs, self.checkpointer), examples.targets
        )


def _architecture(
    stage: Stage, targets: Targets, images: Images, parent: Parent | None
) -> Architecture:
    """The parent's network and normalisation; from scratch, the recipe's and the images'."""
    features = stage.features if stage.train == "head" else "last layer"
    if parent:
        inherited = parent.card.architecture
        return inherited.model_copy(update={"outputs": targets.outputs, "features": features})
    counts, values = _counts(images), np.arange(256)
    mean = (counts * values).sum(1) / counts.sum(1) / 255
    deviation = np.maximum(_deviation(counts) / 255, 1e-3)
    return Architecture(
        network=stage.network,
        image_size=images.shape[1],
        outputs=targets.outputs,
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(deviation[0]), float(deviation[1]), float(deviation[2])),
        features=features,
    )


COUNTED = 1000  # images at a time


def _counts(images: Images) -> np.ndarray:
    """How often each of the 256 values occurs in each channel: (3, 256) int64."""
    counts = np.zeros((3, 256), np.int64)
    for _, part in pieces(images, COUNTED):
        channels = part.reshape(-1, 3)
        counts += [np.bincount(channels[:, channel], minlength=256) for channel in range(3)]
    return counts


def _deviation(counts: np.ndarray) -> np.ndarray:
    """Standard deviation per channel, from `_counts`."""
    values = np.arange(256)
    out = []
    for share in counts / counts.sum(1, keepdims=True):
        mean = (share * values).sum()
        out.append(((share * (values - mean) ** 2).sum()) ** 0.5)
    return np.array(out)
