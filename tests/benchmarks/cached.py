"""Duration of a fully cached run, against a Prefect flow that does nothing.

python tests/benchmarks/cached.py [--rounds 5]
Each starts Prefect's temporary server, as a command on a laptop does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from statistics import median

from rich.table import Table
from turns import ask, interleave, show, spread

EMPTY = "from prefect import flow\n@flow\ndef empty(): pass\nempty()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = {"RELEVO_STORE": f"{folder}/store", "PREFECT_HOME": f"{folder}/prefect"}
        run = [sys.executable, "-m", "flows", "run", "digits", "--json"]
        ask(run, **places)
        turns = interleave(
            {"empty flow": [sys.executable, "-c", EMPTY], "relevo run, cached": run},
            given.rounds,
            **places,
        )
    for turn in turns["relevo run, cached"]:
        states = {stage["state"] for stage in turn.answer["stages"].values()}
        assert states == {"cached"}, states
    base = median(turn.seconds for turn in turns["empty flow"])
    table = Table("command", "seconds", "ratio")
    for name, each in turns.items():
        seconds = [turn.seconds for turn in each]
        table.add_row(name, spread(seconds), f"{median(seconds) / base:.2f}")
    show(table)


if __name__ == "__main__":
    main()
