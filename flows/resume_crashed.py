"""Flow: schedule a crashed run again, so that another worker resumes it from its checkpoint.

The automation `relevo-resume` starts this flow. Crashes are counted in the history of the run's states, since a
run may crash before its first line. They are limited: a run that crashed several workers will crash the next.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from time import sleep
from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Failed, Running, Scheduled
from pydantic import Field

from flows.dispatch.dispatched_stage import SENDER_GONE

HEARTBEAT_STOPPED = "heartbeat stopped"  # part of the message of the automation relevo-dead
HEARTBEAT_WAIT = 40.0  # seconds; a running worker sends a heartbeat every 30 s
ALIVE = "heartbeat resumed; the server, not the worker, was unavailable"


@flow(name="resume-crashed", flow_run_name="resume {run}", persist_result=False)
def resume_crashed(run: UUID, max_crashes: Annotated[int, Field(ge=0, le=100)] = 3) -> str:
    """Schedule a crashed run again, and return what was done.

    Not if it crashed too often, if the run that dispatched it has ended, or if it is still running: after an
    outage of Prefect's server, the heartbeats that the server missed look like those of a dead worker.

    Args:
        run: id of the crashed flow run.
        max_crashes: number of crashes after which the run is resumed; after one more, it fails.
    """
    log = get_run_logger()
    with get_client(sync_client=True) as client:
        crashed = client.read_flow_run(run)
        if crashed.state is None or not crashed.state.is_crashed():
            log.info("the run is not crashed; nothing to do")
            return "not crashed"
        if crashed.parent_task_run_id and not _is_awaited(client, crashed.parent_task_run_id):
            client.set_flow_run_state(run, Cancelled(message=SENDER_GONE), force=True)
            log.info(SENDER_GONE)
            return "cancelled"
        if HEARTBEAT_STOPPED in (crashed.state.message or "") and _has_new_heartbeat(
            client, run, crashed.state.timestamp
        ):
            client.set_flow_run_state(run, Running(message=ALIVE), force=True)
            log.info(ALIVE)
            return "alive"
        crashes = count_crashes(client, run)
        if crashes > max_crashes:
            why = (
                f"crashed {crashes} times and is not resumed again; see its logs for the cause, "
                "then start it again: it resumes from its last checkpoint"
            )
            client.set_flow_run_state(run, Failed(message=why), force=True)
            log.warning(why)
            return "failed"
        message = f"resumes from its checkpoint after crash {crashes} of at most {max_crashes}"
        client.set_flow_run_state(run, Scheduled(name="Resuming", message=message), force=True)
        log.info(message)
        return "resumed"


def _has_new_heartbeat(client: SyncPrefectClient, run: UUID, since: datetime) -> bool:
    """True if a heartbeat of the run arrives after the run was marked as crashed."""
    sleep(HEARTBEAT_WAIT)
    wanted = {
        "occurred": {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run}"]},
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1})
    return bool(answer.json()["events"])


def _is_awaited(client: SyncPrefectClient, task_run: UUID) -> bool:
    """True if the run that dispatched it still waits for it, or will once it is resumed itself."""
    with suppress(ObjectNotFound):
        sender = client.read_task_run(task_run).flow_run_id
        state = client.read_flow_run(sender).state if sender else None
        if state and (state.is_cancelling() or state.is_final()):
            return state.is_crashed()
    return True


def count_crashes(client: SyncPrefectClient, run: UUID) -> int:
    """Count crashes of a run; reports in a row count once, since worker and runner may both report one."""
    states = sorted(client.read_flow_run_states(run), key=lambda state: state.timestamp)
    crashed = [state.is_crashed() for state in states]
    return sum(now and not before for before, now in zip([False, *crashed], crashed, strict=False))
