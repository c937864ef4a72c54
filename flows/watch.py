"""Flow: start a recipe's chain when its data has changed by enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from prefect import flow
from prefect.client.schemas import FlowRun
from prefect.deployments import run_deployment
from prefect.runtime import flow_run
from pydantic import Field

from flows.dispatch.destinations import check_deployments
from flows.experiment import experiment
from flows.parameters import (
    Address,
    Dispatch,
    Language,
    OwnRecipe,
    RecipeChoice,
    RunRequest,
    Seed,
    Settings,
)
from flows.promote import PromotionRequest
from tasks.io.locations import store_address
from tasks.progress import Event, emit
from tasks.runs.summary import RunSummary
from tasks.runs.watch_record import WatchStart
from tasks.store.marker import check_store
from tasks.store.opening import open_store
from tasks.store.outages import OUTAGE
from tasks.watch.enough import Enough
from tasks.watch.look import Look, RunState, look, state_here
from tasks.watch.result import WatchResult, result_of

DEPLOYMENT = "experiment/on-demand"


@dataclass(frozen=True)
class WatchRequest:
    """What is watched, and how the run is started.

    Attributes:
        dispatch, lang, promotion: as of the flow `experiment`.
    """

    request: RunRequest
    dispatch: Dispatch
    lang: Language = "en"
    promotion: PromotionRequest | None = None

    def start(self, seen: Look, by: str) -> tuple[WatchResult, RunSummary | None]:
        """Start the run that a look has decided on; its summary if it was run here.

        Args:
            by: who starts it.
        """
        if self.dispatch == "workers":
            check_deployments(DEPLOYMENT)
        start = seen.begin(self.request.recipe.name, by)
        done = result_of(seen, start.run if start else "")
        for line in done.lines():
            emit(Event("watch", line))
        if start is None:
            return done, None
        if self.dispatch == "workers":
            self._send(start)
            return done, None
        return done, experiment(**self._parameters(start))  # type: ignore[call-overload]

    def state_of(self, start: WatchStart) -> RunState:
        """What became of a run that was started and has no summary."""
        if self.dispatch == "inline":
            return state_here(open_store(self.request.store, retry_for=OUTAGE), start)
        check_deployments(DEPLOYMENT)
        # A watcher that was killed between its record and this request sends it now.
        state = self._send(start).state
        ended = state is not None and (state.is_failed() or state.is_cancelled())
        return "failed" if ended else "running"

    def _parameters(self, start: WatchStart) -> dict[str, object]:
        asked = self.request
        return {
            **asked.shared(),
            "data": asked.data,
            "stages": list(asked.stages) or None,
            "dispatch": self.dispatch,
            "lang": self.lang,
            "run": start.run,
            "promotion": self.promotion.model_dump() if self.promotion else None,
        }

    def _send(self, start: WatchStart) -> FlowRun:
        """Send a run to the workers, once for each start: asked again, the server returns the same one."""
        sent: FlowRun = run_deployment(
            DEPLOYMENT,
            parameters=self._parameters(start),
            timeout=0,
            idempotency_key=f"{start.watch}, {start.number}, {start.digest}",
            flow_run_name=start.run,
            as_subflow=False,
        )  # type: ignore[assignment]
        return sent


@flow(name="watch", flow_run_name="watch {data}", persist_result=False)
def watch(
    data: Annotated[str, Field(min_length=1, max_length=2000)],
    recipe: RecipeChoice = "photos",
    own_recipe: OwnRecipe = None,
    store: Address = None,
    stages: list[str] | None = None,
    seed: Seed = None,
    settings: Settings = None,
    at_least: Annotated[str, Field(max_length=20)] = "1%",
    settle_minutes: Annotated[float, Field(ge=0, le=10_000)] = 10,
    dispatch: Dispatch = "inline",
    lang: Language = "en",
    promotion: PromotionRequest | None = None,
) -> WatchResult:
    """Start a recipe's chain when its data has changed by enough, compared by a listing; no file is read.

    Args:
        data: a folder, archive, table or s3:// address of images.
        recipe: the built-in recipe to train.
        own_recipe: the TOML text of a recipe of your own, used instead of the built-in one.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
        stages: train only these stages and those that they start from; defaults to all.
        seed: random seed of the run; defaults to the recipe's.
        settings: recipe settings to override, e.g. {"stages.baseline.epochs": 3}.
        at_least: how many files, or which share of them, have to change before a run starts, e.g. 50 or 1%.
        settle_minutes: how long nothing may have changed before a run starts, so that many uploads are one.
        dispatch: inline trains in this process; workers sends the run, and its stages, to a fleet.
        lang: language of the report, English or Spanish.
        promotion: which stage's model gets which @ALIAS when the run has ended, and on what condition.
    """
    request = RunRequest(
        recipe,
        store_address(store),
        own_recipe=own_recipe,
        data=data,
        stages=tuple(stages or ()),
        seed=seed,
        settings=settings,
    )
    request.recipe.ordered(stages or [])
    asked = WatchRequest(request, dispatch, lang, promotion)
    home = open_store(request.store, retry_for=OUTAGE)
    check_store(home)
    enough, settle = Enough.parse(at_least), timedelta(minutes=settle_minutes)
    seen = look(home, request.recipe.name, request.source, enough, settle, asked.state_of)
    if seen.decision == "start":
        return asked.start(seen, f"flow run {flow_run.name}")[0]
    done = result_of(seen)
    for line in done.lines():
        emit(Event("watch", line))
    return done
