"""Images a second of several machines that train together, against one: processes with a core each.

PYTHONPATH=tests python tests/benchmarks/machines.py [--machines 2] [--batch 1000] [--copies 8]
Trains scikit-learn's digits at 32 pixels, in shifted copies so that batches are full; counts the epochs after
the first, which compiles. Linux only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median

from support.machines import Job, digits_in, machines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=2)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--copies", type=int, default=8, help="of the 1,797 digits")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < given.machines:
        parser.error(f"{given.machines} machines need as many cores, and there are {len(cores)}")
    settings = {
        "network": {"widths": given.widths},
        "epochs": given.epochs,
        "batch_size": given.batch,
        "flip": False,
        "controls": False,
    }
    rates: dict[int, list[float]] = {1: [], given.machines: []}
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        dataset = digits_in(store, Path(folder), given.copies)
        for _ in range(given.rounds):
            for count, found in rates.items():
                job = Job(store, dataset, settings, count, cores)
                with machines(job) as (leader, *others):
                    result = leader.result()
                    for each in others:
                        each.end()
                history = result["history"]
                seconds = history[-2]["seconds"] - history[0]["seconds"]
                found.append((len(history) - 2) * result["images"] / seconds)
    one, several = median(rates[1]), median(rates[given.machines])
    print(f"1 process, 1 core: {one:,.0f} images/s")
    print(f"{given.machines} processes, a core each: {several:,.0f} images/s, {several / one:.2f}x")


if __name__ == "__main__":
    main()
