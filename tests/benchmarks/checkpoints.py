"""Cost of checkpoints: the same training with and without them.

python tests/benchmarks/checkpoints.py cifar10-png.zip [--images 5000] [--rounds 5]
A checkpoint is written after each epoch, about every 20 s on two cores; long epochs have one every 30 s.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from statistics import median

import numpy as np
from peer_images import read
from rich.table import Table
from turns import check, child, interleave, show, spread


def train(way: str, archive: str, count: int, widths: list[int]) -> dict[str, float]:
    """Train two epochs "with" or "without" checkpoints; return the seconds."""
    from tasks.io.checkpoints import Checkpoints
    from tasks.store.opening import open_store
    from tasks.vision.data.batches.targets import apply_scheme
    from tasks.vision.device import find_device, loading_tensorflow
    from tasks.vision.recipe.schema import Network, Stage

    with loading_tensorflow():
        from tasks.vision.data.batches.targets import Examples
        from tasks.vision.training.stage import train_stage

    images, labels, classes = read(archive, "train")
    examples = Examples(images[:count], labels[:count].astype(np.int32))
    few = Examples(examples.inputs[:512], examples.targets[:512])
    stage = Stage(network=Network(widths=tuple(widths)), batch_size=500, epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        checkpointer = Checkpoints(open_store(folder), "train-0") if way == "with" else None
        clock = time.monotonic()
        card, _ = train_stage(
            *(stage, apply_scheme(None, classes), examples, few),
            seed=0,
            device=find_device(),
            checkpointer=checkpointer,
        )
        if checkpointer:
            checkpointer.clear()
        return {"seconds": time.monotonic() - clock, "trained": card.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 256])
    parser.add_argument("--only", choices=["with", "without"])
    given = parser.parse_args()
    if given.only:
        print(json.dumps(train(given.only, given.archive, given.images, given.widths)))
        return
    check(parser, given.archive)
    options = [given.archive, "--images", given.images, "--widths", *given.widths]
    ways = ("without", "with")
    turns = interleave(
        {way: child("checkpoints", *options, "--only", way) for way in ways}, given.rounds
    )
    table = Table("checkpoints", "seconds", "share", title="two epochs, two checkpoints")
    base = [turn.answer["seconds"] for turn in turns["without"]]
    for way, each in turns.items():
        seconds = [turn.answer["seconds"] for turn in each]
        shares = [mine / other for mine, other in zip(seconds, base, strict=True)]
        table.add_row(way, spread(seconds), f"{median(shares):.3f}")
    show(table)


if __name__ == "__main__":
    main()
