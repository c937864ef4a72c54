"""TIFFs that Pillow would read wrongly: planes, 0 as white, bands that are no alpha, raw photos."""

from __future__ import annotations

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from tasks.vision.pictures.limits import FREE_PIXELS, UnreadableError

# Tags, and some of their values.
_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 258, 259, 262, 277, 284
_TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _DNG = 322, 323, 338, 50706
_GREY, _RGB, _DEFLATE = 1, 2, 8


class Tiff(TiffImageFile):
    """A TIFF whose tags are read as they are meant.

    Raises:
        UnreadableError: it is a raw photo, or would take too much memory.
    """

    white_is_zero = False

    def _setup(self) -> None:
        tags = self.tag_v2
        if _DNG in tags or tags.get(_SUBFILE, 0) & 1:  # DNG, NEF and ARW begin with a thumbnail
            raise UnreadableError("a raw photo can't be read; convert it to JPEG")
        if tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0) > FREE_PIXELS:
            raise UnreadableError("damaged image (huge tiles)")
        # A fourth band without a meaning (infrared) is no alpha; Pillow takes it for one.
        more = tags.get(_SAMPLES, 1) - 3
        if tags.get(_PHOTOMETRIC) == _RGB and 0 < more < 4 and not tags.get(_EXTRA_SAMPLES):
            tags[_EXTRA_SAMPLES] = (0,) * more
        # Pillow would read 16-bit samples in planes as bytes; for compressed ones it calls libtiff.
        if self.in_planes and tags.get(_COMPRESSION, 1) == 1:
            tags[_COMPRESSION] = _DEFLATE
        # Pillow would read a negative.
        if tags.get(_PHOTOMETRIC) == 0 and tags.get(_BITS) == (16,):
            tags[_PHOTOMETRIC] = _GREY
            self.white_is_zero = True
        super()._setup()

    @property
    def in_planes(self) -> bool:
        """True if each band is stored by itself."""
        return self.tag_v2.get(_PLANAR) == 2

    @property
    def bits(self) -> int:
        """How many bits of the 16-bit samples are used; 0 if the file doesn't say."""
        return 12 if self.tag_v2.get(_BITS) == (12,) else 0

    def upright_tones(self) -> Image.Image:
        """The loaded image, with 0 as black."""
        if not self.white_is_zero:
            return self
        image = Image.fromarray(65535 - np.asarray(self))
        image.info = self.info
        return image
