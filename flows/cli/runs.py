"""Commands about finished runs: runs, show and compare."""

from __future__ import annotations

import json
import sys
from string import ascii_uppercase
from typing import Annotated

from cyclopts import Parameter

from flows.cli.options import JsonOption, StoreOption
from flows.cli.printing.printer import Printer
from flows.cli.printing.sweep_table import print_sweep
from flows.cli.printing.tables import print_comparison, print_run, print_runs
from tasks.io.locations import store_address
from tasks.store.opening import open_store
from tasks.vision.errors import BadInput
from tasks.vision.text import printable


def runs(*, store: StoreOption = None, as_json: JsonOption = False) -> int:
    """List the runs in the store, newest last, and the names of sweeps.

    Example: relevo runs
    """
    from tasks.runs.listing import all_runs
    from tasks.runs.sweeps.record import SUFFIX

    address = store_address(store)
    found, damaged = all_runs(address)
    opened = open_store(address)
    found = [summary.placed(opened) for summary in found]
    sweeps = [name for name in opened.folders("sweeps") if name.endswith(SUFFIX)]
    for line in damaged:
        print(printable(f"relevo: {line}"), file=sys.stderr)
    if as_json:
        listed = [summary.model_dump(mode="json") for summary in found]
        print(json.dumps({"runs": listed, "sweeps": sweeps}))
    elif found:
        print_runs(found)
    elif not damaged:
        print(printable(f"no runs in {address} yet; try: relevo run"), file=sys.stderr)
    for name in () if as_json else sweeps:
        print(printable(f"sweep {name}"))
    return 0


def show(run: str = "latest", *, store: StoreOption = None, as_json: JsonOption = False) -> int:
    """Show the stages, scores and report of a run, or the table of a sweep.

    Example: relevo show latest

    Parameters
    ----------
    run
        Name of a run or of a sweep, latest, or the run of an @ALIAS.
    """
    from tasks.runs.lookup import find_run
    from tasks.runs.sweeps.record import find_sweep

    address = store_address(store)
    home = open_store(address)
    if sweep := find_sweep(home, run):
        if as_json:
            print(sweep.to_json())
        else:
            print_sweep(sweep)
        return 0
    summary = find_run(address, run).placed(home)
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
    """Compare runs with the first one on the same test images; tell differences from noise.

    A difference is significant if its 95 % interval (paired bootstrap) excludes 0 and McNemar's exact test
    rejects equality at .05, with Holm's correction over all comparisons.

    Example: relevo compare 20261125-101500-000-digits latest

    Parameters
    ----------
    run
        Two or more names of runs, as listed by `relevo runs`, latest, or @ALIAS.
    """
    from tasks.runs.compare import compare_runs

    if len(run) > len(ascii_uppercase):
        raise BadInput(
            f"compare: {len(run)} runs given, expected at most {len(ascii_uppercase)}; leave some out"
        )
    found = compare_runs(store_address(store), run)
    if as_json:
        print(found.to_json())
        return 0
    console, letters = Printer(), dict(zip(found.runs, ascii_uppercase, strict=False))
    for name, letter in letters.items():
        console.print_line(f"{letter}: {name}")
    for each in found.comparisons:
        console.print()
        print_comparison(each, letters, console)
    rows = [row for each in found.comparisons for row in each.stages.values()]
    if count := sum(row.p is not None for row in rows):
        console.print()
        paired = f"{found.resamples:,} paired"
        console.print(f"noise: equally good models differ as much by chance ({paired} resamples")
        corrected = f"Holm over {count} {'comparisons' if count > 1 else 'comparison'}"
        console.print(f"of the test images; McNemar's exact test; {corrected})")
    return 0
