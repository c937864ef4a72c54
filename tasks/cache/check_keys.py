"""Cache keys of a check of a data set: what determines its findings, and nothing else."""

from __future__ import annotations

from tasks.cache.code import code_digests
from tasks.cache.keys import NUMERIC, decoders, evaluation, versions
from tasks.cache.records import Work
from tasks.store.base import Ref


def checking_files(source: str, image_size: int) -> Work:
    """What determines the findings about picture files; `source` is the fingerprint of their content."""
    return Work(
        "files",
        {
            "source": source,
            "image_size": image_size,
            "versions": decoders("scikit-learn", "scipy"),
            "code": code_digests("tasks.vision.check.files"),
        },
    )


def checking_images(dataset: Ref) -> Work:
    """What determines the findings about images."""
    return Work(
        "images",
        {
            "dataset": dataset.digest,
            "versions": versions("numpy", "scipy"),
            "code": code_digests(
                "tasks.vision.check.duplicates",
                "tasks.vision.check.flaws",
                "tasks.vision.check.whole",
            ),
        },
    )


def checking_labels(dataset: Ref, images: Ref, model: Ref, features: Ref | None) -> Work:
    """What determines the findings about labels: features and duplicates, or the model and how it predicts."""
    if features is None:
        return Work(
            "labels",
            {
                "dataset": dataset.digest,
                "predictions": evaluation(model, dataset).key,
                "versions": versions("cleanlab", "scikit-learn", "scipy", *NUMERIC),
                "code": code_digests("tasks.vision.check.labels", "tasks.vision.check.held_out"),
            },
        )
    return Work(
        "labels",
        {
            "dataset": dataset.digest,
            "features": features.digest,
            "duplicates": images.digest,
            "versions": versions("cleanlab", "numpy", "scipy", "scikit-learn"),
            "code": code_digests("tasks.vision.check.labels", "tasks.vision.check.out_of_fold"),
        },
    )
