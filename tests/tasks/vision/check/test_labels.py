"""Exchanged labels of real scans are found by heads that have not seen them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasks.vision.check.out_of_fold import LEAST, folds_of, judge_out_of_fold
from tasks.vision.check.whole import Whole

CLASSES = [str(digit) for digit in range(10)]


def scans(share: float) -> tuple[Whole, np.ndarray, np.ndarray]:
    """scikit-learn's digits with a share of the labels exchanged, their pixels as features, and which."""
    pixels, truth = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    rows = random.choice(len(truth), round(share * len(truth)), replace=False)
    labels = truth.astype(np.int32)
    labels[rows] = (labels[rows] + random.integers(1, 10, len(rows))) % 10
    names = [f"{row}.png" for row in range(len(labels))]
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    whole = Whole(images, labels, np.full(len(labels), "train"), names, CLASSES)
    return whole, pixels.astype(np.float32), rows


def test_exchanged_labels_are_the_most_suspicious() -> None:
    whole, pixels, exchanged = scans(0.05)
    found = judge_out_of_fold(whole, pixels, np.arange(len(whole)))
    assert found.judged == len(whole) == 1797
    assert found.too_small == ()
    first = {each.row for each in found.suspicious[: len(exchanged)]}
    assert len(first & {*exchanged.tolist()}) >= 0.9 * len(exchanged)
    scores = [each.score for each in found.suspicious]
    assert scores == sorted(scores)
    truth = load_digits().target
    right = [
        str(truth[each.row]) == each.likely for each in found.suspicious if each.row in exchanged
    ]
    assert np.mean(right) > 0.9
    assert abs(found.wrong - len(exchanged)) < 0.2 * len(exchanged)


def test_few_good_labels_are_called_wrong() -> None:
    whole, pixels, _ = scans(0)
    found = judge_out_of_fold(whole, pixels, np.arange(len(whole)))
    assert found.wrong < 0.02 * len(whole)


def test_classes_of_few_images_are_named_and_not_judged() -> None:
    whole, pixels, _ = scans(0)
    counts = {0: 20, 1: 20, 2: 20, 3: LEAST - 1}
    per_class = [np.flatnonzero(whole.labels == label)[:n] for label, n in counts.items()]
    sparse = np.sort(np.concatenate(per_class))
    splits = whole.splits[sparse]
    some = Whole(whole.images[sparse], whole.labels[sparse], splits, whole.names, CLASSES)
    found = judge_out_of_fold(some, pixels[sparse], np.arange(len(some)))
    assert found.too_small == ("3", "4", "5", "6", "7", "8", "9")
    assert found.judged == 60
    one = judge_out_of_fold(
        Whole(
            whole.images[:15], np.zeros(15, np.int32), whole.splits[:15], whole.names, ["0", "1"]
        ),
        pixels[:15],
        np.arange(15),
    )
    assert (one.judged, one.suspicious) == (0, ())


def test_folds_are_even_in_each_class_and_keep_groups_together() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 300)
    groups = np.arange(300)
    groups[::7] = 1000
    folds = folds_of(labels, groups)
    assert len({*folds[::7].tolist()}) == 1
    alone = np.setdiff1d(np.arange(300), np.arange(0, 300, 7))
    for label in range(3):
        counts = np.bincount(folds[alone[labels[alone] == label]], minlength=5)
        assert np.ptp(counts) <= 2
    assert folds_of(labels, groups).tolist() == folds.tolist()


@pytest.mark.parametrize("classes", [2, 3])
def test_two_classes_are_judged_as_more_are(classes: int) -> None:
    whole, pixels, _ = scans(0)
    chosen = np.flatnonzero(whole.labels < classes)
    labels = whole.labels[chosen].copy()
    labels[:5] = (labels[:5] + 1) % classes
    some = Whole(whole.images[chosen], labels, whole.splits[chosen], whole.names, CLASSES[:classes])
    found = judge_out_of_fold(some, pixels[chosen], np.arange(len(labels)))
    assert {each.row for each in found.suspicious[:5]} == {0, 1, 2, 3, 4}
