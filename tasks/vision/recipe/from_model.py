"""Stages that start from a trained model, and what is known about that model once it is looked up."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.recipe.schema import Network, Stage, Strict, with_pretrained_defaults


class StartModel(Strict):
    """A trained model that a stage starts from.

    Attributes:
        address: RUN/STAGE with the run's own name, or the absolute path or s3:// address of a model's folder.
        sha256: of its file. image_size: pixels per side of the images that it was built for.
        fit: how the pictures that it was trained on became squares.
        network: relevo's own network; None for a head on a pretrained one.
        licence, source: of a pretrained network's weights, and its paper; "" where the model names none.
    """

    address: str
    sha256: str
    image_size: int
    network: Network | None
    fit: Fit = CROP
    licence: str = ""
    source: str = ""


FindModel = Callable[[str, Stage], StartModel]  # of a stage by its name; raises BadInput


class StageFromModel(Stage):
    """A stage whose start, a trained model, was looked up; `found` has what the recipe doesn't state."""

    found: StartModel | None = Field(None, exclude=True)

    @classmethod
    def of(cls, stage: Stage, found: StartModel) -> StageFromModel:
        """Return the stage with what is known of its start, and with the defaults of such a start."""
        given = {name: getattr(stage, name) for name in stage.model_fields_set}
        given |= {"start": found.address, "sha256": found.sha256, "found": found}
        own = {**given, "network": found.network} if found.network else {}
        return cls.model_validate(own or with_pretrained_defaults(given))

    @property
    def pretrained(self) -> str | None:
        """As for any stage; and a model's address, if that is a head on a pretrained network."""
        on_network = self.found and self.found.network is None
        return self.start if on_network else super().pretrained

    def check_size(self, name: str, size: int) -> None:
        """Raise ValueError if relevo's own network was built for images of another size.

        Args:
            name: of the stage. size: of the recipe's images.
        """
        if self.found and self.found.network and size != self.found.image_size:
            raise ValueError(
                f"stages.{name}.start = {self.start!r}: that model takes images of {self.found.image_size} "
                f"pixels, the recipe's have {size}; set data.image_size = {self.found.image_size}"
            )


def is_known(stage: Stage) -> bool:
    """False for a stage that starts from a trained model which was not looked up."""
    return stage.model is None or found_start(stage) is not None


def found_start(stage: Stage) -> StartModel | None:
    """Return what is known of the trained model that a stage starts from, if it was looked up."""
    return stage.found if isinstance(stage, StageFromModel) else None
