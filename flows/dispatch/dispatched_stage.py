"""One child flow run on a worker, as the flow that dispatched it sees it.

If a worker dies, its run is marked as crashed and the automation `relevo-resume` (deployments/automations)
schedules it again; it fails if that doesn't happen in time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import UUID

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
    """The flow run of a stage that was sent to the workers, and those of machines that help it."""

    def __init__(
        self,
        title: str,
        run: FlowRun,
        parts: tuple[str | None, ...] = (None,),
        helpers: Sequence[DispatchedStage] = (),
    ) -> None:
        self.id = run.id
        self._title, self._parts, self._helpers = title, parts, helpers
        self._last_state = ""
        self._crashed_at: float | None = None

    @property
    def ids(self) -> list[UUID]:
        """The flow runs' ids."""
        return [self.id, *(helper.id for helper in self._helpers)]

    def check(self, runs: Mapping[UUID, FlowRun], store: Store) -> list[StageResult] | None:
        """Return the results, one for each part, or None while it runs or may still be resumed.

        Args:
            runs: as they are now, without those that Prefect's server has no more.

        Raises:
            StageFailed: it ended without a result, or a machine that helps it failed.
        """
        if self._is_completed(runs):
            found = [load_result(store, str(self.id), each) for each in self._parts]
            results = [each for each in found if each]
            if len(results) == len(found):
                return results
            raise StageFailed(
                f"stage {self._title}: its worker stored no result in {store.uri}; "
                "expected a --store that this machine and the workers share"
            )
        for helper in self._helpers:
            helper._is_completed(runs)
        return None

    def _is_completed(self, runs: Mapping[UUID, FlowRun]) -> bool:
        """Report a new state; return False while the run goes on or may still be resumed.

        Raises:
            StageFailed: it ended in another way.
        """
        if self.id not in runs:
            raise StageFailed(f"stage {self._title}: its flow run was deleted on Prefect's server")
        state = runs[self.id].state
        if state is None:
            return False
        if (name := state.name or state.type.value) != self._last_state:
            self._last_state = name
            emit(Event(f"train {self._title}", name.lower()))
        if state.is_crashed() and self._may_be_resumed():
            return False
        if not state.is_crashed():
            self._crashed_at = None
        if state.is_final() and not state.is_completed():
            raise StageFailed(_reason(f"stage {self._title} {name.lower()}", state.message))
        return state.is_completed()

    def cancel_helpers(self, client: SyncPrefectClient) -> None:
        """Have all machines stop, if there are several and one of them has failed."""
        if self._helpers:
            self.cancel(client)

    def cancel(self, client: SyncPrefectClient) -> None:
        """Have its worker stop; the training stays resumable from its checkpoint."""
        from prefect.states import Cancelled, Cancelling

        for helper in self._helpers:
            with suppress(Exception):  # the others are to stop, too
                helper.cancel(client)
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
