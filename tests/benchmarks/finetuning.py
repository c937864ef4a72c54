"""Time to an accuracy: fine-tuning transferred layers, against training from scratch.

python tests/benchmarks/finetuning.py cifar10-png.zip --epochs 2 3 4 [--seeds 3]
[--goal .90] [--set stages.ten_class_from_transfer.batch_size=500]
Each number of epochs is a separate training, since the learning rate decays to zero at its end. With --store,
trained stages are cached there. Accuracies are means over seeds on test, without and (after the slash) with
test-time augmentation; seconds of fine-tuning include the features and the head, but not the parent.
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
WAYS = ("transferred", "from scratch")
METRICS = {"accuracy": "plain", "accuracy_tta": "with test-time augmentation"}


class StageResult(NamedTuple):
    """Seconds of a training, and its test accuracies by name."""

    seconds: float
    scores: dict[str, float]


def train(
    archive: str, store: str, epochs: int, seed: int, settings: list[str]
) -> dict[str, StageResult]:
    """Train the stage and its control from scratch."""
    command = [sys.executable, "-m", "flows", "run", "cifar10", "--data", archive, "--json"]
    command += ["--store", store, "--stage", STAGE, f"--set=stages.{STAGE}.epochs={epochs}"]
    command += [f"--seed={seed}", "--set=stages.transfer.controls=false"]
    command += [f"--set={each}" for each in settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    stage: dict[str, Any] = json.loads(done.stdout)["stages"][STAGE]
    both = zip(WAYS, (stage, stage["controls"]["scratch"]), strict=True)
    return {way: StageResult(each["seconds"], each["metrics"]) for way, each in both}


def average(trainings: list[StageResult]) -> StageResult:
    """The mean over seeds."""
    scores = {metric: mean(each.scores[metric] for each in trainings) for metric in METRICS}
    return StageResult(mean(each.seconds for each in trainings), scores)


def reached(means: dict[int, dict[str, StageResult]], metric: str, goal: float) -> str:
    """Say in how many seconds each way first reaches the goal, and their ratio."""
    first: dict[str, float] = {}
    for done in means.values():
        for way, each in done.items():
            if each.scores[metric] >= goal:
                first.setdefault(way, each.seconds)
    if len(first) < len(WAYS):
        missed = ", ".join(way for way in WAYS if way not in first)
        return f"{METRICS[metric]}: {goal:.2f} is not reached in these epochs ({missed})"
    times = " against ".join(f"{first[way]:.0f} s" for way in WAYS)
    return f"{METRICS[metric]}: {goal:.2f} in {times}, {first[WAYS[0]] / first[WAYS[1]]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--goal", type=float, default=0.90)
    parser.add_argument("--store", help="cache trained stages here")
    parser.add_argument("--set", action="append", default=[], help="as in relevo run")
    given = parser.parse_args()
    check(parser, given.archive)
    means: dict[int, dict[str, StageResult]] = {}
    table = Table("epochs of all layers", *WAYS)
    with tempfile.TemporaryDirectory() as temporary:
        for epochs in sorted(given.epochs):
            done = [
                train(given.archive, given.store or temporary, epochs, seed, given.set)
                for seed in range(given.seeds)
            ]
            means[epochs] = {way: average([each[way] for each in done]) for way in WAYS}
            cells = []
            for way, each in means[epochs].items():
                ends = [row[way].scores["accuracy"] for row in done]
                scores = " / ".join(f"{each.scores[metric]:.4f}" for metric in METRICS)
                cells.append(
                    f"{scores} ({min(ends):.4f} to {max(ends):.4f}) in {each.seconds:.0f} s"
                )
            table.add_row(str(epochs), *cells)
    table.caption = "\n".join(reached(means, metric, given.goal) for metric in METRICS)
    show(table)


if __name__ == "__main__":
    main()
