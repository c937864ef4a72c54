"""An image beside itself in grey, with colour on the parts that decided."""

from __future__ import annotations

import numpy as np
from PIL import Image

LEAST = 224  # pixels per side of a picture; smaller images are enlarged
PALE = 0.65  # contrast of the grey image, so that colour shows on dark and on bright parts
COLOUR = np.array([255, 85, 0], np.float32)  # an orange that also the colour-blind tell from grey
OPAQUE = 0.85  # of the colour where the evidence is greatest
GAP = 4  # pixels between image and map


def attention_picture(image: np.ndarray, evidence: np.ndarray) -> Image.Image:
    """Return the image, and beside it the same in grey, coloured orange in proportion to the evidence.

    Args:
        image: (size, size, 3) uint8. evidence: (side, side) float, negative where it is against the label.
    """
    times = max(1, -(-LEAST // image.shape[0]))
    large = np.asarray(image).repeat(times, 0).repeat(times, 1)
    size = large.shape[0]
    positive = np.clip(evidence, 0, None).astype(np.float32)
    most = float(positive.max())
    share = positive / most if most > 0 else positive
    smooth = Image.fromarray(share).resize((size, size), Image.Resampling.BICUBIC)
    alpha = OPAQUE * np.clip(np.asarray(smooth), 0, 1)[..., None]
    grey = 255 - PALE * (255 - np.asarray(Image.fromarray(large).convert("L"), np.float32))
    picture = np.full((size, 2 * size + GAP, 3), 255, np.uint8)
    picture[:, :size] = large
    picture[:, size + GAP :] = (1 - alpha) * grey[..., None] + alpha * COLOUR
    return Image.fromarray(picture)
