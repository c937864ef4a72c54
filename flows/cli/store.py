"""Commands that maintain the store: verify and gc."""

from __future__ import annotations

import json
import sys
from typing import Annotated

from cyclopts import Parameter

from flows.cli.options import Flag, JsonOption, StoreOption
from tasks.io.locations import existing_store, store_address
from tasks.vision.errors import BadInput
from tasks.vision.text import printable


def verify(*, store: StoreOption = None, as_json: JsonOption = False) -> int:
    """Check every file in the store against its hash; exit with status 1 if one is damaged.

    Example: relevo verify --store s3://bucket/prefix
    """
    from tasks.runs.verify import check_all

    where = store_address(store)
    count, faults = 0, []
    for checked in check_all(where):
        count += 1
        if checked.fault:
            faults.append(checked)
            print(printable(f"{checked.key}: {checked.fault}"), file=sys.stderr)
    if as_json:
        listed = [{"key": checked.key, "fault": checked.fault} for checked in faults]
        print(json.dumps({"store": where, "checked": count, "faults": listed}))
    else:
        print(f"{count} items checked, {len(faults)} damaged")
    return 1 if faults else 0


def gc(
    *,
    keep_last: Annotated[int | None, Parameter(negative="")] = None,
    older_than: str | None = None,
    dry_run: Flag = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> int:
    """Remove old runs, and files that no remaining run needs.

    Models, data sets and checkpoints written or used in the last 14 days stay, since a running job may
    need them; so do the models that an @ALIAS names, and named before, with their runs. Files that relevo
    has not written stay, too.

    Example: relevo gc --keep-last 10 --older-than 30d --dry-run

    Parameters
    ----------
    keep_last
        Keep this many of the newest runs.
    older_than
        Keep runs younger than this: 12h, 30d, 4w. With --keep-last, a run goes if neither option keeps it.
    dry_run
        List what would be removed and what is left alone; remove nothing.
    """
    from tasks.io.durations import duration_of
    from tasks.runs.gc import collect

    if keep_last is not None and keep_last < 0:
        raise BadInput(f"--keep-last {keep_last}: expected 0 or more runs")
    where = store_address(store)
    limit = None if older_than is None else duration_of(older_than, "--older-than")
    home = existing_store(where)
    if not dry_run:
        home.check()
    sweep = collect(where, keep_last=keep_last, older_than=limit, dry_run=dry_run)
    if as_json:
        removed = [entry.key for entry in sweep.removed]
        found = {"dry_run": dry_run, "runs": sweep.runs, "removed": removed, "bytes": sweep.size}
        print(json.dumps({**found, "left_alone": sweep.foreign, "in_use": sweep.in_use}))
        return 0
    would = "would remove" if dry_run else "removed"
    for name in sweep.runs:
        print(f"{would} the run {printable(name)}")
    for name, aliases in sweep.in_use.items():
        print(f"keeps the run {printable(name)}, of {', '.join(f'@{each}' for each in aliases)}")
    for entry in sweep.removed:
        if not entry.key.startswith("runs/"):
            print(f"{would} {printable(entry.key)} ({entry.size:,} bytes)")
    if sweep.foreign:
        for key in sweep.foreign if dry_run else []:
            print(f"leaves alone {printable(key)}: relevo did not write it")
        print(f"{len(sweep.foreign)} files that relevo did not write are left alone")
    print(printable(f"{would} {len(sweep.removed)} files, {sweep.size / 1e6:,.1f} MB, in {where}"))
    return 0
