"""Many image files to rows of one array: on every core, by processes of their own if they are many.

Small images cost mostly Pillow's Python code, which threads can't share. So a large job is decoded
by worker processes: plain interpreters that import this module, take files on standard input and
give pixels on standard output. They need no `__main__` guard in the caller's script, hold no shared
memory, and end by themselves when their pipe closes, however the caller ends.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from PIL import Image

from tasks.vision.data.decode import UnreadableError, picture

PROCESSES_FROM = 2_000  # images; below this, starting processes costs more than it saves

CHUNK_IMAGES = 256
CHUNK_BYTES = 8 * 2**20  # of files or of pixels: what one worker holds at a time


def decode_all(
    files: Iterable[tuple[int, bytes | str]], out: np.ndarray, workers: int | None = None
) -> dict[int, str]:
    """Decode files into the rows of `out` (N, size, size, 3) uint8; returns {row: why it wasn't}.

    As `Decoders.decode`, for one array alone.
    """
    with Decoders(len(out), workers) as decoders:
        return decoders.decode(files, out)


class Decoders:
    """Workers that stay from one array to the next, since starting them costs; a context manager.

    Args:
        images: how many there will be in all.
        workers: how many decode at once (default: one per core); they don't change the result.
    """

    def __init__(self, images: int, workers: int | None = None) -> None:
        if workers is None:
            linux = sys.platform == "linux"
            workers = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
        self._processes: list[_Worker] = []
        self._decoders: Sequence[_Decoder] = [_decode_chunk] * max(1, workers)
        if images >= PROCESSES_FROM and workers > 1 and sys.executable:
            self._processes = [_Worker() for _ in range(workers)]
            self._decoders = self._processes

    def decode(self, files: Iterable[tuple[int, bytes | str]], out: np.ndarray) -> dict[int, str]:
        """Decode files into the rows of `out` (N, size, size, 3) uint8; returns {row: why it wasn't}.

        `files` gives rows with the file's bytes, or the reason why there are none, in any order. It is
        read by one thread at a time, a few MiB ahead. Raises `ChildProcessError` if a worker is killed,
        and whatever `files` raises; the workers are gone then.
        """
        failed: dict[int, str] = {}
        chunks = _chunks(files, out.shape[1], failed)
        turn = threading.Lock()
        stop = threading.Event()

        def feed(decode_chunk: _Decoder) -> None:
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

        with ThreadPoolExecutor(len(self._decoders), "decode") as pool:
            try:
                for task in as_completed([pool.submit(feed, each) for each in self._decoders]):
                    task.result()
            except BaseException:
                stop.set()
                self.close()  # frees the threads that wait for an answer
                raise
        return failed

    def close(self) -> None:
        """End the workers, whatever they are at."""
        for process in self._processes:
            process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.close()


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
            sheet.paste(picture(data, size), (0, size * index))
        except UnreadableError as error:
            reasons[index] = str(error)
    out[:] = np.asarray(sheet).reshape(out.shape)
    return reasons


# Ctrl-C reaches the whole process group; the caller decides what it means.
_START = """\
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
from tasks.vision.data.decode_pool import serve
serve()
"""
_REQUEST = struct.Struct("<II")  # images, image size; then the files' lengths (uint64), the files
_REPLY = struct.Struct("<Q")  # length of a JSON object {index: reason}; then that, all pixels


class _Worker:
    """A process that decodes chunks; called from one thread."""

    def __init__(self) -> None:
        path = [*map(str, sys.path), str(Path(__file__).parents[3])]
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

    def close(self) -> None:
        """Stop, and let go of the pipes."""
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
