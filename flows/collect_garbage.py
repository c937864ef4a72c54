"""Flow: remove old runs from the store, and files that no remaining run needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from flows.parameters import Address
from tasks.io.locations import store_address
from tasks.runs.gc import collect


@flow(name="collect-garbage", persist_result=False)
def collect_garbage(
    keep_last: Annotated[int | None, Field(ge=0, le=100_000)] = None,
    older_than_days: Annotated[int | None, Field(ge=1, le=3650)] = None,
    dry_run: bool = False,
    store: Address = None,
) -> dict[str, Any]:
    """Remove old runs, and files that no remaining run needs.

    Models, data sets and checkpoints written or used within the last 14 days stay: a job may use them.

    Args:
        keep_last: number of newest runs to keep.
        older_than_days: remove only runs older than this; with keep_last, both must allow the removal.
        dry_run: report what would be removed, and remove nothing.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
    """
    limit = timedelta(days=older_than_days) if older_than_days else None
    sweep = collect(store_address(store), keep_last=keep_last, older_than=limit, dry_run=dry_run)
    would = "would remove" if dry_run else "removed"
    get_run_logger().info(
        "%s %d runs and %d files, %.1f MB",
        would,
        len(sweep.runs),
        len(sweep.removed),
        sweep.size / 1e6,
    )
    return {"runs": sweep.runs, "files": len(sweep.removed), "bytes": sweep.size}
