"""Hypothesis strategy for bytes that a disk, a network or a person has changed."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def mutations(draw: st.DrawFn, whole: bytes, head: int | None = None) -> bytes:
    """`whole` after one to three faults: a bit flipped, a part removed, duplicated or replaced.

    `head`: length of the header, which gets at least half of the faults.
    """
    out = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        last = len(out) - 1
        if last < 0:
            break
        place = st.integers(0, last)
        at = draw(st.integers(0, min(head, last)) | place if head else place)
        length = draw(st.sampled_from([1, 2, 8, 100]))
        match draw(st.sampled_from(["flip", "cut", "end", "double", "put"])):
            case "flip":
                out[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del out[at : at + length]
            case "end":
                del out[at:]
            case "double":
                out[at:at] = out[at : at + length]
            case "put":
                out[at : at + length] = draw(st.binary(min_size=1, max_size=8))
    return bytes(out)
