"""Fit a model's out-of-distribution score to the features of its training images."""

from __future__ import annotations

import numpy as np

from tasks.vision.data.batches.augment import evenly_spaced
from tasks.vision.ood_score import NEIGHBOURS, PERCENTILES, OodScore, roots, squared_distances

# Training images that the score is fitted to, and that are stored with it.
MOST_FITTED, MOST_STORED = 5000, 2000
AXES = 256
# Share of a covariance that is spread evenly over the axes; chosen on photos of flowers, one kind left out.
SMOOTHING = 0.03
TINY = 1e-12


def fit_ood_score(features: np.ndarray, classes: np.ndarray, validation: np.ndarray) -> OodScore:
    """Fit the out-of-distribution score to the last layer's features of the training images.

    Args:
        features: (n, d) of training images, n > 1. classes: (n,) of each, any integers; finer ones than the
            model's labels are better.
        validation: (v, d) of validation images, from which the usual range is taken.
    """
    from sklearn.decomposition import PCA  # slow to import
    from threadpoolctl import threadpool_limits

    chosen = evenly_spaced(len(features), MOST_FITTED)
    rooted, classes = roots(features[chosen]), np.unique(classes[chosen], return_inverse=True)[1]
    # In one thread, so that the bits don't depend on the number of cores.
    with threadpool_limits(1, "blas"):
        axes = min(AXES, len(rooted) - 1, rooted.shape[1])
        pca = PCA(axes, svd_solver="randomized", iterated_power=3, random_state=0).fit(rooted)
        at = (rooted - pca.mean_) @ pca.components_.T
        off_axes = ((rooted - pca.mean_) ** 2).sum(1) - (at**2).sum(1)
        means = np.stack([at[classes == each].mean(0) for each in range(classes.max() + 1)])
        whitening = _whitening(at - means[classes])
        stored = evenly_spaced(len(at), MOST_STORED)
        fitted = OodScore(
            centre=pca.mean_,
            axes=np.ascontiguousarray(pca.components_.T),
            variances=_smoothed((at**2).mean(0, dtype=np.float64)),
            whitening=whitening,
            means=means @ whitening,
            examples=at[stored],
            off_axes=np.maximum(off_axes[stored], 0),
            spreads=_spreads(at[stored], np.maximum(off_axes[stored], 0)),
            scales=np.array([[0, 0], [1, 1]]),
            percentiles=np.zeros(PERCENTILES),
        )
        usual = fitted.distances(validation).astype(np.float64)
        scales = np.stack([usual.mean(0), np.maximum(usual.std(0), TINY)])
        scores = ((usual - scales[0]) / scales[1]).sum(1)
    percentiles = np.percentile(scores, np.linspace(0, 100, PERCENTILES))
    found = {**vars(fitted), "scales": scales, "percentiles": percentiles}
    return OodScore(**{name: value.astype(np.float32) for name, value in found.items()})


def _spreads(at: np.ndarray, off_axes: np.ndarray) -> np.ndarray:
    """The mean squared distance of each row (m, p) to its nearest others, m > 1: (m,)."""
    apart = squared_distances(at, at) + off_axes + off_axes[:, None]
    np.fill_diagonal(apart, np.inf)
    count = min(NEIGHBOURS, len(at) - 1)
    nearest: np.ndarray = np.partition(apart, count - 1)[:, :count].mean(1)
    return nearest


def _smoothed(variances: np.ndarray) -> np.ndarray:
    """Variances with a part of them spread evenly, none of them 0."""
    even = max(float(variances.mean()), TINY)
    return (1 - SMOOTHING) * variances + SMOOTHING * even


def _whitening(within: np.ndarray) -> np.ndarray:
    """The matrix that makes the smoothed covariance of rows (n, p) of mean 0 the identity."""
    covariance = (within.T @ within).astype(np.float64) / len(within)
    variances, axes = np.linalg.eigh(covariance)
    whitened: np.ndarray = axes / np.sqrt(_smoothed(np.maximum(variances, 0)))
    return whitened
