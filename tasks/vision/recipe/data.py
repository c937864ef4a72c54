"""The settings of [data] in a recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from tasks.vision.pictures.fit import CROP, Fit
from tasks.vision.recipe.schema import Pixels, Strict

MAX_FOLDS = 100
TEST_SHARE = 0.2  # of images without a test split


class Data(Strict):
    """Where images come from, and how they are prepared."""

    source: str = Field(description="digits, cifar10, or a folder, archive or table of images")
    image_size: Pixels = Field(32, description="pixels per side of the square images")
    fit: Fit = Field(CROP, description="how pictures become squares: crop, pad or stretch")
    validation: float = Field(0.1, gt=0, lt=1, description="share of train held out for choosing")
    test: float = Field(TEST_SHARE, gt=0, lt=1, description="the same for test, if there is none")
    fold: tuple[int, int] | None = Field(
        None,
        exclude_if=lambda fold: fold is None,
        description="[k, K]: of K parts of train and validation, the k-th is validation",
    )
    window_gb: float = Field(
        2.0, gt=0, description="of images that an epoch shuffles at a time, if there are more"
    )
    max_unreadable: float = Field(0.01, ge=0, lt=1, description="share of files that may be bad")

    @model_validator(mode="after")
    def _fold_is_one_of_several(self) -> Data:
        if self.fold and not 1 <= self.fold[0] <= self.fold[1] <= MAX_FOLDS:
            raise ValueError(
                f"fold = {list(self.fold)}: expected [k, K] with k from 1 to K, as [1, 5]"
            )
        if self.fold and self.fold[1] < 2:
            raise ValueError(f"fold = {list(self.fold)}: expected 2 parts or more, as in [1, 5]")
        return self
