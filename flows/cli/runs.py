"""Commands that look at finished runs: runs, show and compare."""

from __future__ import annotations

import json
import sys
from string import ascii_uppercase
from typing import Annotated

from cyclopts import Parameter

from flows.cli.options import JsonOption, StoreOption
from flows.cli.tables import Printer, print_comparison, print_run, print_runs
from tasks.io.locations import store_address
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.text import printable


def runs(*, store: StoreOption = None, as_json: JsonOption = False) -> int:
    """List the runs in the store, the newest last.

    Example: relevo runs
    """
    from tasks.runs.lookup import all_runs

    where = store_address(store)
    found, damaged = all_runs(where)
    home = open_store(where)
    found = [summary.placed(home) for summary in found]
    for line in damaged:
        print(printable(f"relevo: {line}"), file=sys.stderr)
    if as_json:
        print(json.dumps({"runs": [summary.model_dump(mode="json") for summary in found]}))
    elif found:
        print_runs(found)
    elif not damaged:
        print(printable(f"no runs in {where} yet; try: relevo run"), file=sys.stderr)
    return 0


def show(run: str = "latest", *, store: StoreOption = None, as_json: JsonOption = False) -> int:
    """Show one run: its stages, scores and report.

    Example: relevo show latest

    Parameters
    ----------
    run
        A run's name, or latest.
    """
    from tasks.runs.lookup import find_run

    where = store_address(store)
    summary = find_run(where, run).placed(open_store(where))
    if as_json:
        print(summary.model_dump_json())
    else:
        print_run(summary)
    return 0


def compare(
    run: Annotated[list[str], Parameter(negative="")],
    /,
    *,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Say whether runs differ by more than noise, on the same test images.

    The first run is what the others are compared with. A difference is more than noise where its 95 %
    interval (paired bootstrap) leaves out 0 and McNemar's exact test says so too, at .05 for all
    comparisons together (Holm).

    Example: relevo compare 20261125-101500-000-digits latest

    Parameters
    ----------
    run
        Names of two runs or more, as `relevo runs` lists them, or latest.
    """
    from tasks.runs.compare import compare_runs

    if len(run) > len(ascii_uppercase):
        raise BadInput(f"compare: expected at most {len(ascii_uppercase)} runs; leave some out")
    found = compare_runs(store_address(store), run)
    if as_json:
        print(json.dumps(found))
        return 0
    console, letters = Printer(), dict(zip(found["runs"], ascii_uppercase, strict=False))
    for name, letter in letters.items():
        console.whole(f"{letter}: {name}")
    for each in found["comparisons"]:
        console.print()
        print_comparison(each, letters, console)
    rows = [row for each in found["comparisons"] for row in each["stages"].values()]
    if count := sum("p" in row for row in rows):
        console.print()
        paired = f"{found['resamples']:,} paired"
        console.print(f"noise: models that are equally good differ as much by chance ({paired}")
        judged = f"Holm over {count} {'comparisons' if count > 1 else 'comparison'}"
        console.print(f"resamples of the test images; McNemar's exact test; {judged})")
    return 0
