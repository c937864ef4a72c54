"""Labels that are probably wrong: confident learning (Northcutt et al. 2021, JAIR 70:1373), as in cleanlab."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.vision.check.findings import SuspiciousLabel


def suspicious_labels(
    rows: np.ndarray, labels: np.ndarray, chances: np.ndarray, names: Sequence[str]
) -> tuple[tuple[SuspiciousLabel, ...], int]:
    """Return the labels that are not the most probable ones, and about how many of them are wrong.

    Those to which the models give the lowest probability come first: of the rankings in cleanlab it is the one
    that found most exchanged labels of scans and of photos.

    Args:
        rows: (n,) of the images. labels: (n,) int, each of 0 to classes - 1 at least once.
        chances: (n, classes) probabilities, of models that have not learnt from these labels.
        names: of the classes.
    """
    from cleanlab.count import num_label_issues
    from cleanlab.rank import get_label_quality_scores

    scores = get_label_quality_scores(labels, chances, method="self_confidence")
    likely = chances.argmax(1)
    doubted = np.flatnonzero(likely != labels)
    found = tuple(
        SuspiciousLabel(
            row=int(rows[i]),
            given=names[labels[i]],
            likely=names[likely[i]],
            score=round(float(scores[i]), 6),
            probability=round(float(chances[i, likely[i]]), 6),
        )
        for i in doubted[np.argsort(scores[doubted], kind="stable")]
    )
    return found, int(num_label_issues(labels, chances))
