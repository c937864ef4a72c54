"""Image files to square RGB uint8 arrays: one file, or many at once on every core.

Small images cost mostly Pillow's Python code, which threads can't share. So a large job is decoded
by worker processes: plain interpreters that import this module, take files on standard input and
give pixels on standard output. They need no `__main__` guard in the caller's script, hold no shared
memory, and end by themselves when their pipe closes, however the caller ends.
"""

import io
import json
import os
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as ExifTag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 100_000_000
PROCESSES_FROM = 2_000  # images; below this, starting processes costs more than it saves

CHUNK_IMAGES = 256
CHUNK_BYTES = 8 * 2**20  # of files or of pixels: what one worker holds at a time

_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_MODES = {
    b"IHDR\x08\x00\0\0\0IDAT": "L",
    b"IHDR\x08\x02\0\0\0IDAT": "RGB",
}

# Named readers only: Pillow's own search also offers formats that start other programs (EPS).
_READERS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (_PNG, PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"RIFF", WebPImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    *((magic, TiffImageFile) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableError(ValueError):
    """One file isn't an image that can be decoded; the message is the reason, in one line."""


def decode(data: bytes, image_size: int) -> np.ndarray:
    """One image file as (image_size, image_size, 3) uint8 RGB: upright, on white, centre square.

    An image that already has this size keeps its pixels. Raises `UnreadableError` for other files.
    """
    return np.array(_picture(data, image_size))


def fit(image: Image.Image, image_size: int) -> Image.Image:
    """The centre square of an image, `image_size` pixels a side; unchanged if that is its size."""
    if image.size == (image_size, image_size):
        return image
    return ImageOps.fit(image, (image_size, image_size), Image.Resampling.LANCZOS)


def decode_all(
    files: Iterable[tuple[int, bytes | str]], out: np.ndarray, workers: int | None = None
) -> dict[int, str]:
    """Decode files into the rows of `out` (N, size, size, 3) uint8; returns {row: why it wasn't}.

    `files` gives rows with the file's bytes, or the reason why there are none, in any order. It is
    read by one thread at a time, a few MiB ahead. `workers` (default: one per core) doesn't change
    the result. Raises `ChildProcessError` if a worker is killed, and whatever `files` raises.
    """
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    failed: dict[int, str] = {}
    chunks = _chunks(files, out.shape[1], failed)
    turn = threading.Lock()
    stop = threading.Event()

    def feed(decode_chunk: "_Decoder") -> None:
        while not stop.is_set():
            with turn:
                chunk = next(chunks, None)
            if chunk is None:
                return
            rows, blobs = chunk
            first, last = rows[0], rows[-1]
            in_place = rows == list(range(first, last + 1))
            target = out[first : last + 1] if in_place else np.empty_like(out[: len(rows)])
            reasons = decode_chunk(blobs, target)
            if not in_place:
                out[rows] = target
            failed.update({rows[index]: reason for index, reason in reasons.items()})

    with ExitStack() as stack:
        decoders: list[_Decoder] = [_decode_chunk] * max(1, workers)
        if len(out) >= PROCESSES_FROM and workers > 1 and sys.executable:
            decoders = [stack.enter_context(_Worker()) for _ in range(workers)]
        pool = stack.enter_context(ThreadPoolExecutor(len(decoders), "decode"))
        try:
            for task in as_completed([pool.submit(feed, decoder) for decoder in decoders]):
                task.result()
        finally:
            stop.set()
            for decoder in decoders:
                if isinstance(decoder, _Worker):
                    decoder.stop()  # frees the threads that wait for its answer
    return failed


_Decoder = Callable[[list[bytes], np.ndarray], dict[int, str]]


def _chunks(
    files: Iterable[tuple[int, bytes | str]], image_size: int, failed: dict[int, str]
) -> Iterator[tuple[list[int], list[bytes]]]:
    most = min(CHUNK_IMAGES, max(1, CHUNK_BYTES // (3 * image_size**2)))
    rows: list[int] = []
    blobs: list[bytes] = []
    held = 0
    for row, data in files:
        if isinstance(data, str):
            failed[row] = data
            continue
        rows.append(row)
        blobs.append(data)
        held += len(data)
        if len(rows) == most or held >= CHUNK_BYTES:
            yield rows, blobs
            rows, blobs, held = [], [], 0
    if rows:
        yield rows, blobs


def _decode_chunk(blobs: list[bytes], out: np.ndarray) -> dict[int, str]:
    """Decode into `out` (N, size, size, 3); returns {index: why it is left black}."""
    count, size = out.shape[:2]
    reasons = {}
    # One tall sheet: taking the pixels out of Pillow has a price per call.
    sheet = Image.new("RGB", (size, size * count))
    for index, data in enumerate(blobs):
        try:
            sheet.paste(_picture(data, size), (0, size * index))
        except UnreadableError as error:
            reasons[index] = str(error)
    out[:] = np.asarray(sheet).reshape(out.shape)
    return reasons


def _picture(data: bytes, image_size: int) -> Image.Image:
    try:
        source = _plain_png(data) or _open(data, image_size)
        source.load()
        return fit(_upright(_rgb(source), source), image_size)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(f"damaged image ({reason})") from error


def _open(data: bytes, image_size: int) -> Image.Image:
    reader = next((reader for magic, reader in _READERS if data.startswith(magic)), None)
    if reader is None:
        raise UnreadableError(f"not an image ({len(data)} bytes)")
    image = reader(io.BytesIO(data))
    width, height = image.size
    if width * height > MAX_PIXELS:  # the header alone has been read
        raise UnreadableError(f"{width} x {height} pixels, more than {MAX_PIXELS}")
    if min(width, height) >= 8 * image_size and isinstance(image, JpegImageFile):
        # libjpeg can scale while it decodes: far faster, and still 4 pixels for each one kept.
        image.draft(None, (4 * image_size, 4 * image_size))
    return image


def _plain_png(data: bytes) -> Image.Image | None:
    """The image in an 8-bit PNG of three chunks (IHDR, IDAT, IEND); None for all others.

    Pillow's own reader spends a third of the time for a small image on its chunks.
    """
    mode = _PLAIN_MODES.get(data[12:16] + data[24:29] + data[37:41])
    if mode is None or not data.startswith(_PNG):
        return None
    width, height, idat = (int.from_bytes(data[at : at + 4]) for at in (16, 20, 33))
    if not 0 < width * height <= MAX_PIXELS or data[45 + idat : 53 + idat] != b"\0\0\0\0IEND":
        return None
    try:
        return Image.frombytes(mode, (width, height), data[41 : 41 + idat], "zip", (mode, 0))
    except ValueError:  # damaged: Pillow's reader will say how
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        # Pillow would clip at 255 and give a white picture.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableError("32-bit samples, whose white is unknown")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    if not source.info:  # neither EXIF nor XMP; getexif alone would cost a twentieth of the time
        return image
    try:
        turn = _UPRIGHT.get(source.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # a broken EXIF block says nothing; the pixels are whole
        return image
    return image if turn is None else image.transpose(turn)


# Ctrl-C reaches the whole process group; the caller decides what it means.
_START = """\
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
from tasks.vision.decoding import serve
serve()
"""
_REQUEST = struct.Struct("<II")  # images, image size; then the files' lengths (uint64), the files
_REPLY = struct.Struct("<Q")  # length of a JSON object {index: reason}; then that, all pixels


class _Worker:
    """A process that decodes chunks; called from one thread."""

    def __init__(self) -> None:
        path = [*map(str, sys.path), str(Path(__file__).parents[2])]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def __call__(self, blobs: list[bytes], out: np.ndarray) -> dict[int, str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(_REQUEST.pack(len(blobs), out.shape[1]))
            stdin.write(np.array([len(blob) for blob in blobs], "<u8").tobytes())
            stdin.write(b"".join(blobs))
            stdin.flush()
            header = stdout.read(_REPLY.size)
            if len(header) == _REPLY.size:
                reasons = json.loads(stdout.read(*_REPLY.unpack(header)) or "{}")
                if stdout.readinto(out.data.cast("B")) == out.nbytes:  # type: ignore[attr-defined]
                    return {int(index): reason for index, reason in reasons.items()}
        except (BrokenPipeError, ValueError):  # it died, or was stopped from another thread
            pass
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            self.stop()
            status = self._process.returncode
        raise ChildProcessError(
            f"a process that decodes images ended early (exit status {status}); expected it to"
            " live: try again, with fewer workers if memory ran out"
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # what was still to be sent has nowhere to go
                pipe.close()


def serve() -> None:
    """Decode chunks from standard input to standard output until input ends: a worker's life."""
    warnings.simplefilter("ignore")
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # a stray print must not land among the pixels
    try:
        while len(header := requests.read(_REQUEST.size)) == _REQUEST.size:
            count, image_size = _REQUEST.unpack(header)
            lengths = np.frombuffer(_exactly(requests, 8 * count), "<u8")
            blobs = [_exactly(requests, length) for length in lengths.tolist()]
            pixels = np.empty((count, image_size, image_size, 3), np.uint8)
            reasons = json.dumps(_decode_chunk(blobs, pixels)).encode()
            replies.write(_REPLY.pack(len(reasons)))
            replies.write(reasons)
            replies.write(pixels.data)
            replies.flush()
    except (BrokenPipeError, EOFError):
        os._exit(0)  # the caller is gone: there is nobody to tell


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data
