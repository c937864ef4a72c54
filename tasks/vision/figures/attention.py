"""An image beside the parts of it that decided: the rest is darkened."""

from __future__ import annotations

import numpy as np
from PIL import Image

LEAST = 224  # pixels per side of a picture; smaller images are enlarged
DARK = 0.2  # brightness of what did not speak for the label
GAP = 4  # pixels between image and map


def attention_picture(image: np.ndarray, evidence: np.ndarray) -> Image.Image:
    """Return the image, and beside it the same with each place as bright as it spoke for the label.

    Args:
        image: (size, size, 3) uint8. evidence: (side, side) float; what is below 0 spoke against the label.
    """
    times = max(1, -(-LEAST // image.shape[0]))
    large = np.asarray(image).repeat(times, 0).repeat(times, 1)
    size = large.shape[0]
    positive = np.clip(evidence, 0, None).astype(np.float32)
    most = float(positive.max())
    share = positive / most if most > 0 else positive
    smooth = Image.fromarray(share).resize((size, size), Image.Resampling.BICUBIC)
    bright = DARK + (1 - DARK) * np.clip(np.asarray(smooth), 0, 1)
    picture = np.full((size, 2 * size + GAP, 3), 255, np.uint8)
    picture[:, :size] = large
    picture[:, size + GAP :] = (large * bright[..., None]).astype(np.uint8)
    return Image.fromarray(picture)
