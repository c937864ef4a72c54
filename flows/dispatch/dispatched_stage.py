"""One child flow run on a worker, as the flow that dispatched it sees it.

If a worker dies, its run is marked as crashed and the automation `relevo-resume` (deployments/automations)
schedules it again; it fails if that doesn't happen in time.
"""

from __future__ import annotations

import time

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun

from flows.training.trainings import StageFailed
from tasks.progress import Event, emit
from tasks.runs.stage_result import StageResult, load_result
from tasks.store.base import Store
from tasks.vision.errors import BadInput

RESUME_TIMEOUT = 180.0  # seconds within which a crashed run must be scheduled again
SENDER_GONE = "the run that dispatched it has ended"
ENCOUNTERED = "Flow run encountered an exception:"  # how Prefect begins a failed run's message
OWN_ERRORS = (StageFailed.__name__, BadInput.__name__)


class DispatchedStage:
    """The flow run of a stage that was sent to the workers."""

    def __init__(self, title: str, run: FlowRun, parts: tuple[str | None, ...] = (None,)) -> None:
        self.id = run.id
        self._title, self._parts = title, parts
        self._last_state = ""
        self._crashed_at: float | None = None

    def check(self, run: FlowRun | None, store: Store) -> list[StageResult] | None:
        """Return the results, one for each part, or None while it runs or may still be resumed.

        Args:
            run: as it is now; None if Prefect's server has it no more.

        Raises:
            StageFailed: it ended without a result.
        """
        if run is None:
            raise StageFailed(f"stage {self._title}: its flow run was deleted on Prefect's server")
        state = run.state
        if state is None:
            return None
        if (name := state.name or state.type.value) != self._last_state:
            self._last_state = name
            emit(Event(f"train {self._title}", name.lower()))
        if state.is_completed():
            found = [load_result(store, str(self.id), each) for each in self._parts]
            results = [each for each in found if each]
            if len(results) == len(found):
                return results
            raise StageFailed(
                f"stage {self._title}: its worker stored no result in {store.uri}; "
                "expected a --store that this machine and the workers share"
            )
        if state.is_crashed() and self._may_be_resumed():
            return None
        if not state.is_crashed():
            self._crashed_at = None
        if state.is_final():
            raise StageFailed(_reason(f"stage {self._title} {name.lower()}", state.message))
        return None

    def cancel(self, client: SyncPrefectClient) -> None:
        """Have its worker stop; the training stays resumable from its checkpoint."""
        from prefect.states import Cancelled, Cancelling

        client.set_flow_run_state(self.id, Cancelling())
        state = client.read_flow_run(self.id).state
        # Prefect doesn't cancel a crashed run, which could then be resumed.
        if state and state.is_crashed():
            client.set_flow_run_state(self.id, Cancelled(message=SENDER_GONE), force=True)

    def _may_be_resumed(self) -> bool:
        self._crashed_at = self._crashed_at or time.monotonic()
        return time.monotonic() - self._crashed_at < RESUME_TIMEOUT


def _reason(what: str, message: str | None) -> str:
    """Return why a run failed: relevo's own line about a training, or Prefect's after `what` failed."""
    line = " ".join((message or "no reason given").split())
    _, _, own = line.partition(f"{ENCOUNTERED} ")
    kind, _, reason = own.partition(": ")
    return reason if kind in OWN_ERRORS and reason.startswith("stage ") else f"{what}: {line}"
