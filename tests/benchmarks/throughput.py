"""Training throughput of relevo, against plain PyTorch with the same network and batches.

python tests/benchmarks/throughput.py cifar10-png.zip
Prints medians, ratios, and the share of the rate of a matrix product. Needs the extra [bench].
"""

from __future__ import annotations

import argparse
from statistics import median

from rich.table import Table
from turns import check, child, interleave, show, spread

from flows.recipes.load import load_recipe
from tasks.vision.device import find_device


def gflop_per_image(widths: list[int], size: int = 31, channels: int = 24) -> float:
    """Floating-point operations of one training image in 1e9: forward, and twice that backward.

    Counts convolutions only. The whitening layer is not trained: it has no backward pass, and the first
    block has no input gradient.
    """
    total = 2 * size**2 * channels * 12
    for block, width in enumerate(widths):
        total += (3 if block else 2) * 2 * 9 * channels * width * size**2
        size //= 2
        total += 3 * 2 * 9 * width * width * size**2
        channels = width
    return total / 1e9


def main() -> None:
    widths = list(load_recipe("cifar10").stages["ten_class"].network.widths)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--widths", type=int, nargs="+", default=widths, help="as ten_class")
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    check(parser, given.archive, "torch")
    device = find_device()
    # Both use the precision that is native here; emulated bfloat16 would be an unfair comparison.
    dtype = "bfloat16" if device.policy == "mixed_bfloat16" else "float32"
    options = [given.archive, "--steps", given.steps, "--dtype", dtype]
    options += ["--batch", given.batch, "--widths", *given.widths]
    turns = interleave(
        {
            "relevo": child("ours", "steps", *options),
            "PyTorch": child("peer_torch", *options),
            "matrix product": child("ours", "peak", "--dtype", dtype),
        },
        given.rounds,
    )
    peak = median(turn.answer["gflops"] for turn in turns.pop("matrix product"))
    cost = gflop_per_image(given.widths)
    rates = {
        name: [turn.answer["images_per_second"] for turn in each] for name, each in turns.items()
    }
    table = Table(
        *("trainer", "images/s", "GFLOP/s", "of the peak", "ratio"),
        title=f"{device}; widths {given.widths}, batches of {given.batch}",
        caption=f"the peak: {peak:.0f} GFLOP/s in a matrix product",
    )
    for name, each in rates.items():
        rate = median(each)
        table.add_row(
            f"{name}, {dtype}",
            spread(each, 0),
            f"{rate * cost:.0f}",
            f"{rate * cost / peak:.2f}",
            f"{rate / median(rates['PyTorch']):.2f}",
        )
    show(table)


if __name__ == "__main__":
    main()
