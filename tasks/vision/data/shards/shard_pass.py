"""One pass over images in a known order: which shards come next, and which are no longer needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.vision.errors import BadInput

AHEAD = (
    4  # shards that are opened before their use; as many as are in use at a time, if those are more
)
GB = 1e9


class ShardPass:
    """Counts the images that are read in a pass.

    Args:
        numbers: (n,) the shard of each image, in the order in which images are read; n > 0.
        sizes: bytes of every shard.

    Attributes:
        shards: their numbers, in the order of their first use.
    """

    def __init__(self, numbers: np.ndarray, sizes: Sequence[int]) -> None:
        found, first, counts = np.unique(numbers, return_index=True, return_counts=True)
        last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]
        self.shards: list[int] = found[np.argsort(first)].tolist()
        self._place = {number: place for place, number in enumerate(self.shards)}
        self._left = dict(zip(found.tolist(), counts.tolist(), strict=True))
        self._begun = set[int]()
        size = np.array(sizes, np.int64)[found]
        # Where the last image of a shard is followed by the first of another, that one is closed before.
        order = np.argsort(np.concatenate([last + 1, first]), kind="stable")
        together = np.concatenate([-np.ones_like(size), np.ones_like(size)])[order].cumsum().max()
        self._ahead = max(AHEAD, int(together))
        self._most = int(np.concatenate([-size, size])[order].cumsum().max())
        self._largest = int(size.max())

    def count(self, number: int, images: int) -> None:
        """Note that images of a shard were read."""
        if number in self._left:
            self._begun.add(number)
            self._left[number] -= images

    def needs(self, number: int) -> bool:
        """Whether images of a shard are yet to be read."""
        return self._left.get(number, 0) > 0

    def is_near(self, number: int) -> bool:
        """Whether a shard is used soon."""
        return self._place[number] < len(self._begun) + self._ahead

    def check_room(self, room: int) -> None:
        """Check that shards are fetched once: that those in use at a time, if several, fit `room` bytes.

        Raises:
            BadInput: they don't.
        """
        if self._most > max(room, self._largest):
            # With room for twice as much, the next ones are fetched while these are used.
            raise BadInput(
                f"{self._most / GB:.3g} GB of images are shuffled at a time, more than the {room / GB:.3g} GB "
                f"that RELEVO_BLOB_CACHE_GB allows here; set it to {2 * self._most / GB:.2g}, or "
                f"data.window_gb to {room / 2 / GB:.2g}"
            )
