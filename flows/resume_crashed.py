"""Flow: a run that crashed is scheduled again, so that another worker goes on from its checkpoint.

The automation `relevo-resume` starts it. It counts in the run's own history, since a run may crash before
a line of it has run; and one that has brought down so many workers would bring down the next.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.logging import get_run_logger
from prefect.states import Failed, Scheduled
from pydantic import Field


@flow(name="resume-crashed", flow_run_name="resume {run}", persist_result=False)
def resume_crashed(run: UUID, most: Annotated[int, Field(ge=0, le=100)] = 3) -> str:
    """Schedule a crashed run again, unless it has crashed too often; says what was done.

    Args:
        run: the id of the flow run that crashed.
        most: so many times; then the run has failed.
    """
    log = get_run_logger()
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
        if state is None or not state.is_crashed():
            log.info("it goes on already")
            return "goes on already"
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


def count_crashes(client: SyncPrefectClient, run: UUID) -> int:
    """How often the run went from another state to a crash; worker and runner may both report one."""
    states = sorted(client.read_flow_run_states(run), key=lambda state: state.timestamp)
    crashed = [state.is_crashed() for state in states]
    return sum(now and not before for before, now in zip([False, *crashed], crashed, strict=False))
