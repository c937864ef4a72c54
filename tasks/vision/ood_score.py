"""The out-of-distribution score of an image: how unlike a model's training images its features are.

The sum of two distances, each in standard deviations over the validation images: the relative Mahalanobis
distance to the nearest class (Ren et al., arXiv 2106.09022), and the distance to the nearest training images
(Sun et al., arXiv 2204.06507), less a part of how far those are from their own neighbours (after the local
outlier factor of Breunig et al., 2000). Both are of the features' square roots, scaled to norm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

import numpy as np

OOD_PREFIX = "unlike/"  # of the tensors' names in a model
# An image that this share of the validation images is more like training than is called unlike training.
OOD_THRESHOLD = 0.95
PERCENTILES = 101
# How many training images are near ones, and how much of their own distances counts. Chosen with SMOOTHING.
NEIGHBOURS, LOCAL = 5, 0.7
# Of each array, by letters for sizes that must agree: d features, p axes, k classes, m training images.
SHAPES: dict[str, tuple[str | int, ...]] = {
    "centre": ("d",),
    "axes": ("d", "p"),
    "variances": ("p",),
    "whitening": ("p", "p"),
    "means": ("k", "p"),
    "examples": ("m", "p"),
    "off_axes": ("m",),
    "spreads": ("m",),
    "scales": (2, 2),
    "percentiles": (PERCENTILES,),
}


@dataclass(frozen=True)
class OodScore:
    """What the score is computed with; all float32, of bounded size.

    Attributes:
        centre: (d,) mean of the training images' roots. axes: (d, p) their principal axes.
        variances: (p,) of all training images along the axes, smoothed.
        whitening: (p, p) makes the smoothed covariance within classes the identity. means: (k, p) of the
            classes, so whitened.
        examples: (m, p) training images along the axes. off_axes: (m,) their squared distance from them.
        spreads: (m,) mean squared distance of each to its nearest others.
        scales: (2, 2) mean and deviation of each distance over the validation images.
        percentiles: (101,) of the score over the validation images.
    """

    centre: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    whitening: np.ndarray
    means: np.ndarray
    examples: np.ndarray
    off_axes: np.ndarray
    spreads: np.ndarray
    scales: np.ndarray
    percentiles: np.ndarray

    def shares(self, features: np.ndarray) -> np.ndarray:
        """Return the share of the validation images that are more like training than each image: (n,) float64.

        Args:
            features: (n, at least d), of which the last d count: those of the network's last layer.
        """
        return np.interp(self.scores(features), self.percentiles, np.linspace(0, 1, PERCENTILES))

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the score of each image, greater for one less like training: (n,)."""
        mean, deviation = self.scales
        return ((self.distances(features) - mean) / deviation).sum(1)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the two distances of each image, from a class and from training images: (n, 2)."""
        centred = roots(features[:, -len(self.centre) :]) - self.centre
        at = centred @ self.axes
        squared = (at**2).sum(1)
        from_class = squared_distances(at @ self.whitening, self.means).min(1)
        relative = from_class - (at**2 / self.variances).sum(1)
        apart = squared_distances(at, self.examples) + self.off_axes
        near = np.argpartition(apart, min(NEIGHBOURS, apart.shape[1]) - 1)[:, :NEIGHBOURS]
        from_examples = np.take_along_axis(apart, near, 1) - LOCAL * self.spreads[near]
        off_axes = (centred**2).sum(1) - squared
        return np.stack([relative, from_examples.mean(1) + off_axes], 1)

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the arrays under their names in a model."""
        names = [f"{OOD_PREFIX}{field.name}" for field in fields(self)]
        return dict(zip(names, astuple(self), strict=True))


def ood_score_of(tensors: Mapping[str, np.ndarray]) -> OodScore | None:
    """Return a model's arrays, None if it has none.

    Raises:
        ValueError: they have other names, shapes or dtypes.
    """
    own = {
        name.removeprefix(OOD_PREFIX): value
        for name, value in tensors.items()
        if name.startswith(OOD_PREFIX)
    }
    if not own or own.keys() == SHAPES.keys() - {"spreads"}:  # as an earlier version wrote them
        return None
    if own.keys() != SHAPES.keys() or any(each.dtype != np.float32 for each in own.values()):
        raise ValueError("other arrays than an out-of-distribution score has")
    sizes: dict[str | int, int] = {2: 2, PERCENTILES: PERCENTILES}
    for name, shape in SHAPES.items():
        found = own[name].shape
        if len(found) != len(shape) or 0 in found:
            raise ValueError(f"{name} of shape {found}")
        if any(sizes.setdefault(key, size) != size for key, size in zip(shape, found, strict=True)):
            raise ValueError(f"{name} of shape {found}")
    return OodScore(**own)


def roots(features: np.ndarray) -> np.ndarray:
    """Return the square roots of features, with their signs, each image scaled to norm 1: (n, d) float32."""
    rooted = np.sign(features) * np.sqrt(np.abs(features))
    return rooted / np.maximum(np.linalg.norm(rooted, axis=1, keepdims=True), 1e-12)


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances between rows, (n, m)."""
    found = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.maximum(found, 0)
