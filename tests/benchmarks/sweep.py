"""A sweep of 3 rates with 5 seeds on two workers, against the same 15 runs one after the other.

python tests/benchmarks/sweep.py [--seeds 5] [--set PATH=VALUE]
Both use one Prefect server, which is running, and an empty local store; workers are started before.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from rich.table import Table
from turns import ask, show

sys.path.append(str(Path(__file__).parents[1]))  # last: tests/tasks would hide tasks

RATE = "stages.ten_class.lr_scale"
RATES = ("0.5", "1", "2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], help="of both, as for relevo run")
    given = parser.parse_args()

    from support.databases import PROGRAMS, postgresql
    from support.fleet import Fleet

    same = ["--set", "defaults.controls=false", *(w for each in given.set for w in ("--set", each))]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fleet = Fleet(folder, stack.enter_context(postgresql()) if PROGRAMS else None)
        stack.callback(fleet.stop)
        fleet.store = str(folder / "sweep")
        deployed = fleet.relevo("deploy", "--gpus", "2")
        assert deployed.returncode == 0, deployed.stderr
        for name in ("a-gpu", "b-gpu"):
            fleet.start_worker(name)
        fleet.until(lambda: len(fleet.find("work_pools/relevo-gpu/workers")) == 2, 300)

        clock = time.monotonic()
        over = ["--over", f"{RATE}={','.join(RATES)}", "--seeds", str(given.seeds)]
        done = fleet.relevo(
            "sweep", "digits", *over, *same, "--dispatch", "workers", "--at-once", "2", "--json"
        )
        swept = time.monotonic() - clock
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["combinations"]
        assert [run["state"] for each in found for run in each["runs"]].count("failed") == 0

        clock = time.monotonic()
        run = [sys.executable, "-m", "flows", "run", "digits", "--stage", "ten_class", "--json"]
        where = ["--store", folder / "loop"]
        for rate, seed in product(RATES, range(given.seeds)):
            own = ["--set", f"{RATE}={rate}", "--seed", seed]
            ask([*run, *own, *same, *where], PREFECT_API_URL=fleet.api)
        looped = time.monotonic() - clock
    table = Table("what", "seconds", "ratio")
    table.add_row("runs one after the other", f"{looped:,.1f}", "1.00")
    table.add_row("sweep on two workers", f"{swept:,.1f}", f"{swept / looped:.2f}")
    show(table)


if __name__ == "__main__":
    main()
