"""Test accuracy and training time of the chain, against a plain Keras script and PyTorch's airbench.

python tests/benchmarks/accuracy.py cifar10-png.zip --seeds 3 --peers keras torch
Prints mean, minimum and maximum over seeds. All contenders take turns, seed by seed, for hours on two cores;
leave a peer out or use --seeds 1 to save time. With --store FOLDER, trained stages are cached there and the
peers' results in FOLDER-peers, so that an interrupted call can continue on the same machine.
Airbench's own 8 epochs may end below relevo's accuracy; --torch-epochs 10 reaches it.
Time to the exercise's results (.968, .860, .683): --peers keras
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
    "accuracy_tta": "with test-time augmentation",
    "balanced_accuracy": "balanced",
    "recall_of_cars": "recall of cars",
}
STAGES = ("baseline", "transfer", "ten_class_from_baseline", "ten_class")


def rows_of(peer: str, archive: str, store: str | None, **options: object) -> list[dict]:
    """Run a peer, or read its cached output; return its JSON lines."""
    settings = [f"{key}={value}" for key, value in options.items()]
    name = "-".join([peer, Path(archive).stem, *settings])
    cached = Path(f"{store}-peers", f"{name}.jsonl") if store else None
    if cached and cached.exists():
        output = cached.read_text()
    else:
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        command = [str(word) for word in child(peer, archive, *words)]
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        if cached:
            cached.parent.mkdir(parents=True, exist_ok=True)
            partial = cached.with_suffix(".part")
            partial.write_text(output)
            partial.replace(cached)  # atomic
    return [json.loads(line) for line in output.splitlines()]


def relevo(
    archive: str,
    recipe: str,
    seed: int,
    stages: Sequence[str],
    store: str | None,
    settings: list[str],
) -> Iterator[dict]:
    """Run the recipe; yield the name, training time and test metrics of each stage."""
    with tempfile.TemporaryDirectory() as temporary:
        store = store or temporary
        wanted = [word for stage in stages for word in ("--stage", stage)]
        plain = [f"--set=stages.{stage}.controls=false" for stage in stages if "from" in stage]
        plain += ["--set=stages.transfer.controls=false", *(f"--set={each}" for each in settings)]
        command = [sys.executable, "-m", "flows", "run", recipe, "--data", archive, "--json"]
        command += ["--seed", str(seed), "--store", store, *wanted, *plain]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    for name, stage in json.loads(done.stdout)["stages"].items():
        yield {"stage": name, "seconds": stage["seconds"], **stage["metrics"]} | recall(stage)


def recall(stage: dict) -> dict[str, float]:
    """Recall of cars, where they are a label; only a tenth of the test images are cars."""
    each = stage["metrics"]["recall"]
    return {"recall_of_cars": each["car"]} if "car" in each else {}


def cell(values: list[float], digits: int) -> str:
    """Format the mean over seeds, and below it the minimum and maximum."""
    average, low, high = (f"{x:.{digits}f}" for x in (mean(values), min(values), max(values)))
    return f"{average}\n{low} to {high}" if len(values) > 1 else average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--recipe", default="cifar10")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--set", action="append", default=[], help="as in relevo run")
    parser.add_argument("--store", help="cache trained stages here")
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
        captions.append(f"relevo trains all its stages {totals[0] / totals[1]:.1f} times faster")
    if reached:
        shares = ", ".join(
            f"{share:.2f}{'' if there else ' (PyTorch never reached it)'}"
            for share, there in reached
        )
        captions.append(f"seconds over PyTorch's, to relevo's accuracy in ten_class: {shares}")
    table.caption = "\n".join(captions)
    show(table, width=140)


if __name__ == "__main__":
    main()
