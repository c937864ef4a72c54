"""Decode the pictures of a data set into pieces, each of which is stored as soon as it is full.

So what was decoded before a crash, or for an earlier state of the same folder, is not decoded again.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from tasks.vision.data.pieces.make_pieces import PieceMaker, PlannedPiece, find_piece
from tasks.vision.data.pieces.picture_set import Decoded, Decoding, OnReuse, Pictures
from tasks.vision.data.pieces.piece_plan import NONE, EarlierImages, new_pieces
from tasks.vision.data.shards.shards import images_per_shard


def fill_pieces(pictures: Pictures, training: int, how: Decoding) -> Decoded:
    """Decode what is not in a piece yet.

    Cameras and microscopes put 10, 12 or 14 bits into 16, which would be nearly black. So without `how.bits`,
    16-bit samples use as many as the largest of the first `training` pictures.

    Raises:
        BadInput: a file is not what its identity says, or a piece can't be written.
    """
    done = _decoded_before(pictures, how)
    with ExitStack() as stack:
        _complete(done, pictures, how, how.bits or 16, how.on_reuse, stack)
        depths = done.facts("depths")
        done.bits = how.bits or int(depths[:training].max(initial=0)) or 16
        others = np.flatnonzero((depths > 0) & (done.facts("bits") != done.bits))
        if len(others):
            done.rows[others] = NONE
            if pictures.hashed:
                found = EarlierImages(how.earlier, done.bits)
                done.rows[others] = found.rows_of(pictures.identities[others])
            _complete(done, pictures, how, done.bits, lambda reused, count: None, stack)
    return done.of_used_pieces()


def help_fill_pieces(pictures: Pictures, how: Decoding) -> int:
    """Make pieces for another process that calls `fill_pieces`; return how many it made.

    A data set of one piece, or in an archive that is read from its beginning to its end, needs no help.

    Raises:
        BadInput: as for `fill_pieces`.
    """
    done, bits = _decoded_before(pictures, how), how.bits or 16
    plan = _plan(done, pictures, how, bits)
    if plan.in_order or len(plan.missing) < 2:
        return 0
    with ExitStack() as stack:
        maker = PieceMaker(plan.missing, done, pictures, how, stack, in_order=False)
        return len(maker.make(bits, wait=False))


def _decoded_before(pictures: Pictures, how: Decoding) -> Decoded:
    done = Decoded(list(how.earlier), np.full(len(pictures.paths), NONE, np.int64))
    if pictures.hashed:
        done.rows = EarlierImages(how.earlier).rows_of(pictures.identities)
    return done


class _Plan(NamedTuple):
    """New pieces, and whether their files must be read in one pass."""

    pieces: list[PlannedPiece]
    in_order: bool

    @property
    def missing(self) -> list[PlannedPiece]:
        """The pieces that are not stored yet."""
        return [each for each in self.pieces if not each.found]


def _complete(
    done: Decoded,
    pictures: Pictures,
    how: Decoding,
    bits: int,
    on_reuse: OnReuse,
    stack: ExitStack,
) -> None:
    """Make an image of each picture that has none and has not failed."""
    plan = _plan(done, pictures, how, bits)
    missing, count = plan.missing, len(done.rows)
    if reused := count - sum(len(each.decoded) for each in missing):
        on_reuse(reused, count)
    made = {}
    if missing:
        maker = PieceMaker(missing, done, pictures, how, stack, in_order=plan.in_order)
        made = maker.make(bits)
    new = iter(range(len(missing)))
    for each in plan.pieces:
        if each.found:
            done.enter(each.rows, dict(each.found.note.failed), each.found)
        else:
            piece, failed = made[next(new)]
            done.enter(each.rows, failed, piece)


def _plan(done: Decoded, pictures: Pictures, how: Decoding, bits: int) -> _Plan:
    order = pictures.container.reading_order(pictures.paths)
    wanted = np.array(order, np.int64) if order else np.arange(len(done.rows))
    wanted = wanted[~np.isin(wanted, list(done.failed))]
    new = new_pieces(done.rows, done.images.starts, wanted, images_per_shard(how.image_size))
    return _Plan([_planned(done, pictures, how, rows, bits) for rows in new], bool(order))


def _planned(
    done: Decoded, pictures: Pictures, how: Decoding, rows: np.ndarray, bits: int
) -> PlannedPiece:
    copied = int((done.rows[rows] != NONE).sum())
    as_bits = np.concatenate([done.facts("bits")[rows[:copied]], np.full(len(rows) - copied, bits)])
    named = np.column_stack([pictures.identities[rows], as_bits.astype(np.uint8)])
    key = hashlib.sha256(named.tobytes()).hexdigest()
    planned = PlannedPiece(rows, copied, key, None)
    return planned._replace(found=find_piece(planned, pictures, how))
