"""Decode the pictures of a data set into pieces, each of which is stored as soon as it is full.

So what was decoded before a crash, or for an earlier state of the same folder, is not decoded again.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tasks.vision.data.pieces.new_piece import Filled, store_piece, unwritable
from tasks.vision.data.pieces.picture_set import Decoded, Decoding, OnReuse, Pictures, changed
from tasks.vision.data.pieces.piece_plan import NONE, EarlierImages, new_pieces
from tasks.vision.data.pieces.pieces import Piece, PieceImages
from tasks.vision.data.shards.shard_files import ShardFiles
from tasks.vision.data.shards.shards import images_per_shard
from tasks.vision.data.shards.stored_images import StoredImages
from tasks.vision.files.image_files import content_hash
from tasks.vision.pictures.decode_pool import Decoders, Files


def fill_pieces(pictures: Pictures, training: int, how: Decoding) -> Decoded:
    """Decode what is not in a piece yet.

    Cameras and microscopes put 10, 12 or 14 bits into 16, which would be nearly black. So without `how.bits`,
    16-bit samples use as many as the largest of the first `training` pictures.

    Raises:
        BadInput: a file is not what its identity says, or a piece can't be written.
    """
    done = Decoded(list(how.earlier), np.full(len(pictures.paths), NONE, np.int64))
    if pictures.hashed:
        done.rows = EarlierImages(how.earlier).rows_of(pictures.identities)
    with ExitStack() as stack:
        work = _Work(pictures, how, stack)
        work.complete(done, how.bits or 16, how.on_reuse)
        depths = done.facts("depths")
        done.bits = how.bits or int(depths[:training].max(initial=0)) or 16
        others = np.flatnonzero((depths > 0) & (done.facts("bits") != done.bits))
        if len(others):
            done.rows[others] = NONE
            if pictures.hashed:
                found = EarlierImages(how.earlier, done.bits)
                done.rows[others] = found.rows_of(pictures.identities[others])
            work.complete(done, done.bits, lambda reused, count: None)
    return done.of_used_pieces()


class _Planned(NamedTuple):
    """A new piece: its pictures, of which the first are copied and the others decoded; and if it is there."""

    rows: np.ndarray
    copied: int
    key: str
    found: Piece | None


class _Work:
    """Makes new pieces; while one is stored, the next is decoded."""

    def __init__(self, pictures: Pictures, how: Decoding, stack: ExitStack) -> None:
        self._pictures, self._how, self._stack = pictures, how, stack
        try:
            folder = tempfile.TemporaryDirectory(prefix="relevo-")
        except OSError as error:
            raise unwritable(Path(tempfile.gettempdir()), error) from None
        self._folder = Path(stack.enter_context(folder))
        self._finisher = stack.enter_context(ThreadPoolExecutor(1, "store"))

    def complete(self, done: Decoded, bits: int, on_reuse: OnReuse) -> None:
        """Make an image of each picture that has none and has not failed."""
        how, count = self._how, len(done.rows)
        order = self._pictures.container.reading_order(self._pictures.paths)
        wanted = np.array(order, np.int64) if order else np.arange(count)
        wanted = wanted[~np.isin(wanted, list(done.failed))]
        new = new_pieces(done.rows, done.images.starts, wanted, images_per_shard(how.image_size))
        planned = [self._planned(done, rows, bits) for rows in new]
        missing = [each.rows[each.copied :] for each in planned if not each.found]
        if reused := count - sum(map(len, missing)):
            on_reuse(reused, count)
        if not missing:
            decoders = None
        else:
            decoders = self._stack.enter_context(Decoders(sum(map(len, missing)), how.workers))
        before = _Before(done, how)
        files = self._files(missing, at_once=bool(order))
        made: list[tuple[_Planned, dict[int, str], Future[Piece | None] | None]] = []
        for each in planned:
            if each.found:
                made.append((each, dict(each.found.note.failed), None))
                continue
            assert decoders
            filled = self._filled(each, before, next(files), decoders, bits)
            if made and (storing := made[-1][2]):
                storing.result()  # so that two are in memory at most
            future = self._finisher.submit(store_piece, filled, each.key, self._folder, how.store)
            made.append((each, filled.failed, future))
        for each, failed, stored in made:
            done.enter(each.rows, failed, stored.result() if stored else each.found)

    def _planned(self, done: Decoded, rows: np.ndarray, bits: int) -> _Planned:
        pictures, how = self._pictures, self._how
        copied = int((done.rows[rows] != NONE).sum())
        as_bits = np.concatenate(
            [done.facts("bits")[rows[:copied]], np.full(len(rows) - copied, bits)]
        )
        named = np.column_stack([pictures.identities[rows], as_bits.astype(np.uint8)])
        key = hashlib.sha256(named.tobytes()).hexdigest()
        found = how.store.find(key, how.image_size)
        if found and not self._is_of(found, rows):
            found = None
        return _Planned(rows, copied, key, found)

    def _is_of(self, piece: Piece, rows: np.ndarray) -> bool:
        """Whether a piece has the images of these pictures; the key says so, unless it is forged."""
        failed = [at for at, _ in piece.note.failed if at < len(rows)]
        good = np.delete(rows, failed)
        if len(failed) < len(piece.note.failed) or len(good) != piece.shard.count:
            return False
        identities = self._pictures.identities[good]
        return not self._pictures.hashed or np.array_equal(piece.facts.contents, identities)

    def _files(self, missing: list[np.ndarray], *, at_once: bool) -> Iterator[Files]:
        """Yield the files of each new piece, to be read one after the other; with their positions."""
        container, paths = self._pictures.container, self._pictures.paths
        if at_once:
            all_files = container.read([paths[row] for rows in missing for row in rows])
            first = 0
            for rows in missing:
                begin = first
                yield ((at - begin, data) for at, data in islice(all_files, len(rows)))
                first += len(rows)
        else:
            for rows in missing:
                yield container.read([paths[row] for row in rows])

    def _filled(
        self, each: _Planned, before: _Before, files: Files, decoders: Decoders, bits: int
    ) -> Filled:
        """Copy and decode the images of a piece."""
        how, copied = self._how, each.copied
        filled = Filled.empty(len(each.rows), how.image_size)
        before.copy(each.rows[:copied], filled)
        new = filled.images[copied:]
        found = decoders.decode(
            self._hashed(each.rows[copied:], files, filled.contents[copied:]), new, bits, how.fit
        )
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
