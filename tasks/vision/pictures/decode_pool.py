"""Decode many image files into one array, on every core.

Small images cost mostly Pillow's Python code, which threads can't share. So a large job is decoded
by worker processes: plain interpreters that read files from standard input and write pixels to
standard output. They need no `__main__` guard in the caller's script and hold no shared memory.
"""

from __future__ import annotations

import json
import marshal
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from tasks.vision.pictures.decode_worker import Chunk, decode_chunk
from tasks.vision.pictures.fit import CROP, Fit

PROCESSES_FROM = 2_000  # images; below this, starting processes costs more than it saves

CHUNK_IMAGES = 256
CHUNK_BYTES = 8 * 2**20  # of files or of pixels: what one worker holds at a time

Files = Iterable[tuple[int, bytes | str]]  # row, and the file's bytes or why there are none
Decode = Callable[[list[bytes], int, int, Fit], Chunk]


class Buffer(Protocol):
    """Room for images (N, size, size, 3) uint8: an array, for instance."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __setitem__(self, rows: Any, images: np.ndarray, /) -> None: ...


@dataclass(frozen=True)
class Findings:
    """What decoding has found, by row.

    Attributes:
        failed: why a file can't be decoded. odd: what is odd about one that was decoded.
        depths: how many bits the largest of its 16-bit samples has.
    """

    failed: dict[int, str] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)
    depths: dict[int, int] = field(default_factory=dict)

    def add(self, row: int, fault: str, odd: str, depth: int) -> None:
        """Enter what isn't empty."""
        if fault:
            self.failed[row] = fault
        if odd:
            self.odd[row] = odd
        if depth:
            self.depths[row] = depth


def decode_all(
    files: Files,
    out: Buffer,
    workers: int | None = None,
    bits: int = 16,
    fit: Fit = CROP,
) -> Findings:
    """Decode files into one array: `Decoders.decode` with workers for this call alone."""
    with Decoders(len(out), workers) as decoders:
        return decoders.decode(files, out, bits, fit)


class Decoders:
    """A pool of workers that is reused for several arrays; a context manager.

    Args:
        images: how many there will be in all.
        workers: how many decode at once (default: one per core); they don't change the result.
    """

    def __init__(self, images: int, workers: int | None = None) -> None:
        if workers is None:
            linux = sys.platform == "linux"
            workers = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
        self._workers: list[_Worker] = []
        self._decoders: list[Decode] = [decode_chunk] * max(1, workers)
        if images >= PROCESSES_FROM and workers > 1 and sys.executable:
            self._folder = tempfile.TemporaryDirectory(prefix="relevo-")
            lock = str(Path(self._folder.name) / "large")
            self._workers = [_Worker(lock) for _ in range(workers)]
            self._decoders = [worker.decode for worker in self._workers]

    def decode(self, files: Files, out: Buffer, bits: int = 16, fit: Fit = CROP) -> Findings:
        """Decode files into the rows of `out` (N, size, size, 3) uint8; `bits`, `fit` as for `decode.decode`.

        Files may come in any order; they are read by one thread at a time, a few MiB ahead. A file that
        crashes its worker process fails alone.

        Raises:
            ChildProcessError: a worker was killed. Errors that `files` raises are passed on. After
                either, all workers have ended.
        """
        found = Findings()
        chunks = _chunks(files, out.shape[1], found.failed)
        one_reader = threading.Lock()
        stop = threading.Event()

        def feed(decode_chunk: Decode) -> None:
            while not stop.is_set():
                with one_reader:
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                rows, blobs = chunk
                sheet, remarks = decode_chunk(blobs, out.shape[1], bits, fit)
                out[rows] = np.frombuffer(sheet, np.uint8).reshape(-1, *out.shape[1:])
                for index, (fault, odd, depth) in remarks.items():
                    found.add(rows[index], fault, odd, depth)

        with ThreadPoolExecutor(len(self._decoders), "decode") as pool:
            try:
                for task in as_completed([pool.submit(feed, each) for each in self._decoders]):
                    task.result()
            except BaseException:
                stop.set()
                self.close()  # frees the threads that wait for an answer
                raise
        return found

    def close(self) -> None:
        """Kill the workers."""
        for worker in self._workers:
            worker.close()
        if self._workers:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chunks(
    files: Files, image_size: int, failed: dict[int, str]
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


# Ctrl-C reaches the whole process group; the caller decides what it means.
_START = """\
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
from tasks.vision.pictures.decode_worker import serve
serve(sys.argv[2])
"""
_CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL}  # not of memory


class _Worker:
    """A process that decodes chunks; called from one thread.

    Written by hand: workers of loky and concurrent.futures hold both ends of their pipes, and were
    still alive 36 s after their caller's SIGKILL; these end with their pipe.
    """

    def __init__(self, lock: str) -> None:
        self._lock = lock
        self._start()

    def _start(self) -> None:
        path = [str(Path(__file__).parents[3]), *map(str, sys.path)]  # ours before other `tasks`
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, json.dumps(path), self._lock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )

    def decode(self, blobs: list[bytes], size: int, bits: int, fit: Fit) -> Chunk:
        """As `decode_chunk`. After a crash, halves are tried until the file that causes it is alone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # marshal: plain values only, and the same interpreter at both ends.
        try:
            marshal.dump((blobs, size, bits, fit), self._process.stdin)
            self._process.stdin.flush()
            return marshal.load(self._process.stdout)  # nosec B302
        except (BrokenPipeError, EOFError, ValueError):  # it died, or was closed by another thread
            self.close()
        if self._process.returncode not in _CRASHES:
            raise ChildProcessError(
                f"a process that decodes images ended early (exit status {self._process.returncode});"
                " expected it to live: try again, with fewer workers if memory ran out"
            )
        self._start()
        if len(blobs) == 1:
            return bytes(3 * size**2), {0: ("damaged image (it crashes the decoder)", "", 0)}
        half = len(blobs) // 2
        first, remarks = self.decode(blobs[:half], size, bits, fit)
        second, more = self.decode(blobs[half:], size, bits, fit)
        return first + second, remarks | {half + index: more[index] for index in more}

    def close(self) -> None:
        """Kill the process and close its pipes."""
        self._process.kill()
        with suppress(BrokenPipeError), self._process:  # what wasn't sent yet is dropped
            pass
