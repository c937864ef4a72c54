"""Seconds until an accuracy is reached: fine-tuning what was handed on, against training from scratch.

python tests/benchmarks/finetuning.py ../shared/data/cifar10-png.zip --epochs 2 3 4 [--seeds 3]
[--goal .90] [--set stages.ten_class_from_transfer.batch_size=500]
Each number of epochs is a training of its own, since the rate falls to zero at its end. With --store,
what is trained there is taken from it. Accuracies are means over seeds, on test, of one look at each
image and, after the stroke, averaged over copies; fine-tuning's seconds include its features and its
head, not what it starts from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from statistics import mean
from typing import Any, NamedTuple

from rich.table import Table
from turns import check, show

STAGE = "ten_class_from_transfer"
WAYS = ("handed on", "from scratch")
LOOKS = {"accuracy": "one look", "accuracy_tta": "averaged over copies"}


class StageResult(NamedTuple):
    """A training's seconds, and its test accuracies by their names in the summary."""

    seconds: float
    scores: dict[str, float]


def train(
    archive: str, store: str, epochs: int, seed: int, settings: list[str]
) -> dict[str, StageResult]:
    """The stage and its control from scratch."""
    command = [sys.executable, "-m", "flows", "run", "cifar10", "--data", archive, "--json"]
    command += ["--store", store, "--stage", STAGE, f"--set=stages.{STAGE}.epochs={epochs}"]
    command += [f"--seed={seed}", "--set=stages.transfer.controls=false"]
    command += [f"--set={each}" for each in settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    stage: dict[str, Any] = json.loads(done.stdout)["stages"][STAGE]
    both = zip(WAYS, (stage, stage["controls"]["scratch"]), strict=True)
    return {way: StageResult(each["seconds"], each["metrics"]) for way, each in both}


def averaged(trainings: list[StageResult]) -> StageResult:
    """The mean over seeds."""
    scores = {look: mean(each.scores[look] for each in trainings) for look in LOOKS}
    return StageResult(mean(each.seconds for each in trainings), scores)


def reached(means: dict[int, dict[str, StageResult]], look: str, goal: float) -> str:
    """In how many seconds each way first reaches the goal, and their ratio."""
    first: dict[str, float] = {}
    for done in means.values():
        for way, each in done.items():
            if each.scores[look] >= goal:
                first.setdefault(way, each.seconds)
    if len(first) < len(WAYS):
        missed = ", ".join(way for way in WAYS if way not in first)
        return f"{LOOKS[look]}: {goal:.2f} is not reached in so few epochs ({missed})"
    times = " against ".join(f"{first[way]:.0f} s" for way in WAYS)
    return f"{LOOKS[look]}: {goal:.2f} in {times}, {first[WAYS[0]] / first[WAYS[1]]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--goal", type=float, default=0.90)
    parser.add_argument("--store", help="keep what is trained here; forgotten when left out")
    parser.add_argument("--set", action="append", default=[], help="as relevo's own")
    given = parser.parse_args()
    check(parser, given.archive)
    means: dict[int, dict[str, StageResult]] = {}
    table = Table("epochs of all layers", *WAYS)
    with tempfile.TemporaryDirectory() as passing:
        for epochs in sorted(given.epochs):
            done = [
                train(given.archive, given.store or passing, epochs, seed, given.set)
                for seed in range(given.seeds)
            ]
            means[epochs] = {way: averaged([each[way] for each in done]) for way in WAYS}
            cells = []
            for way, each in means[epochs].items():
                ends = [row[way].scores["accuracy"] for row in done]
                scores = " / ".join(f"{each.scores[look]:.4f}" for look in LOOKS)
                cells.append(
                    f"{scores} ({min(ends):.4f} to {max(ends):.4f}) in {each.seconds:.0f} s"
                )
            table.add_row(str(epochs), *cells)
    table.caption = "\n".join(reached(means, look, given.goal) for look in LOOKS)
    show(table)


if __name__ == "__main__":
    main()
