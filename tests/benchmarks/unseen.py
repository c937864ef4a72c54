"""How well the out-of-distribution score finds a class that was left out of training, for each class in turn.

python tests/benchmarks/unseen.py flowers5.zip efficientnet_lite0.keras [--split test]
Known are the other classes' images of the split, unknown those of the class left out; AUROC of telling them
apart. With `--split validation`, on which the score was chosen, unknown are its training images too.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from turns import check, show

from tasks.vision.data.batches.targets import Examples
from tasks.vision.ood_score import OOD_THRESHOLD, roots
from tasks.vision.training.fit_ood_score import fit_ood_score
from tasks.vision.training.linear_head import fit_head

NEIGHBOURS = 5


@dataclass(frozen=True)
class Labelled:
    """Features (n, d) float32 of a split's images, and their classes (n,)."""

    features: np.ndarray
    classes: np.ndarray

    def only(self, left_out: int, *, known: bool) -> Labelled:
        chosen = (self.classes != left_out) == known
        return Labelled(self.features[chosen], self.classes[chosen])


def read(archive: str, model: str, size: int) -> tuple[dict[str, Labelled], list[str]]:
    """The features of all splits, of the network's last layer, and the names of the classes."""
    from tasks.vision.device import find_device, loading_tensorflow

    with loading_tensorflow():
        from tasks.vision.network.runtime import set_up
        from tasks.vision.pretrained.compute.features import feature_extractor
    from tasks.vision.data.dataset import open_dataset
    from tasks.vision.data.pieces.piece_folder import PieceFolder
    from tasks.vision.data.prepare import prepare
    from tasks.vision.data.sources import find_source, read_source
    from tasks.vision.pretrained.readers.keras_file import read_keras_file
    from tasks.vision.recipe.data import Data

    set_up(find_device().in_float32)
    extract = feature_extractor(read_keras_file(Path(model)), size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        settings = Data(source=archive, image_size=size)
        images = read_source(find_source(archive), size)
        store = images.store or PieceFolder()
        prepare(images, settings, path, store)
        data = open_dataset(path, store.shard_path)
        parts = {name: data.part(name) for name in ("train", "validation", "test")}
        found = {name: Labelled(extract(part.images), part.labels) for name, part in parts.items()}
    return found, data.classes


def scores(train: Labelled, validation: Labelled, images: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of images (n, d) by name, greater for what is less like training."""
    order, train_targets = np.unique(train.classes, return_inverse=True)
    targets = np.searchsorted(order, validation.classes)
    head = fit_head(
        Examples(train.features, train_targets), Examples(validation.features, targets), len(order)
    )
    logits = images @ head.kernel + head.bias
    highest = logits.max(1)
    energy = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    fitted = fit_ood_score(train.features, train.classes, validation.features)
    relative, nearest = fitted.distances(images).T
    rooted, examples = roots(images), roots(train.features)
    means = np.stack([examples[train.classes == each].mean(0) for each in order])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similar = rooted @ examples.T
    return {
        "highest probability": -np.exp(highest - energy),
        "highest logit": -highest,
        "energy": -energy,
        "cosine to class means": -(rooted @ means.T).max(1),
        f"{NEIGHBOURS} nearest neighbours": -np.sort(similar, 1)[:, -NEIGHBOURS],
        "near neighbours, less their own": nearest,
        "relative Mahalanobis": relative,
        "relevo": fitted.shares(images) + 1e-6 * fitted.scores(images),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--split", choices=["validation", "test"], default="test")
    given = parser.parse_args()
    check(parser, given.archive)
    from sklearn.metrics import roc_auc_score

    data, classes = read(given.archive, given.model, given.size)
    found: dict[str, list[float]] = {}
    called: list[tuple[float, float]] = []
    for left_out in range(len(classes)):
        known = data[given.split].only(left_out, known=True)
        new = [data[given.split].only(left_out, known=False).features]
        if given.split == "validation":
            new.append(data["train"].only(left_out, known=False).features)
        images = np.concatenate([known.features, *new])
        truth = np.arange(len(images)) >= len(known.features)
        train, validation = (
            data[split].only(left_out, known=True) for split in ("train", "validation")
        )
        for name, each in scores(train, validation, images).items():
            found.setdefault(name, []).append(float(roc_auc_score(truth, each)))
            unlike = each >= OOD_THRESHOLD
        called.append((float(unlike[~truth].mean()), float(unlike[truth].mean())))
    table = Table("AUROC", "mean", *(f"without {name}" for name in classes))
    for name, row in found.items():
        table.add_row(name, f"{np.mean(row):.3f}", *(f"{value:.3f}" for value in row))
    rates = [f"{usual:.2f}, {new:.2f}" for usual, new in called]
    usual, new = np.mean(called, 0)
    table.add_row("called unlike training: known, new", f"{usual:.2f}, {new:.2f}", *rates)
    show(table)


if __name__ == "__main__":
    main()
