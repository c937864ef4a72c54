"""Small trainings on real scans."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.vision.data.batches.targets import Examples, Targets
from tasks.vision.device import Device
from tasks.vision.recipe.schema import Network, Stage
from tasks.vision.trained_model import Card, Tensors, pack_arrays, unpack_arrays
from tasks.vision.training.stage import train_stage
from tasks.vision.training.state import Snapshot

CPU = Device("cpu", "test", "float32")
DIGITS = Targets([str(i) for i in range(10)], [[str(i)] for i in range(10)], False, {})
PAIR = Targets(["one", "rest"], [["1"], ["0"]], True, {})
TINY = Network(widths=(8, 8), logit_scale=1 / 256)


def stage(**settings: object) -> Stage:
    values = {"network": TINY, "epochs": 2, "head_epochs": 3, "batch_size": 64, "flip": False}
    return Stage.model_validate({**values, **settings})


def read_scans() -> tuple[Examples, Examples]:
    """400 and 100 of scikit-learn's digits as 32x32 RGB."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images[:500] * 15.9).astype(np.uint8)
    images = np.repeat(np.kron(small, np.ones((1, 4, 4), np.uint8))[..., None], 3, 3)
    labels = digits.target[:500].astype(np.int32)
    return Examples(images[:400], labels[:400]), Examples(images[400:], labels[400:])


@dataclass
class MemoryCheckpointer:
    """A checkpointer in memory that asks to stop after `steps` steps, and may want few snapshots."""

    steps: int = 10**9
    often: bool = True
    saved: list[Snapshot] = field(default_factory=list)
    polls: int = 0

    def load(self) -> Snapshot | None:
        return self.saved[-1] if self.saved else None

    def due(self) -> bool:
        return self.often

    def save(self, snapshot: Snapshot) -> None:
        # Through bytes, as in a store, which hold less than objects do.
        values, arrays = unpack_arrays(pack_arrays(snapshot.arrays, snapshot.values))
        self.saved.append(Snapshot(arrays, values))

    def asked(self) -> bool:
        self.polls += 1
        return self.polls > self.steps

    def stop(self) -> bool:
        return self.asked()

    def wait(self) -> None:
        """Nothing is written in the background."""


def fit(
    settings: Stage, data: tuple[Examples, Examples], seed: int = 0, **more: object
) -> tuple[Card, Tensors]:
    return train_stage(settings, DIGITS, *data, seed=seed, device=CPU, **more)  # type: ignore[arg-type]


def pair(scans: tuple[Examples, Examples]) -> tuple[Examples, Examples]:
    """The same images, labelled as ones and the rest."""
    train, check = (Examples(part.inputs, (part.targets != 1).astype(np.int32)) for part in scans)
    return train, check
