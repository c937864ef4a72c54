"""Make pieces of a data set: copy the images that are there, decode the others, and store each as it is full.

Processes that share a store share the work: each makes pieces that no other has begun, and in the end waits
for those that others still make.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.vision.data.pieces.new_piece import Filled, store_piece, unwritable
from tasks.vision.data.pieces.picture_set import Decoded, Decoding, Pictures, changed
from tasks.vision.data.pieces.pieces import Piece, PieceImages
from tasks.vision.data.shards.shard_files import ShardFiles
from tasks.vision.data.shards.stored_images import StoredImages
from tasks.vision.files.image_files import content_hash
from tasks.vision.pictures.decode_pool import Decoders, Files


class PlannedPiece(NamedTuple):
    """A new piece.

    Attributes:
        rows: (n,) its pictures, of which the first `copied` have an image, and the others are decoded.
        key: under which it is stored. found: the piece, if it is there.
    """

    rows: np.ndarray
    copied: int
    key: str
    found: Piece | None

    @property
    def decoded(self) -> np.ndarray:
        """The pictures that are decoded."""
        return self.rows[self.copied :]


class MadePiece(NamedTuple):
    """A piece, None if all its pictures failed; and why pictures did, by their position among its own."""

    piece: Piece | None
    failed: dict[int, str]


def find_piece(planned: PlannedPiece, pictures: Pictures, how: Decoding) -> Piece | None:
    """Return the stored piece of these pictures, if there is one."""
    found, rows = how.store.find(planned.key, how.image_size), planned.rows
    if not found:
        return None
    # The key says so, unless it is forged.
    failed = [at for at, _ in found.note.failed if at < len(rows)]
    good = np.delete(rows, failed)
    if len(failed) < len(found.note.failed) or len(good) != found.shard.count:
        return None
    same = np.array_equal(found.facts.contents, pictures.identities[good])
    return found if same or not pictures.hashed else None


class PieceMaker:
    """Makes new pieces; while one is stored, the next is decoded.

    Args:
        missing: the pieces to make. done: what there was before, of which images are copied.
        in_order: the container is read once, from its beginning to its end, so the work is not shared.
    """

    def __init__(
        self,
        missing: Sequence[PlannedPiece],
        done: Decoded,
        pictures: Pictures,
        how: Decoding,
        stack: ExitStack,
        *,
        in_order: bool,
    ) -> None:
        self._missing, self._pictures, self._how, self._stack = missing, pictures, how, stack
        try:
            folder = tempfile.TemporaryDirectory(prefix="relevo-")
        except OSError as error:
            raise unwritable(Path(tempfile.gettempdir()), error) from None
        self._folder = Path(stack.enter_context(folder))
        self._finisher = stack.enter_context(ThreadPoolExecutor(1, "store"))
        images = sum(len(each.decoded) for each in missing)
        self._decoders = stack.enter_context(Decoders(images, how.workers))
        self._shared = len(missing) > 1 and not in_order
        self._files = None if self._shared else self._read_in_order()
        self._before = _Before(done, how)
        self._made: dict[int, MadePiece] = {}
        self._storing: _Storing | None = None

    def make(self, bits: int, *, wait: bool = True) -> dict[int, MadePiece]:
        """Return the pieces by their number in `missing`.

        Args:
            bits: how many of 16-bit samples are used.
            wait: for pieces that other processes make; else they are left out.
        """
        if self._shared:
            self._how.store.finish()  # others look for what is stored
            self._how.on_share(len(self._missing))
        numbers = range(len(self._missing))
        busy = [number for number in numbers if not self._start(number, bits, wait=False)]
        self._finish()  # else two processes could wait for each other
        for number in busy if wait else ():
            self._start(number, bits, wait=True)
            self._finish()
        return self._made

    def _start(self, number: int, bits: int, *, wait: bool) -> bool:
        """Make a piece and begin to store it; False if another process makes it."""
        planned, how = self._missing[number], self._how
        claim = self._stack.enter_context(ExitStack())
        if self._shared:
            if not claim.enter_context(how.store.claim(planned.key, wait=wait)):
                return False
            if found := find_piece(planned, self._pictures, how):
                self._made[number] = MadePiece(found, dict(found.note.failed))
                claim.close()
                return True
        filled = self._fill(planned, bits)
        self._finish()  # so that two are in memory at most
        future = self._finisher.submit(store_piece, filled, planned.key, self._folder, how.store)
        self._storing = _Storing(number, filled.failed, future, claim)
        return True

    def _finish(self) -> None:
        """Wait until the last piece is stored."""
        if self._storing:
            number, failed, future, claim = self._storing
            self._made[number] = MadePiece(future.result(), failed)
            claim.close()
            self._storing = None

    def _read_in_order(self) -> Iterator[Files]:
        """Yield the files of each piece with their positions in it, from one pass through the container."""
        container, paths = self._pictures.container, self._pictures.paths
        wanted = [paths[row] for each in self._missing for row in each.decoded]
        all_files = container.read(wanted)
        first = 0
        for each in self._missing:
            begin, count = first, len(each.decoded)
            yield ((at - begin, data) for at, data in islice(all_files, count))
            first += count

    def _files_of(self, planned: PlannedPiece) -> Files:
        if self._files is not None:
            return next(self._files)
        paths = self._pictures.paths
        return self._pictures.container.read([paths[row] for row in planned.decoded])

    def _fill(self, planned: PlannedPiece, bits: int) -> Filled:
        """Copy and decode the images of a piece."""
        how, copied = self._how, planned.copied
        filled = Filled.empty(len(planned.rows), how.image_size)
        self._before.copy(planned.rows[:copied], filled)
        files = self._hashed(planned.decoded, self._files_of(planned), filled.contents[copied:])
        found = self._decoders.decode(files, filled.images[copied:], bits, how.fit)
        self._pictures.check()
        filled.failed.update({copied + at: why for at, why in found.failed.items()})
        filled.odd.update({copied + at: why for at, why in found.odd.items()})
        for at, depth in found.depths.items():
            filled.depths[copied + at], filled.bits[copied + at] = depth, bits
        return filled

    def _hashed(self, rows: np.ndarray, files: Files, contents: np.ndarray) -> Files:
        """Pass files on, and note their hashes in `contents`.

        Raises:
            BadInput: a file has changed since it was hashed.
        """
        pictures = self._pictures
        for at, data in files:
            found = np.frombuffer(content_hash(data), np.uint8)
            if pictures.hashed and not np.array_equal(found, pictures.identities[rows[at]]):
                pictures.forget()
                raise changed(pictures.container.given)
            contents[at] = found
            yield at, data


class _Storing(NamedTuple):
    """A piece that is being stored: its number, the pictures that failed, and the claim to give up then."""

    number: int
    failed: dict[int, str]
    piece: Future[Piece | None]
    claim: ExitStack


class _Before:
    """The images that pictures had when new pieces were planned."""

    def __init__(self, done: Decoded, how: Decoding) -> None:
        self._images = PieceImages(tuple(done.pieces), done.rows.copy())
        shards = tuple(piece.shard for piece in done.pieces)
        self._files = ShardFiles(shards, how.image_size, how.store.shard_path)

    def copy(self, pictures: np.ndarray, filled: Filled) -> None:
        """Copy the images of some pictures, and what is known of them, to the first places."""
        if not len(pictures):
            return
        images = self._images.select(pictures)
        rows = images.rows
        filled.images[: len(rows)] = StoredImages(self._files, rows)[:]
        for name in ("contents", "depths", "bits"):
            getattr(filled, name)[: len(rows)] = images.facts(name)
        odd = self._images.odd
        filled.odd.update({at: odd[row] for at, row in enumerate(rows.tolist()) if row in odd})
