"""A head on a pretrained network, against scripts on the same files: scikit-learn's, and Keras' own guide.

python tests/benchmarks/photos.py ARCHIVE MODEL.keras [--seeds 3] [--size 224] [--peers script guide]
Every run has a store of its own; further heads, each of another seed, are trained in the store of the first.
Each contender is a process of its own, timed from its start to its end; relevo's includes the report. The peers
take images of the model's own size, whatever `--size` says.
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
Row = tuple[float, float, float, float]  # accuracy, seconds, of them in training, images/s
# The peers' names in the table, and their scripts.
PEERS = {"script": ("plain script", "peer_features"), "guide": ("Keras' guide", "peer_guide")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=224, help="pixels per side")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--set", action="append", default=[], help="a setting of the recipe")
    given = parser.parse_args()
    check(parser, given.archive)
    columns = ("contender", "test accuracy", "whole run, s", "training, s", "images/s")
    table = Table(*columns, "relevo sooner to that accuracy")
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder, "recipe.toml")
        source, model = Path(given.archive).absolute(), Path(given.model).absolute()
        recipe.write_text(RECIPE.format(source=source, model=model, size=given.size))

        def run(seed: int, store: str) -> Row:
            words = [sys.executable, "-m", "flows", "run", recipe, "--json", "--seed", seed]
            words += [f"--set={each}" for each in given.set]
            turn = ask([*words, "--store", f"{folder}/{store}"], PREFECT_HOME=f"{folder}/prefect")
            stage = turn.answer["stages"]["all_classes"]
            rate = stage["images_per_second"]
            return stage["metrics"]["accuracy"], turn.seconds, stage["seconds"], rate

        def row(name: str, turns: list[Row], ours: list[Row] | None = None) -> None:
            accuracy, seconds, training, rate = map(mean, zip(*turns, strict=True))
            each = " ".join(f"{turn[0]:.4f}" for turn in turns)
            cells = [f"{accuracy:.4f} ({each})", f"{seconds:.1f}", f"{training:.1f}", f"{rate:.0f}"]
            if ours:
                reached = mean(turn[0] for turn in ours) >= accuracy
                factor = seconds / mean(turn[1] for turn in ours)
                cells.append(f"{factor:.2f}x" if reached else "not reached")
            table.add_row(name, *cells)

        ours: list[Row] = []
        further: list[Row] = []
        peers: dict[str, list[Row]] = {name: [] for name in given.peers}
        for seed in range(given.seeds):
            ours.append(run(seed, f"store-{seed}"))
            for name, turns in peers.items():
                options = ["--seed", seed] if name == "guide" else []
                peer = ask(child(PEERS[name][1], source, model, *options))
                rate = peer.answer["images_per_second"]
                turns.append((peer.answer["accuracy"], peer.seconds, peer.seconds, rate))
            if seed:
                further.append(run(seed, "store-0"))
    row("relevo run", ours)
    for name, turns in peers.items():
        row(PEERS[name][0], turns, ours)
    if further:
        row("another seed, same store", further)
    show(table)


if __name__ == "__main__":
    main()
