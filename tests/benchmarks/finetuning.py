"""Seconds until an accuracy is reached: fine-tuning what was handed on, against training from scratch.

python tests/benchmarks/finetuning.py ../shared/data/cifar10-png.zip --epochs 2 3 4 5 [--goal .90]
[--set stages.ten_class_from_transfer.frozen_blocks=1]
Each number of epochs is a training of its own, since the rate falls to zero at its end. With --store,
what is trained there is taken from it. The accuracy is that on validation; fine-tuning's seconds
include its features and its head, not what it starts from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile

from rich.table import Table
from turns import show

from tasks.kept import load_model
from tasks.runs import read_lineage
from tasks.store import Ref

STAGE = "ten_class_from_transfer"


def train(
    archive: str, store: str, epochs: int, settings: list[str]
) -> dict[str, tuple[float, float]]:
    """Seconds and validation accuracy of the stage and of its control from scratch."""
    command = [sys.executable, "-m", "flows", "run", "cifar10", "--data", archive, "--json"]
    command += ["--store", store, "--stage", STAGE, f"--set=stages.{STAGE}.epochs={epochs}"]
    command += ["--set=stages.transfer.controls=false", *(f"--set={each}" for each in settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    lineage = read_lineage(store, json.loads(done.stdout)["run"])
    refs = {
        "handed on": lineage["models"][STAGE],
        "from scratch": lineage["controls"][f"{STAGE}, scratch"]["model"],
    }
    cards = {way: load_model(Ref.model_validate(ref), store)[0] for way, ref in refs.items()}
    return {
        way: (card.seconds, card.history[-1]["validation_accuracy"]) for way, card in cards.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--goal", type=float, default=0.90)
    parser.add_argument("--store", help="keep what is trained here; forgotten when left out")
    parser.add_argument("--set", action="append", default=[], help="as relevo's own")
    given = parser.parse_args()
    first: dict[str, float] = {}
    table = Table("epochs of all layers", "handed on", "from scratch")
    with tempfile.TemporaryDirectory() as passing:
        for epochs in sorted(given.epochs):
            done = train(given.archive, given.store or passing, epochs, given.set)
            table.add_row(str(epochs), *(f"{right:.4f} in {s:.0f} s" for s, right in done.values()))
            for way, (seconds, right) in done.items():
                if right >= given.goal:
                    first.setdefault(way, seconds)
    goal = f"{given.goal:.2f} on validation"
    if len(first) == 2:
        ratio = first["handed on"] / first["from scratch"]
        times = " against ".join(f"{first[way]:.0f} s" for way in ("handed on", "from scratch"))
        table.caption = f"{goal} in {times}: {ratio:.2f}"
    else:
        missed = {"handed on", "from scratch"} - first.keys()
        table.caption = f"{goal} is not reached {' nor '.join(sorted(missed))} in so few epochs"
    show(table)


if __name__ == "__main__":
    main()
