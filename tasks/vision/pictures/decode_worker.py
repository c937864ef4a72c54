"""Decode a chunk of image files, in the caller's process or in a worker under limits of its own."""

from __future__ import annotations

import marshal
import os
import sys
import warnings
from contextlib import suppress

from filelock import FileLock
from PIL import AvifImagePlugin, Image

from tasks.vision.pictures import pixels
from tasks.vision.pictures.decode import decode_picture
from tasks.vision.pictures.fit import Fit
from tasks.vision.pictures.limits import UnreadableError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MAX_MEMORY = 2 * 2**30  # addresses of a worker; the largest image takes half of that

Remark = tuple[str, str, int]  # why it is left black, what is odd about it, depth of its samples
Chunk = tuple[bytes, dict[int, Remark]]  # pixels, {index: what is to be said about it}


def decode_chunk(
    blobs: list[bytes], size: int, bits: int, fit: Fit, *, limited: bool = False
) -> Chunk:
    """Decode files to squares of `size` pixels; `limited` if memory that runs out is the file's fault."""
    remarks: dict[int, Remark] = {}
    # One tall sheet: taking the pixels out of Pillow has a price per call.
    sheet = Image.new("RGB", (size, size * len(blobs)))
    for index, data in enumerate(blobs):
        try:
            decoded = decode_picture(data, size, bits, fit)
        except UnreadableError as error:
            remarks[index] = str(error), "", 0
            continue
        except MemoryError:
            if not limited:
                raise
            remarks[index] = f"takes more than {MAX_MEMORY >> 20} MiB of memory", "", 0
            continue
        sheet.paste(decoded.image, (0, size * index))
        if decoded.odd or decoded.depth:
            remarks[index] = "", decoded.odd, decoded.depth
    return sheet.tobytes(), remarks


def _limit_memory() -> None:
    """Bound this process, since a decoder in C may ask for any amount."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = min(each for each in (MAX_MEMORY, soft, hard) if each != resource.RLIM_INFINITY)
        with suppress(ValueError, OSError):  # a system without it
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def serve(lock: str) -> None:
    """Run a worker: decode chunks from standard input to standard output until input ends.

    Args:
        lock: a file that all workers of a pool lock while they decode a large image.
    """
    warnings.simplefilter("ignore")
    _limit_memory()
    pixels.large_lock = FileLock(lock)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a worker for each core already
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not land among the pixels
    with suppress(BrokenPipeError, EOFError):  # the caller has ended
        while True:
            chunk = marshal.load(requests)  # nosec B302
            marshal.dump(decode_chunk(*chunk, limited=True), replies)
            replies.flush()
    os._exit(0)  # without a flush of what can't be sent
