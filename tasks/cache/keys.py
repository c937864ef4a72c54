"""Cache keys: everything that can change a task's result, and nothing else.

Paths, the store's address, hosts and names are not in a key: the same work has the same key everywhere.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.cache.code import code_digests
from tasks.cache.records import Work
from tasks.store.base import Ref, sha256_of
from tasks.vision.data.batches.sample import Sample
from tasks.vision.data.batches.targets import Targets
from tasks.vision.device import ONEDNN, find_device
from tasks.vision.recipe.data import TEST_SHARE, Data
from tasks.vision.recipe.schema import Stage
from tasks.vision.trained_model import Card

NUMERIC = ("tensorflow", "keras", "numpy")


def versions(*packages: str) -> dict[str, str]:
    """Return installed versions, without importing the packages."""
    return {name: metadata.version(name) for name in packages}


def decoders(*more: str) -> dict[str, str]:
    """Return the versions of what decodes pictures, HEIC if it can be read, and of more packages."""
    found = versions("numpy", "pillow", *more)
    try:
        return {**found, **versions("pillow-heif")}
    except metadata.PackageNotFoundError:
        return {**found, "pillow-heif": "none"}


def preparation(data: Data, digest: str) -> Work:
    """What determines the prepared data set: the images' content and settings, not their location.

    Args:
        digest: of the source's content, its `fingerprint`.
    """
    return Work(
        "prepare",
        {
            "source": digest,
            **_prepared(data),
            "code": code_digests("tasks.vision.data.prepare", "tasks.vision.data.sources"),
            "versions": decoders("scikit-learn", "scipy"),
        },
    )


def decoding(data: Data) -> dict[str, object]:
    """What determines the pixels of a picture, beside its file."""
    return {
        "image_size": data.image_size,
        "fit": data.fit,
        "code": code_digests(
            "tasks.vision.pictures.decode_pool", "tasks.vision.data.pieces.new_piece"
        ),
        "versions": decoders(),
    }


def _prepared(data: Data) -> dict[str, object]:
    """Return how images are prepared; the usual share of test is left out, as before there was one."""
    usual = {"test"} if data.test == TEST_SHARE else set()
    return data.model_dump(mode="json", exclude={"source", *usual})


def training(stage: Stage, targets: Targets, dataset: Ref, start: Ref | None, seed: int) -> Work:
    """What determines a trained model."""
    return Work(
        "train",
        {
            **_learned(stage, targets, seed),
            "start": start.digest if start else None,
            "dataset": dataset.digest,
            **_arithmetic(),
            "versions": versions(*NUMERIC, "pillow"),
            "code": code_digests(
                "tasks.vision.training.stage", "tasks.vision.data.batches.targets"
            ),
        },
    )


def featuring(digest: str, images: str, features: str, sample: Sample | None = None) -> Work:
    """What determines the features of a data set's images, whichever of them are validation.

    Args:
        digest: of the pretrained network, `sha256:...`. images: their digest, which covers their size.
        sample: of the images; None for all.
    """
    return Work(
        "features",
        {
            "network": digest,
            "features": features,
            "images": images,
            **({"sample": sample.digest} if sample else {}),
            **_arithmetic(in_float32=True),
            "versions": versions(*NUMERIC),
            "code": code_digests(
                "tasks.vision.training.dataset_features",
                "tasks.vision.pretrained.compute.features",
                "tasks.vision.network.runtime",
                *(["tasks.vision.data.batches.sample"] if sample else []),
            ),
        },
    )


def head_training(stage: Stage, targets: Targets, dataset: Ref, features: Work, seed: int) -> Work:
    """What determines a head on the features of a pretrained network.

    The features count by their key, so that a plan knows them before they are computed.
    """
    return Work(
        "train",
        {
            **_learned(stage, targets, seed),
            "start": features.ingredients["network"],
            "dataset": dataset.digest,
            "inputs": features.key,
            "versions": versions("numpy", "scipy", "scikit-learn"),
            "code": code_digests(
                "tasks.vision.training.linear_head",
                "tasks.vision.training.calibration",
                "tasks.vision.data.batches.sample",
                "tasks.vision.data.batches.targets",
            ),
        },
    )


def fine_tuning(stage: Stage, targets: Targets, head: Work, seed: int) -> Work:
    """What determines a pretrained network that is fine-tuned under a head, which counts by its key."""
    return Work(
        "train",
        {
            **_learned(stage, targets, seed),
            "start": head.ingredients["start"],
            "dataset": head.ingredients["dataset"],
            "inputs": head.key,
            **_arithmetic(in_float32=True),
            "versions": versions(*NUMERIC, "pillow", "scikit-learn", "scipy"),
            "code": code_digests(
                "tasks.vision.training.fine_tuning",
                "tasks.vision.training.calibration",
                "tasks.vision.data.batches.targets",
            ),
        },
    )


def _learned(stage: Stage, targets: Targets, seed: int) -> dict[str, object]:
    """Return what a stage is asked to learn."""
    return {
        "stage": stage.settings_in_key(),
        "labels": targets.labels,
        "classes": targets.classes,
        "limits": {targets.labels[i]: limit for i, limit in targets.limits.items()},
        "correct_priors": targets.correct_priors,
        "seed": seed,
    }


def evaluation(model: Ref, dataset: Ref, features: Ref | None = None, split: str = "test") -> Work:
    """What determines a model's scores; `features` are those of a head on a pretrained network."""
    of_head = {"features": features.digest} if features else {}
    of_split = {"split": split} if split != "test" else {}
    return Work(
        "evaluate",
        {
            "model": model.sha256,
            "dataset": dataset.digest,
            **of_head,
            **of_split,
            **_arithmetic(),
            "versions": versions(*NUMERIC, "scikit-learn", "scipy"),
            "code": code_digests(
                "tasks.vision.evaluation.score",
                "tasks.vision.evaluation.attention",
                "tasks.vision.data.batches.sample",
                "tasks.vision.data.batches.targets",
            ),
        },
    )


def _arithmetic(*, in_float32: bool = False) -> dict[str, str]:
    """Return what sets the arithmetic of a device, or that of one that computes in float32.

    The number of cores and the instruction set change the last bits, too, but are left out, so that machines
    share results; a model's card records them.
    """
    device = find_device().in_float32 if in_float32 else find_device()
    plain = device.kind == "cpu" and os.environ.get(ONEDNN, "1").lower() in {"0", "false"}
    policy = f"{device.policy}, without oneDNN" if plain else device.policy
    return {"device": device.kind, "policy": policy}


def exporting(model: Ref, card: Card) -> Work:
    """What determines a model's .keras file: tensors, labels, what it says of images, and the code."""
    return Work(
        "export",
        {
            "model": model.digest,
            "architecture": card.architecture.model_dump(mode="json"),
            "labels": card.labels,
            "classes": card.classes,
            "images": {"bits": card.bits, "fit": card.fit},
            "versions": versions(*NUMERIC, "h5py"),
            "code": code_digests("tasks.vision.export.keras_file"),
        },
    )


def reporting(content: dict[str, Any]) -> Work:
    """What determines a report: its content, code, template and translations."""
    folder = Path(__file__).parents[1] / "reporting"
    own = ("base.html", "findings.html", "incoming.html", "photos.html", "report.html", "style.css")
    named = (folder / name for name in own)
    texts = [*named, *sorted(folder.glob("translations/*.toml"))]
    return Work(
        "report",
        {
            **content,
            "code": code_digests("tasks.report"),
            "texts": {path.name: sha256_of(path)[0] for path in texts},
            "versions": versions("matplotlib", "pillow", "jinja2"),
        },
    )
