"""Shards as they are read: opened ahead of their use, within the room that this machine has for copies.

Opening one fetches it from a bucket, or checks its hash. While images are read in a known order, a thread
does so for the next shards; its errors are raised where the shard is used.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from tasks.vision.data.shards.shard_pass import ShardPass
from tasks.vision.data.shards.shards import MAX_SHARD_HEADER, Shard, TensorEntry
from tasks.vision.errors import BadInput

MOST_OPEN = 64  # files that stay open though no pass needs them
STOPPING = 5.0  # seconds to wait for a thread that fetches, which may be waiting for a server


@dataclass(frozen=True)
class Room:
    """A bound for copies of shards on this machine.

    Attributes:
        size: in bytes. release: says that a copy is no longer in use here, so that it goes first.
    """

    size: int
    release: Callable[[Shard], None]


class ShardFiles:
    """The files of some shards. Several threads may read.

    Args:
        side: pixels per side of the images. locate: returns the path of a shard's file, and may fetch it.
        room: for such files; None for any number.
    """

    def __init__(
        self,
        shards: tuple[Shard, ...],
        side: int,
        locate: Callable[[Shard], Path],
        room: Room | None = None,
    ) -> None:
        self.shards, self.side, self._locate, self._room = shards, side, locate, room
        self._open: OrderedDict[int, _OpenFile] = OrderedDict()
        self._opening: dict[int, Future[_OpenFile]] = {}  # and those that a thread failed to open
        self._pass: ShardPass | None = None
        self._changed = threading.Condition()

    def read(self, number: int, first: int, out: np.ndarray) -> None:
        """Fill `out`, (m, side, side, 3) uint8, with the images of a shard from its row `first` on.

        Raises:
            BadInput: the file isn't the shard that the index names.
        """
        file = self._file(number)
        view, offset = out.reshape(-1).data, file.begin + first * self.side**2 * 3
        while view:
            read = os.preadv(file.descriptor, [view], offset)
            if not read:
                raise self._unlike(self.shards[number])
            view, offset = view[read:], offset + read
        with self._changed:
            if self._pass:
                self._pass.count(number, len(out))
                if self._room and number in self._open and not self._pass.needs(number):
                    self._close(number, self._room)
                self._changed.notify_all()

    @contextmanager
    def in_order(self, numbers: np.ndarray) -> Iterator[None]:
        """Open shards in the background while images are read in this order.

        Args:
            numbers: (n,) the shard of each image.

        Raises:
            BadInput: more shards are needed at a time than there is room for.
        """
        if self._pass or not len(numbers):  # the outer order counts
            yield
            return
        order = ShardPass(numbers, [shard.size for shard in self.shards])
        if self._room:
            order.check_room(self._room.size)
        self._pass = order
        thread = threading.Thread(target=self._open_ahead, args=[order], name="shards", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._pass = None
                failed = [number for number, each in self._opening.items() if each.done()]
                for number in failed:
                    del self._opening[number]
                if self._room:
                    for number in list(self._open):
                        self._close(number, self._room)
                else:
                    self._close_unused()
                self._changed.notify_all()
            thread.join(STOPPING)

    def _open_ahead(self, order: ShardPass) -> None:
        for number in order.shards:
            with self._changed:
                while self._pass is order and not self._may_open(order, number):
                    self._changed.wait()
                if self._pass is not order:
                    return
                if not order.needs(number):
                    continue
            try:
                self._file(number, ahead=True)
            except BaseException:  # raised again where the shard is used
                return
            with self._changed:
                if self._room and self._pass is not order and number in self._open:
                    self._close(number, self._room)  # it came too late

    def _may_open(self, order: ShardPass, number: int) -> bool:
        return order.is_near(number) and self._fits(self.shards[number].size)

    def _fits(self, more: int = 0) -> bool:
        """Whether there is room for the open files, and for `more` bytes."""
        if not self._room:
            return True
        held = sum(self.shards[number].size for number in {*self._open, *self._opening})
        return not held or held + more <= self._room.size

    def _file(self, number: int, *, ahead: bool = False) -> _OpenFile:
        with self._changed:
            if found := self._open.get(number):
                self._open.move_to_end(number)
                return found
            opening = self._opening.get(number)
            if not opening:
                own = self._opening[number] = Future()
        if opening:
            try:
                return opening.result()
            except BaseException:
                with self._changed:  # so that the next to ask tries again
                    self._opening.pop(number, None)
                raise
        try:
            found = self._opened(self.shards[number])
        except BaseException as error:
            with self._changed:
                if not ahead or not self._pass:
                    self._opening.pop(number, None)
                own.set_exception(error)
            raise
        with self._changed:
            del self._opening[number]
            self._open[number] = found
            self._close_unused()
            own.set_result(found)
        return found

    def _close_unused(self) -> None:
        """Close files that no pass needs while there are too many, those used last excepted."""
        for number in list(self._open)[:-1]:
            if self._fits() if self._room else len(self._open) <= MOST_OPEN:
                return
            if not (self._pass and self._pass.needs(number)):
                self._close(number, self._room)

    def _close(self, number: int, room: Room | None) -> None:
        del self._open[number]
        if room:
            room.release(self.shards[number])

    def _opened(self, shard: Shard) -> _OpenFile:
        try:
            file = _OpenFile(self._locate(shard))
        except FileNotFoundError:  # another process made room in the cache of copies
            file = _OpenFile(self._locate(shard))
        try:
            length = int.from_bytes(os.pread(file.descriptor, 8, 0), "little")
            header = os.pread(file.descriptor, min(length, MAX_SHARD_HEADER), 8)
            images = _Header.model_validate(json.loads(header)).images
            shape, (first, end) = [shard.count, self.side, self.side, 3], images.data_offsets
            size = os.fstat(file.descriptor).st_size
            whole = first == 0 and end == math.prod(shape) == size - 8 - length
            if images.dtype != "U8" or images.shape != shape or not whole:
                raise ValueError("another file")
        except (ValueError, RecursionError):
            raise self._unlike(shard) from None
        file.begin = 8 + length
        return file

    @staticmethod
    def _unlike(shard: Shard) -> BadInput:
        return BadInput(
            f"shard {shard.file}: it doesn't hold {shard.count} images; prepare the data set again"
        )


class _OpenFile:
    """A file that is closed once nobody reads it any longer; its images begin at byte `begin`."""

    def __init__(self, path: Path) -> None:
        self.descriptor, self.begin = -1, 0
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class _Header(BaseModel):
    """The header of a shard's file."""

    images: TensorEntry
