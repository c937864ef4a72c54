"""The training loop: resumable, and a function of (data, recipe, seed) alone.

Order and augmentation come from (seed, epoch), no random generator has hidden state, and checkpoints
hold every variable that a step changes. On the CPU two runs give the same bits as long as TensorFlow's
inter-op parallelism is 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np

from tasks.vision.data.batches.prefetch import Waiting, prefetch
from tasks.vision.data.batches.targets import Examples
from tasks.vision.errors import BadInput
from tasks.vision.network.distribution import this_machine
from tasks.vision.network.weights import get_weights, set_weights
from tasks.vision.selected_epoch import best_epoch, settled_epoch
from tasks.vision.trained_model import Tensors
from tasks.vision.training.batches import Batches
from tasks.vision.training.optimizers import Optimizer
from tasks.vision.training.state import (
    Checkpointer,
    Diverged,
    FitConfig,
    PreviousPhases,
    Progress,
    Snapshot,
    TrainingInterrupted,
    raise_if_stopped,
)
from tasks.vision.training.step import TrainStep
from tasks.vision.training.validation import validate

SAVE_EVERY = 30.0  # seconds between checkpoints inside an epoch
PREFETCHED = 2  # batches made in advance, so that a GPU needn't wait for each
MAX_LOSS = 1000.0  # nats per image; a random guess costs the logarithm of the number of labels
MIN_STEPS = 10  # in an epoch, unless batches would become smaller than MIN_BATCH
MIN_BATCH = 16


class Fit:
    """One phase of a model's training: `run` resumes it from its last snapshot, if there is one."""

    def __init__(
        self,
        phase: str,
        model: keras.Model,
        optimizer: Optimizer,
        config: FitConfig,
        seed: int,
        before: PreviousPhases,
    ) -> None:
        self.phase, self.model, self.optimizer = phase, model, optimizer
        self.config, self.seed, self.before = config, seed, before
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self.resumed = False
        self._epoch, self._step = 1, 0
        self._loss, self._correct = 0.0, 0
        # A phase starts from the best weights of the previous one, the best so far.
        self._best: Tensors = get_weights(model) if config.keep_best and before.history else {}
        self._train_step = TrainStep(
            model, optimizer, config.label_smoothing, config.prior_shift, config.micro_batch
        )

    def run(
        self,
        train: Examples,
        validation: Examples,
        on_progress: Callable[[Progress], None],
        checkpointer: Checkpointer | None = None,
    ) -> None:
        """Train for all epochs; the model then has the best weights if so configured, else the last.

        Raises:
            BadInput: a batch has fewer images than there are machines.
        Diverged: the loss became NaN, infinite or huge.
            TrainingInterrupted: `checkpointer` asked for it; a snapshot has been saved.
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
            checkpointer.wait()  # else a late write may come after the checkpoints are removed
        if self._best and self.selected_epoch(len(validation)) == self.best_epoch:
            set_weights(self.model, self._best)

    def _train(
        self,
        train: Examples,
        validation: Examples,
        on_progress: Callable[[Progress], None],
        checkpointer: Checkpointer | None,
    ) -> None:
        config = self.config
        # A small folder of photos would otherwise be one batch, and an epoch a single step.
        size = min(config.batch_size, len(train), max(MIN_BATCH, len(train) // MIN_STEPS))
        if size < (machines := this_machine()[1]):
            raise BadInput(f"machines = {machines}, and a batch has {size} images; lower machines")
        steps = len(train) // size
        started, saved = time.monotonic(), time.monotonic()
        before, done_before, rate = self.seconds, self._done(steps), 1.0
        epoch_batches = Batches(train, config, self.seed)
        for epoch in range(self._epoch, config.epochs + 1):
            if self._out_of_patience():
                break
            to_come = epoch_batches.of_epoch(epoch, range(self._step, steps), size)
            waiting = Waiting()
            with prefetch(to_come, PREFETCHED) as batches:
                for step, chosen, inputs in waiting.over(batches):
                    progress = self._done(steps) / (config.epochs * steps)
                    result = self._train_step.train_batch(
                        inputs, train.targets[chosen], progress, checkpointer, size
                    )
                    self._loss += result.loss
                    self._correct += result.correct
                    self._step = step + 1
                    self._check_loss(epoch, size)
                    now = time.monotonic()
                    self.seconds = before + now - started
                    rate = (self._done(steps) - done_before) / (now - started)
                    on_progress(self._progress(steps, size, rate, waiting.share))
                    if machines == 1:
                        raise_if_stopped(checkpointer)
                    elif result.stopping:
                        raise TrainingInterrupted
                    if checkpointer and now - saved > SAVE_EVERY and self._step < steps:
                        checkpointer.save(self._snapshot())
                        saved = now
            waited = waiting.share
            scores = validate(self._train_step, validation, config.micro_batch, checkpointer)
            self._close_epoch(steps * size, *scores, before + time.monotonic() - started)
            on_progress(self._progress(steps, size, rate, waited, self.history[-1]))
            ends = epoch == config.epochs or self._out_of_patience()
            if checkpointer and (ends or checkpointer.due()):
                checkpointer.save(self._snapshot())
                saved = time.monotonic()

    @property
    def best_epoch(self) -> int:
        """The best epoch on validation (1-based), counted from the first phase on."""
        return best_epoch((*self.before.history, *self.history))

    def _out_of_patience(self) -> bool:
        """Whether this phase's last epochs, `patience` of them, were none better than one before."""
        if not self.history or not self.config.patience:
            return False
        best = max(0, self.best_epoch - len(self.before.history))
        # Epochs on smaller images say little: those of full size are yet to come.
        return len(self.history) - max(best, self.config.early_epochs) >= self.config.patience

    def selected_epoch(self, images: int) -> int:
        """The epoch whose weights the model has at the end, by `images` of validation; counted as that."""
        history = (*self.before.history, *self.history)
        if not self.config.keep_best:
            return len(history)
        return settled_epoch(history, images) if self.config.settled else self.best_epoch

    def _close_epoch(self, seen: int, loss: float, accuracy: float, seconds: float) -> None:
        row = {
            "epoch": len(self.before.history) + self._epoch,
            "loss": self._loss / seen,
            "accuracy": self._correct / seen,
            "validation_loss": loss,
            "validation_accuracy": accuracy,
            "seconds": self.before.seconds + seconds,
        }
        self.history.append(row)
        if self.config.keep_best and self.best_epoch == row["epoch"]:
            self._best = get_weights(self.model)
        self._epoch, self._step, self._loss, self._correct = self._epoch + 1, 0, 0.0, 0

    def _check_loss(self, epoch: int, size: int) -> None:
        loss = self._loss / (self._step * size)
        if not loss < MAX_LOSS:  # NaN too
            raise Diverged(
                f"the loss became {loss:.3g} in epoch {epoch} of {self.config.epochs}; "
                "lower the stage's lr_scale (--set stages.NAME.lr_scale=...), or check its images"
            )

    def _done(self, steps: int) -> int:
        return (self._epoch - 1) * steps + self._step

    def _progress(
        self,
        steps: int,
        size: int,
        rate: float,
        waiting: float,
        row: dict[str, float] | None = None,
    ) -> Progress:
        total = self.config.epochs * steps
        return Progress(
            phase=self.phase,
            epoch=len(self.history) if row else self._epoch,
            epochs=self.config.epochs,
            share=self._done(steps) / total,
            images_per_second=rate * size,
            seconds_left=(total - self._done(steps)) / rate,
            row=row or {},
            waiting=waiting,
        )

    def _snapshot(self) -> Snapshot:
        arrays = {f"model/{name}": value for name, value in get_weights(self.model).items()}
        arrays |= {f"slot/{i:04d}": np.asarray(slot) for i, slot in enumerate(self.optimizer.slots)}
        arrays |= {f"best/{name}": value for name, value in self._best.items()}
        values = {
            "phase": self.phase,
            "epoch": self._epoch,
            "step": self._step,
            "loss": self._loss,
            "correct": self._correct,
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
        for i, slot in enumerate(self.optimizer.slots):
            slot.assign(part["slot"][f"{i:04d}"])
        self._best = part["best"]
        self._epoch, self._step = values["epoch"], values["step"]
        self._loss, self._correct = values["loss"], values["correct"]
        self.seconds, self.history = values["seconds"], list(values["history"])
        self.before = PreviousPhases(tuple(values["before"][0]), values["before"][1])
        self.resumed = True
