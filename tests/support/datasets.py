"""Prepared data sets in a plain folder, where a test needs no store."""

from __future__ import annotations

from pathlib import Path

from tasks.vision.data.dataset import Description
from tasks.vision.data.labelled import ImageSet
from tasks.vision.data.prepare import prepare
from tasks.vision.recipe.data import Data


def prepare_in_folder(
    found: ImageSet, size: int, validation: float, path: Path, test: float = 0.2
) -> Description:
    """Prepare images of `size` pixels per side in the file `path`."""
    # Images of some tests are smaller than a recipe may ask for.
    data = Data.model_construct(source="", image_size=size, validation=validation, test=test)
    return prepare(found, data, path)
