"""Test accuracy and seconds of the whole chain, beside a plain Keras script and PyTorch's airbench.

python tests/benchmarks/accuracy.py ../shared/data/cifar10-png.zip --seeds 3 --peers keras torch
Prints the mean over seeds, and the least and the most. All take turns, seed by seed. Hours on two cores:
leave a peer out, or say --seeds 1. With --store FOLDER, what an earlier call has trained is taken from
there, and a peer's results from FOLDER-peers, so that one that was stopped can go on, on the same machine.
Airbench's own 8 epochs may end below relevo's accuracy; with --torch-epochs 10 both are asked for the same.
How much sooner the exercise's three results (.968, .860, .683) are there: --peers keras
--stages baseline transfer ten_class_from_baseline --set stages.baseline.epochs=2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from rich.table import Table
from turns import check, child, show

SCORES = {
    "accuracy": "accuracy",
    "accuracy_tta": "averaged over copies",
    "balanced_accuracy": "balanced",
    "recall_of_cars": "recall of cars",
}
STAGES = ("baseline", "transfer", "ten_class_from_baseline", "ten_class")


def rows_of(peer: str, archive: str, store: str | None, **options: object) -> list[dict]:
    """Every JSON line that a peer prints, or printed in an earlier call."""
    settings = [f"{key}={value}" for key, value in options.items()]
    name = "-".join([peer, Path(archive).stem, *settings])
    kept = Path(f"{store}-peers", f"{name}.jsonl") if store else None
    if kept and kept.exists():
        told = kept.read_text()
    else:
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        command = [str(word) for word in child(peer, archive, *words)]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            whole = kept.with_suffix(".part")
            whole.write_text(told)
            whole.replace(kept)  # at once, so that what is kept was told to its end
    return [json.loads(line) for line in told.splitlines()]


def relevo(
    archive: str,
    recipe: str,
    seed: int,
    stages: Sequence[str],
    store: str | None,
    settings: list[str],
) -> Iterator[dict]:
    """One row a stage: name, seconds of training, test accuracy."""
    with tempfile.TemporaryDirectory() as passing:
        store = store or passing
        wanted = [word for stage in stages for word in ("--stage", stage)]
        plain = [f"--set=stages.{stage}.controls=false" for stage in stages if "from" in stage]
        plain += ["--set=stages.transfer.controls=false", *(f"--set={each}" for each in settings)]
        command = [sys.executable, "-m", "flows", "run", recipe, "--data", archive, "--json"]
        command += ["--seed", str(seed), "--store", store, *wanted, *plain]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    for name, stage in json.loads(done.stdout)["stages"].items():
        yield {"stage": name, "seconds": stage["seconds"], **stage["metrics"]} | recall(stage)


def recall(stage: dict) -> dict[str, float]:
    """Of cars, where they are a label: nine test images of ten are something else."""
    each = stage["metrics"]["recall"]
    return {"recall_of_cars": each["car"]} if "car" in each else {}


def cell(values: list[float], digits: int) -> str:
    """The mean over seeds, and its spread below."""
    told = [f"{value:.{digits}f}" for value in (mean(values), min(values), max(values))]
    return f"{told[0]}\n{told[1]} to {told[2]}" if len(values) > 1 else told[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--recipe", default="cifar10")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--set", action="append", default=[], help="as relevo's own")
    parser.add_argument("--store", help="keep what is trained here; forgotten when left out")
    parser.add_argument("--peers", nargs="*", choices=["keras", "torch"], default=[])
    parser.add_argument("--dtype", default="bfloat16", help="PyTorch's")
    parser.add_argument("--torch-epochs", type=int, default=8)
    given = parser.parse_args()
    check(parser, given.archive, *(["torch"] if "torch" in given.peers else []))
    scores: dict[tuple[str, str], list[dict]] = defaultdict(list)
    reached = []
    for seed in range(given.seeds):
        ours = (given.archive, given.recipe, seed, given.stages, given.store, given.set)
        for row in relevo(*ours):
            scores["relevo", row["stage"]].append(row)
        if "keras" in given.peers:
            for row in rows_of("peer_keras", given.archive, given.store, seed=seed):
                scores["Keras script", row["stage"]].append(row)
        if "torch" in given.peers:
            options = {"seed": seed, "dtype": given.dtype, "epochs": given.torch_epochs}
            epochs = rows_of("peer_torch", given.archive, given.store, **options)
            scores["PyTorch", "ten_class"].append(epochs[-1])
            goal = scores["relevo", "ten_class"][-1]
            there = [row["seconds"] for row in epochs if row["accuracy"] >= goal["accuracy"]]
            reached.append((goal["seconds"] / (there or [epochs[-1]["seconds"]])[0], bool(there)))
    table = Table("trainer", "stage", *SCORES.values(), "seconds")
    for (trainer, stage), each in scores.items():
        columns = []
        for key in SCORES:
            values = [row[key] for row in each if key in row]
            columns.append(cell(values, 4) if values else "")
        table.add_row(trainer, stage, *columns, cell([row["seconds"] for row in each], 0))
    captions = []
    if "keras" in given.peers:
        totals = [
            sum(row["seconds"] for (who, _), each in scores.items() if who == name for row in each)
            for name in ("Keras script", "relevo")
        ]
        captions.append(f"relevo's stages together take {totals[0] / totals[1]:.1f} times less")
    if reached:
        told = ", ".join(
            f"{share:.2f}{'' if there else ' (to its end: it never got there)'}"
            for share, there in reached
        )
        captions.append(f"seconds over PyTorch's, to relevo's accuracy in ten_class: {told}")
    table.caption = "\n".join(captions)
    show(table, width=140)


if __name__ == "__main__":
    main()
