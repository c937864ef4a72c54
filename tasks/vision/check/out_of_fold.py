"""Judge labels by heads that have not seen them, on the features of a frozen network: cross-validation."""

from __future__ import annotations

import numpy as np

from tasks.vision.check.findings import LabelFindings
from tasks.vision.check.labels import suspicious_labels
from tasks.vision.check.whole import Whole
from tasks.vision.evaluation.probabilities import log_loss, probabilities

FOLDS = 5
LEAST = 2 * FOLDS  # images of a class; of fewer, some heads would have seen almost none
GAMMA, LANDMARKS = 1.0, 1000  # of the kernel, for features of length 1; images that stand for all
STRENGTHS = (0.03, 0.1, 0.3, 1.0)  # of the penalty
TEMPERATURES = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # inverse ones, of scores around 0 and 1
TINY = 1e-6  # so that a constant feature becomes zero
SEED = 0  # of the folds, which belong to the data, not to a run


def judge_out_of_fold(whole: Whole, features: np.ndarray, groups: np.ndarray) -> LabelFindings:
    """Judge all images but those of very small classes.

    Args:
        features: (n, d) float32 of all images. groups: (n,) int; images of one group are in one fold.
    """
    counts = np.bincount(whole.labels, minlength=len(whole.classes))
    known = np.flatnonzero(counts >= LEAST)
    few = tuple(whole.classes[i] for i in np.flatnonzero(counts < LEAST))
    if len(known) < 2:
        return LabelFindings(basis="out of fold", judged=0, too_small=few)
    rows = np.flatnonzero(np.isin(whole.labels, known))
    labels = np.searchsorted(known, whole.labels[rows])
    import sklearn.kernel_approximation  # noqa: F401  # before the limit, which holds for what is there
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # several threads would mostly wait for each other
        chances = out_of_fold(features[rows], labels, groups[rows], len(known))
    found, wrong = suspicious_labels(rows, labels, chances, [whole.classes[i] for i in known])
    return LabelFindings(
        basis="out of fold", judged=len(rows), suspicious=found, wrong=wrong, too_small=few
    )


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, classes: int
) -> np.ndarray:
    """Return the probability of every class for each image, (n, classes) float64.

    Of the other folds, the next one chooses penalty and temperature of a head on the rest; then all of them
    train it. Heads have a squared loss and a Gaussian kernel: they find more exchanged labels than logistic
    regression, which bends towards wrong ones, and in less time.

    Args:
        features: (n, d) float32. labels: (n,) int, with `LEAST` images or more of each class.
        groups: (n,) int; images of one group are in one fold.
    """
    folds, wanted = folds_of(labels, groups), np.eye(classes, dtype=np.float32)[labels]
    data = _kernel_features(features)
    found = np.empty((len(labels), classes))
    for fold in range(FOLDS):
        held_out, chooses = folds == fold, folds == (fold + 1) % FOLDS
        rest, checked = ~held_out & ~chooses, labels[chooses]
        tried = []
        for strength in STRENGTHS:
            scores = _scores(data[rest], wanted[rest], data[chooses], strength)
            tried += [(log_loss(t * scores, checked), strength, t) for t in TEMPERATURES]
        _, strength, inverse_temperature = min(tried)
        scores = _scores(data[~held_out], wanted[~held_out], data[held_out], strength)
        found[held_out] = probabilities(inverse_temperature * scores)
    return found


def _kernel_features(features: np.ndarray) -> np.ndarray:
    """Features (n, m) whose products are a Gaussian kernel of the standardised ones, all of one length.

    By the Nystroem method where there are more than `LANDMARKS` images; labels play no part in it.
    """
    from sklearn.kernel_approximation import Nystroem  # slow to import, and only needed here

    data = features - features.mean(0)
    data /= np.maximum(data.std(0), TINY)
    data /= np.maximum(np.linalg.norm(data, axis=1, keepdims=True), TINY)
    count = min(LANDMARKS, len(data))
    return Nystroem(gamma=GAMMA, n_components=count, random_state=SEED).fit_transform(data)


def _scores(
    train: np.ndarray, wanted: np.ndarray, images: np.ndarray, strength: float
) -> np.ndarray:
    """Fit a linear head by least squares with an L2 penalty; return its scores of images: (m, classes)."""
    from sklearn.linear_model import Ridge

    head = Ridge(strength, solver="cholesky").fit(train, wanted)
    return np.asarray(head.predict(images), np.float64)


def folds_of(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the fold of each image, (n,) int: each class is spread evenly, as far as groups allow."""
    _, first, members = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(SEED).permutation(len(first))
    order = order[np.argsort(labels[first[order]], kind="stable")]
    folds = np.empty(len(first), np.int64)
    folds[order] = np.arange(len(first)) % FOLDS
    return folds[members]
