"""Apply label schemes: from a data set's classes to a stage's targets and examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.data.batches.balance import balance_shift
from tasks.vision.data.batches.smaller import smaller
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.images import Images, select
from tasks.vision.errors import BadInput, nearest
from tasks.vision.recipe.schema import Balance, LabelScheme
from tasks.vision.text import normalized

IN_MEMORY = 256 << 20  # bytes of images that are read at once; of more, each batch is read


@dataclass(frozen=True)
class Targets:
    """A label scheme applied to the classes of one data set.

    Attributes:
        labels: target names, in the order of a model's outputs.
        classes: for each target, the data's classes that map to it.
        binary: one sigmoid output, the probability of `labels[0]`.
        limits: target index -> maximum number of training images.
        correct_priors: train for the class frequencies that the data has without the limits.
    """

    labels: list[str]
    classes: list[list[str]]
    binary: bool
    limits: dict[int, int]
    correct_priors: bool = False

    @property
    def outputs(self) -> int:
        """Number of the head's outputs: 1 for a binary stage."""
        return 1 if self.binary else len(self.labels)

    def indices_of(self, names: list[str]) -> np.ndarray:
        """Target index for each class name, -1 for a class that the scheme leaves out: (n,) int32."""
        index = {name: i for i, group in enumerate(self.classes) for name in group}
        return np.array([index.get(name, -1) for name in names], np.int32)

    def select(
        self, names: list[str], labels: np.ndarray, *, limited: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Select the images of the scheme's classes, up to the limits, in the data's order.

        Args:
            names: the data set's classes. labels: (n,) class index of each image.
            limited: whether to apply the limits, which are for training images.

        Returns:
            Sorted positions (m,), and the target index of each (m,) int32.
        """
        targets = self.indices_of(names)[labels]
        keep = targets >= 0
        for target, limit in self.limits.items() if limited else ():
            keep[np.flatnonzero(targets == target)[limit:]] = False
        return np.flatnonzero(keep), targets[keep]

    def prior_shift(self, names: list[str], labels: np.ndarray) -> np.ndarray:
        """Logit shift that the limits cause, 0 without `correct_priors`: (outputs,) float32.

        The logarithm of each target's share within the limits over its share without them. A model
        trained on logits plus this shift learns the probabilities of the whole data (King & Zeng 2001,
        Political Analysis 9:137, p. 144; Menon et al., arXiv 2007.07314, eq. 10).

        Args:
            names: the data set's classes. labels: (n,) class index of each training image.
        """
        if not self.correct_priors:
            return np.zeros(self.outputs, np.float32)
        chosen = [self.select(names, labels, limited=limited)[1] for limited in (True, False)]
        counts = np.array([np.bincount(each, minlength=len(self.labels)) for each in chosen])
        within, whole = np.maximum(counts, 1) / np.maximum(counts, 1).sum(1, keepdims=True)
        shift = np.log(within / whole)
        return np.array([shift[0] - shift[1]] if self.binary else shift, np.float32)


def apply_scheme(scheme: LabelScheme | None, classes: list[str]) -> Targets:
    """Resolve `scheme` (None: every class is its own target) against the data's `classes`.

    Raises:
        BadInput: the scheme names a class that the data lacks, or no class is left for the rest.
    """
    if scheme is None:
        return Targets(list(classes), [[name] for name in classes], len(classes) == 2, {})
    groups = [[normalized(name) for name in group] for group in scheme.targets.values()]
    for target, group in zip(scheme.targets, groups, strict=True):
        for name in group:
            if name not in classes:
                raise BadInput(
                    f"label scheme: class {name!r} of target {target!r}{nearest(name, classes)}; "
                    "change the recipe's labels, or --data"
                )
    if scheme.rest:
        named = {name for group in groups for name in group}
        rest = [name for name in classes if name not in named]
        if not rest:
            raise BadInput(
                f"label scheme: no class is left for the rest {scheme.rest!r}; leave rest out"
            )
        groups.append(rest)
    labels = scheme.labels
    limits = {labels.index(target): limit for target, limit in scheme.limits.items()}
    corrected = scheme.correct_priors and bool(limits)
    return Targets(labels, groups, len(labels) == 2, limits, corrected)


@dataclass(frozen=True)
class Examples:
    """Training data: (n, ...) inputs and (n,) int32 target indices."""

    inputs: Images
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def subsample(self, most: int) -> Examples:
        """At most `most` of them, evenly spaced."""
        chosen = evenly_spaced(len(self), most)
        return Examples(select(self.inputs, chosen), self.targets[chosen])


def training_examples(
    data: Dataset, targets: Targets, balance: Balance = "none", max_size: int | None = None
) -> tuple[Examples, Examples, np.ndarray]:
    """Training and validation examples, and the shift of logits by the limits and by balancing.

    Args:
        max_size: larger images are made smaller, to so many pixels per side.
    """
    parts = []
    for split in ("train", "validation"):
        limited = split == "train"
        chosen, indices = targets.select(data.classes, data.labels(split), limited=limited)
        images = images_of(data, "train", data.rows(split)[chosen], max_size)
        few = images.nbytes <= IN_MEMORY
        parts.append(Examples(np.asarray(images) if few else images, indices))
    shift = targets.prior_shift(data.classes, data.labels("train"))
    shift = shift + balance_shift(parts[0].targets, len(targets.labels), balance)
    return parts[0], parts[1], shift


def images_of(data: Dataset, where: str, rows: np.ndarray, max_size: int | None = None) -> Images:
    """Stored images of "train" or "test", (n, size, size, 3) uint8, none above `max_size` pixels per side.

    They are read, and made smaller, where they are used.
    """
    stored, size = data.stored_images(where), data.description.image_size
    chosen = select(stored, rows)
    return chosen if max_size is None or max_size >= size else smaller(chosen, max_size)
