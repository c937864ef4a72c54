"""Flow: a run that crashed is scheduled again, so that another worker goes on from its checkpoint.

The automation `relevo-resume` starts it. It counts in the run's own history, since a run may crash before
a line of it has run; and one that has brought down so many workers would bring down the next.
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

from flows.dispatch import SENDER_GONE

STOPPED = "heartbeat stopped"  # in the message that the automation relevo-dead gives
HEARTBEAT_WAIT = 40.0  # seconds within which a living run is heard of
LIVES = "its heart beats again; the server was away, not the worker"


@flow(name="resume-crashed", flow_run_name="resume {run}", persist_result=False)
def resume_crashed(run: UUID, most: Annotated[int, Field(ge=0, le=100)] = 3) -> str:
    """Schedule a crashed run again; says what was done.

    Not if it crashed too often, nobody waits for it, or it lives: when Prefect's server has been away,
    the heartbeats that it missed look like a dead worker's.

    Args:
        run: the id of the flow run that crashed.
        most: so many times; then the run has failed.
    """
    log = get_run_logger()
    with get_client(sync_client=True) as client:
        there = client.read_flow_run(run)
        if there.state is None or not there.state.is_crashed():
            log.info("it goes on already")
            return "goes on already"
        if there.parent_task_run_id and not _wanted(client, there.parent_task_run_id):
            client.set_flow_run_state(run, Cancelled(message=SENDER_GONE), force=True)
            log.info(SENDER_GONE)
            return "not wanted any more"
        if STOPPED in (there.state.message or "") and _lives(client, run, there.state.timestamp):
            client.set_flow_run_state(run, Running(message=LIVES), force=True)
            log.info(LIVES)
            return "lives"
        crashes = count_crashes(client, run)
        if crashes > most:
            why = (
                f"crashed {crashes} times and is not resumed again; see its logs for the cause, "
                "then start it anew: it goes on from its last checkpoint"
            )
            client.set_flow_run_state(run, Failed(message=why), force=True)
            log.warning(why)
            return "failed"
        message = f"goes on from its checkpoint after crash {crashes} of at most {most}"
        client.set_flow_run_state(run, Scheduled(name="Resuming", message=message), force=True)
        log.info(message)
        return "resumed"


def _lives(client: SyncPrefectClient, run: UUID, since: datetime) -> bool:
    """Whether a heartbeat of the run comes in after it was taken for dead."""
    sleep(HEARTBEAT_WAIT)
    asked = {
        "occurred": {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run}"]},
    }
    answer = client.request("POST", "/events/filter", json={"filter": asked, "limit": 1})
    return bool(answer.json()["events"])


def _wanted(client: SyncPrefectClient, task_run: UUID) -> bool:
    """Whether the run that sent it waits for it still, or will when it is resumed itself."""
    with suppress(ObjectNotFound):
        sender = client.read_task_run(task_run).flow_run_id
        state = client.read_flow_run(sender).state if sender else None
        if state and (state.is_cancelling() or state.is_final()):
            return state.is_crashed()
    return True


def count_crashes(client: SyncPrefectClient, run: UUID) -> int:
    """How often the run went from another state to a crash; worker and runner may both report one."""
    states = sorted(client.read_flow_run_states(run), key=lambda state: state.timestamp)
    crashed = [state.is_crashed() for state in states]
    return sum(now and not before for before, now in zip([False, *crashed], crashed, strict=False))
