"""The machines of one training: plain data, known before TensorFlow is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    """Machines that share each batch.

    Attributes:
        addresses: HOST:PORT of each, in the order of their parts. index: of this one among them.
    """

    addresses: tuple[str, ...]
    index: int


def share(count: int, index: int, machines: int) -> slice:
    """Return the part of `count` things that a machine takes: in order, sizes differ by one at most.

    >>> share(5, 0, 2), share(5, 1, 2)
    (slice(0, 3, None), slice(3, 5, None))
    """
    least, more = divmod(count, machines)
    start = index * least + min(index, more)
    return slice(start, start + least + (index < more))
