"""The controls of a stage: trainings that it is compared with, to measure what its start was worth."""

from __future__ import annotations

from typing import Any

from tasks.vision.recipe.schema import FINE_TUNING, Network, Pixels, Stage

# An epoch of a small network on images of this size costs about a tenth of a large network's features.
SMALL_IMAGE = 32


class Control(Stage):
    """A stage that is trained for comparison alone, with settings that no recipe has.

    Attributes:
        sample: it is trained and scored on a sample of the images (`tasks.vision.data.batches.sample`).
        random: the pretrained network's weights are replaced by random ones.
        max_image_size: larger images are made smaller, to so many pixels per side.
    """

    sample: bool = False
    random: bool = False
    max_image_size: Pixels | None = None

    @classmethod
    def of(cls, stage: Stage, **changes: Any) -> Control:
        """Return a control of a stage: the same but for the changes."""
        settings = {name: value for name, value in stage if name in Stage.model_fields}
        return cls.model_validate({**settings, **changes})

    @property
    def pretrained(self) -> str | None:
        """What a head on a sample starts from, which is a pretrained network, even that of a model."""
        return self.start if self.sample else None


def controls_of(stage: Stage, network: Network) -> dict[str, Stage]:
    """Return the stages to compare a stage with: from scratch, and a head on random features.

    The control from scratch trains for as many epochs as the stage trains all its layers, or one
    where the stage trains a head alone, which costs less than that. A frozen random network can
    only learn a head, and does so for all epochs of the stage.

    The controls of a pretrained network cost little: the stage's own small network, trained for one epoch
    of small images; and its head on a sample of the images, on the network and on random weights.

    Args:
        network: the one that the stage takes over from its start, or its own if that is a file.
    """
    if stage.start is None or not stage.controls:
        return {}
    stage = stage.model_copy(update={"machines": 1})
    if stage.pretrained:
        plain = dict.fromkeys(("start", "weights", "sha256"))
        usual = {name: Stage.model_fields[name].default for name in FINE_TUNING}
        small = {**usual, **plain, "train": "all", "features": "last layer", "epochs": 1}
        size, head = max(SMALL_IMAGE, network.least_size), stage.head_alone()
        return {
            "scratch": Control.of(stage, **small, max_image_size=size),
            "sample": Control.of(head, sample=True),
            "random": Control.of(head, sample=True, random=True),
        }
    without = {"start": None, "network": network, "frozen_blocks": 0, "perturb": 0.0}
    same = stage.model_copy(update=without)
    passes = 1 if stage.train == "head" else stage.epochs
    scratch = same.model_copy(update={"train": "all", "epochs": passes})
    passes = stage.epochs + (stage.head_epochs if stage.train == "head then all" else 0)
    random = same.model_copy(update={"train": "head", "epochs": passes})
    return {"scratch": scratch, "random": random}
