"""A head on a pretrained network, against a plain Keras and scikit-learn script on the same files.

python tests/benchmarks/photos.py ARCHIVE MODEL.keras [--seeds 3] [--set PATH=VALUE ...]
Every run has a store of its own; further heads, each of another seed, are trained in the store of the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import mean

from rich.table import Table
from turns import ask, check, child, show

RECIPE = """
[data]
source = "{source}"
image_size = {size}
[stages.all_classes]
start = "{model}"
train = "head"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe")
    given = parser.parse_args()
    check(parser, given.archive)
    table = Table("contender", "test accuracy", "whole run, s", "training, s", "images/s")
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "recipe.toml")
        source, model = Path(given.archive).absolute(), Path(given.model).absolute()
        recipe.write_text(RECIPE.format(source=source, model=model, size=given.size))

        def run(seed: int, store: str) -> tuple[float, float, float, float]:
            words = [sys.executable, "-m", "flows", "run", recipe, "--json", "--seed", seed]
            words += [f"--set={each}" for each in given.set]
            turn = ask([*words, "--store", f"{folder}/{store}"], PREFECT_HOME=f"{folder}/prefect")
            stage = turn.answer["stages"]["all_classes"]
            rate = stage["images_per_second"]
            return stage["metrics"]["accuracy"], turn.seconds, stage["seconds"], rate

        def row(name: str, turns: list[tuple[float, float, float, float]]) -> None:
            accuracy, seconds, training, rate = map(mean, zip(*turns, strict=True))
            each = " ".join(f"{turn[0]:.4f}" for turn in turns)
            table.add_row(
                name,
                f"{accuracy:.4f} ({each})",
                f"{seconds:.1f}",
                f"{training:.1f}",
                f"{rate:.0f}",
            )

        ours, script, further = [], [], []
        for seed in range(given.seeds):
            ours.append(run(seed, f"store-{seed}"))
            peer = ask(child("peer_features", source, model))
            rate = peer.answer["images_per_second"]
            script.append((peer.answer["accuracy"], peer.seconds, peer.seconds, rate))
            if seed:
                further.append(run(seed, "store-0"))
    row("relevo run", ours)
    row("plain script", script)
    if further:
        row("another seed, same store", further)
    show(table)


if __name__ == "__main__":
    main()
