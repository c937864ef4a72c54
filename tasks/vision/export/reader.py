"""One Python file that reads pictures as training did, to use a model without this project."""

from __future__ import annotations

import re
from pathlib import Path

from tasks.vision.pictures import colours, decode, fit, kinds, limits, pixels, readers, tiff

READER = "read_image.py"  # beside a model in any format
MODULES = (
    fit,
    kinds,
    limits,
    tiff,
    readers,
    colours,
    pixels,
    decode,
)  # each after those that it imports
HEAD = '''\
"""Read a picture of any kind as this model's training did: `decode(data, image_size)`.

Needs Python 3.11, Pillow 12 and NumPy, or newer; for HEIC also pillow-heif. These are relevo's own modules,
one after another.
"""

from __future__ import annotations

'''
_OWN_IMPORT = re.compile(r"(?m)^from (?:__future__|tasks\.[\w.]+) import (?:\([^)]*\)|.*)\n")


def reader() -> bytes:
    """The bytes of `read_image.py`: the modules that turn files into pixels, in one."""
    sources = (Path(str(module.__file__)).read_text("utf-8") for module in MODULES)
    return (HEAD + "\n\n".join(_OWN_IMPORT.sub("", source) for source in sources)).encode()
