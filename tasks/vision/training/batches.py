"""The batches of an epoch: which images, and how they are changed, as a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np

from tasks.vision.cluster import share
from tasks.vision.data.batches import augment
from tasks.vision.data.batches.augment_photos import photo_batch, photo_changes
from tasks.vision.data.batches.balance import drawn
from tasks.vision.data.batches.smaller import smaller
from tasks.vision.data.batches.targets import Examples
from tasks.vision.data.images import FileImages
from tasks.vision.device import cores
from tasks.vision.network.distribution import this_machine
from tasks.vision.training.gpu_batches import BatchMaker, batch_maker, reads_inputs
from tasks.vision.training.state import FitConfig

Batch = tuple[int, np.ndarray, Any]  # number of the step, indices of the images, and the images


class Batches:
    """Makes the batches of each epoch from examples: images (n, size, size, 3) uint8, or features (n, d).

    Of several machines that share each batch, this one's part of it.
    """

    def __init__(self, examples: Examples, config: FitConfig, seed: int) -> None:
        self._inputs, self._targets = examples.inputs, examples.targets
        self._config, self._seed = config, seed
        self._make: BatchMaker | None = None
        # Here and not in a generator, which runs in a thread without TensorFlow's strategy.
        self._machine = this_machine()

    def of_epoch(self, epoch: int, steps: range, size: int) -> Generator[Batch, None, None]:
        """Return the batches of these steps, each of `size` images; call it in the order of the epochs."""
        config, early = self._config, epoch <= self._config.early_epochs
        if config.photos:
            pixels = config.early_size if early else self._inputs.shape[1]
            return self._photos(epoch, steps, size, pixels)
        if not self._make or epoch == config.early_epochs + 1:
            inputs = self._inputs
            self._make = batch_maker(smaller(inputs, config.early_size) if early else inputs)
        return self._shifted(self._make, epoch, steps, size)

    def _chosen(
        self, epoch: int, steps: range, size: int, *, reads: bool = True
    ) -> Generator[tuple[int, np.ndarray], None, None]:
        order, part = self._order(epoch), share(size, *self._machine)
        batches = [order[step * size : (step + 1) * size][part] for step in steps]
        to_come = np.concatenate([order[:0], *batches])
        files = self._inputs if reads and isinstance(self._inputs, FileImages) else None
        with files.in_order(to_come) if files else nullcontext():
            yield from zip(steps, batches, strict=True)

    def _order(self, epoch: int) -> np.ndarray:
        inputs, seed, balance = self._inputs, self._seed, self._config.balance
        chosen = np.arange(len(inputs))
        if balance != "none":
            chosen = drawn(seed, epoch, self._targets, balance)
        if isinstance(inputs, FileImages) and 0 < inputs.window < len(inputs):
            shards = inputs.shard_of()[chosen]
            return chosen[augment.windowed_order(seed, epoch, shards, inputs.window)]
        return chosen[augment.order(seed, epoch, len(inputs))]

    def _shifted(
        self, make: BatchMaker, epoch: int, steps: range, size: int
    ) -> Generator[Batch, None, None]:
        config, n = self._config, len(self._inputs)
        flips = augment.mirrored(self._seed, epoch, n) if config.flip else None
        moves = augment.shifts(self._seed, epoch, n, config.shift) if config.shift else None
        for step, chosen in self._chosen(epoch, steps, size, reads=reads_inputs(make)):
            yield step, chosen, make(chosen, flips, moves, config.shift)

    def _photos(
        self, epoch: int, steps: range, size: int, pixels: int
    ) -> Generator[Batch, None, None]:
        changes = photo_changes(self._seed, epoch, len(self._inputs))
        with ThreadPoolExecutor(cores()) as threads:
            for step, chosen in self._chosen(epoch, steps, size):
                yield step, chosen, photo_batch(self._inputs, chosen, changes, pixels, threads)
