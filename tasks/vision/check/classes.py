"""Classes with few pictures, and classes with far fewer than the largest."""

from __future__ import annotations

from tasks.vision.check.findings import FewImages

FEW = 20  # training images; fewer teach little, and leave some two for validation
RATIO = 9  # of the largest class to another, above which data counts as highly imbalanced (KEEL repository)


def few_images(counts: dict[str, int]) -> list[FewImages]:
    """Return the classes with few training images, or far fewer than the largest class; the smallest first."""
    largest = max(counts.values(), default=0)
    found = [
        FewImages(label=label, images=count, largest=largest)
        for label, count in counts.items()
        if count < FEW or count * RATIO < largest
    ]
    return sorted(found, key=lambda each: each.images)
