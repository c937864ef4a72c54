"""How a picture that is not square becomes the square image that a network takes."""

from __future__ import annotations

from typing import Literal

Fit = Literal["crop", "pad", "stretch"]
CROP: Fit = "crop"  # also of recipes, data sets and models from before there was a choice

# What an image shows of its picture, for documents that go with a model.
SHOWS: dict[Fit, str] = {
    "crop": "the centre square of a picture; what is beside it is cut off",
    "pad": "a whole picture, scaled to fit and centred on a square of its mean colour",
    "stretch": "a whole picture, with both sides scaled to the same length",
}
