"""The training loop: resumable, and a function of (data, recipe, seed) alone.

Order and augmentation come from (seed, epoch), nothing draws from a hidden generator, and what a
step changes stands in variables that a checkpoint holds. On the CPU two runs give the same bits
as long as TensorFlow's inter-op parallelism is 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import keras
import numpy as np

from tasks.vision.data import augment
from tasks.vision.data.prefetch import ahead
from tasks.vision.data.targets import Examples
from tasks.vision.network.networks import PREDICT_BATCH
from tasks.vision.network.weights import get_weights, set_weights
from tasks.vision.trained_model import Tensors, best_epoch
from tasks.vision.training.gpu_batches import BatchMaker, batch_maker
from tasks.vision.training.optimizers import Rule
from tasks.vision.training.state import (
    Checkpointer,
    FitConfig,
    PreviousPhases,
    Progress,
    Snapshot,
    TrainingInterrupted,
    raise_if_stopped,
)
from tasks.vision.training.step import Steps

SAVE_EVERY = 30.0  # seconds between checkpoints inside an epoch
AHEAD = 2  # batches cut while the one before is learnt, for which a GPU would wait
EXPLODED = 1000.0  # nats an image: a guess at random costs the logarithm of the number of labels
STEPS = 10  # in an epoch, at least, unless batches would become smaller than ...
SMALL_BATCH = 16


class Diverged(RuntimeError):
    """The loss has exploded; the message says when, and which setting to change."""


class Fit:
    """One model being trained: `run` goes from where `checkpointer` stands to the end."""

    def __init__(
        self,
        phase: str,
        model: keras.Model,
        rule: Rule,
        budget: FitConfig,
        seed: int,
        before: PreviousPhases,
    ) -> None:
        self.phase, self.model, self.rule = phase, model, rule
        self.budget, self.seed, self.before = budget, seed, before
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self.resumed = False
        self._epoch, self._step = 1, 0
        self._loss, self._right = 0.0, 0
        # A phase goes on from the best of the one before, which stays the best until it is beaten.
        self._best: Tensors = get_weights(model) if budget.keep_best and before.history else {}
        self._steps = Steps(model, rule, budget.label_smoothing, budget.prior_shift)

    def run(
        self,
        train: Examples,
        validation: Examples,
        on_progress: Callable[[Progress], None],
        checkpointer: Checkpointer | None = None,
    ) -> None:
        """Train to the end of the budget; the model then holds the weights to keep.

        Raises:
            Diverged: the loss became NaN or infinite. TrainingInterrupted: `checkpointer` said so.
        """
        if checkpointer and (snapshot := checkpointer.load()):
            self._restore(snapshot)
        try:
            self._train(train, validation, on_progress, checkpointer)
        except TrainingInterrupted:  # the state is that of the last finished step
            assert checkpointer is not None
            checkpointer.save(self._snapshot())
            checkpointer.wait()
            raise
        if checkpointer:
            checkpointer.wait()  # else the last snapshot may come down after the others were removed
        if self._best:
            set_weights(self.model, self._best)

    def _train(
        self,
        train: Examples,
        validation: Examples,
        on_progress: Callable[[Progress], None],
        checkpointer: Checkpointer | None,
    ) -> None:
        budget = self.budget
        # A small folder of photos would else be one batch, and an epoch a single step.
        size = min(budget.batch_size, len(train), max(SMALL_BATCH, len(train) // STEPS))
        steps = len(train) // size
        started, saved = time.monotonic(), time.monotonic()
        before, done_before, rate = self.seconds, self._done(steps), 1.0
        cut = None
        for epoch in range(self._epoch, budget.epochs + 1):
            if not cut or epoch == budget.early_epochs + 1:
                cut = self._cutter(train.inputs, epoch)
            with ahead(self._batches(cut, len(train), epoch, size, steps), AHEAD) as batches:
                for step, chosen, inputs in batches:
                    progress = self._done(steps) / (budget.epochs * steps)
                    loss, right = self._steps.learn(
                        inputs, train.targets[chosen], progress, checkpointer
                    )
                    self._loss, self._right = self._loss + loss, self._right + right
                    self._step = step + 1
                    self._check(epoch, size)
                    now = time.monotonic()
                    self.seconds = before + now - started
                    rate = (self._done(steps) - done_before) / (now - started)
                    on_progress(self._progress(steps, size, rate))
                    raise_if_stopped(checkpointer)
                    if checkpointer and now - saved > SAVE_EVERY and self._step < steps:
                        checkpointer.save(self._snapshot())
                        saved = now
            measured = self._measure(validation, checkpointer)
            self._close_epoch(steps * size, *measured, before + time.monotonic() - started)
            on_progress(self._progress(steps, size, rate, self.history[-1]))
            if checkpointer:
                checkpointer.save(self._snapshot())
                saved = time.monotonic()

    @property
    def best_epoch(self) -> int:
        """The epoch that is best on validation, earlier phases counted (1-based)."""
        return best_epoch((*self.before.history, *self.history))

    def _cutter(self, inputs: np.ndarray, epoch: int) -> BatchMaker:
        """What makes an epoch's batches; those of early epochs are of smaller images."""
        early = epoch <= self.budget.early_epochs
        return batch_maker(augment.smaller(inputs, self.budget.early_size) if early else inputs)

    def _batches(
        self, cut: BatchMaker, n: int, epoch: int, size: int, steps: int
    ) -> Generator[tuple[int, np.ndarray, Any], None, None]:
        budget = self.budget
        order = augment.order(self.seed, epoch, n)
        flips = augment.mirrored(self.seed, epoch, n) if budget.flip else None
        moves = augment.shifts(self.seed, epoch, n, budget.shift) if budget.shift else None
        for step in range(self._step, steps):
            chosen = order[step * size : (step + 1) * size]
            yield step, chosen, cut(chosen, flips, moves, budget.shift)

    def _measure(
        self, validation: Examples, checkpointer: Checkpointer | None
    ) -> tuple[float, float]:
        """Mean loss and accuracy on the validation images."""
        loss, right = 0.0, 0
        for start in range(0, len(validation), PREDICT_BATCH):
            raise_if_stopped(checkpointer)
            part = slice(start, start + PREDICT_BATCH)
            a, b = self._steps.measure(validation.inputs[part], validation.targets[part])
            loss, right = loss + a, right + b
        return loss / len(validation), right / len(validation)

    def _close_epoch(self, seen: int, loss: float, accuracy: float, seconds: float) -> None:
        row = {
            "epoch": len(self.before.history) + self._epoch,
            "loss": self._loss / seen,
            "accuracy": self._right / seen,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "seconds": self.before.seconds + seconds,
        }
        self.history.append(row)
        if self.budget.keep_best and self.best_epoch == row["epoch"]:
            self._best = get_weights(self.model)
        self._epoch, self._step, self._loss, self._right = self._epoch + 1, 0, 0.0, 0

    def _check(self, epoch: int, size: int) -> None:
        loss = self._loss / (self._step * size)
        if not loss < EXPLODED:  # NaN too
            raise Diverged(
                f"the loss became {loss:.3g} in epoch {epoch} of {self.budget.epochs}; "
                "lower the stage's lr_scale (--set stages.NAME.lr_scale=...), or check its images"
            )

    def _done(self, steps: int) -> int:
        return (self._epoch - 1) * steps + self._step

    def _progress(
        self, steps: int, size: int, rate: float, row: dict[str, float] | None = None
    ) -> Progress:
        total = self.budget.epochs * steps
        left = (total - self._done(steps)) / rate
        epoch = len(self.history) if row else self._epoch
        share = self._done(steps) / total
        return Progress(self.phase, epoch, self.budget.epochs, share, rate * size, left, row or {})

    def _snapshot(self) -> Snapshot:
        arrays = {f"model/{name}": value for name, value in get_weights(self.model).items()}
        arrays |= {f"slot/{i:04d}": np.asarray(slot) for i, slot in enumerate(self.rule.slots)}
        arrays |= {f"best/{name}": value for name, value in self._best.items()}
        values = {
            "phase": self.phase,
            "epoch": self._epoch,
            "step": self._step,
            "loss": self._loss,
            "right": self._right,
            "seconds": self.seconds,
            "history": self.history,
            "before": [list(self.before.history), self.before.seconds],
        }
        return Snapshot(arrays, values)

    def _restore(self, snapshot: Snapshot) -> None:
        values = snapshot.values
        if values["phase"] != self.phase:
            return
        part: dict[str, Tensors] = {"model": {}, "slot": {}, "best": {}}
        for name, value in snapshot.arrays.items():
            kind, _, rest = name.partition("/")
            part[kind][rest] = value
        set_weights(self.model, part["model"])
        for i, slot in enumerate(self.rule.slots):
            slot.assign(part["slot"][f"{i:04d}"])
        self._best = part["best"]
        self._epoch, self._step = values["epoch"], values["step"]
        self._loss, self._right = values["loss"], values["right"]
        self.seconds, self.history = values["seconds"], list(values["history"])
        self.before = PreviousPhases(tuple(values["before"][0]), values["before"][1])
        self.resumed = True
