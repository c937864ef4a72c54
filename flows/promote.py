"""Flow: give a trained model a name, such as @best, if it is better, and if a person agrees who is asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from prefect import State, flow
from prefect.deployments import run_deployment
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, Field

from flows.parameters import Address
from tasks.io.locations import store_address
from tasks.monitoring.mlflow_registry import register
from tasks.monitoring.prefect_promotion import proposal_page, show_promotion, show_proposal
from tasks.promotion.gate import Gate
from tasks.promotion.promote import Answer, Promotion, Proposal
from tasks.promotion.promote import promote as promote_model
from tasks.store.keys import ALIAS
from tasks.vision.errors import BadInput, nearest
from tasks.vision.evaluation.paired import Metric

DEPLOYMENT = "promote/on-demand"
Alias = Annotated[str, Field(pattern=f"^{ALIAS}$")]
Margin = Annotated[float, Field(gt=-1, lt=1)]
ClassLoss = Annotated[float | None, Field(ge=0, le=1)]


class PromotionRequest(BaseModel):
    """What becomes of a model that a run has trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str = Field(max_length=100, description="the stage whose model is promoted")
    alias: Alias = "best"
    if_better: bool = Field(True, description="only if it is better than the model in use")
    metric: Metric = "accuracy"
    margin: Margin = Field(0.0, description="least difference of the metric")
    max_class_loss: ClassLoss = Field(
        None, description="most that the recall of any label may fall"
    )
    ask: bool = Field(False, description="ask a person first, in Prefect's form")


class Approval(RunInput):
    """The form that a person fills in to resume the run."""

    promote: bool = Field(False, description="whether the new model is used from now on")
    by: str = Field("", max_length=100, description="who decides")
    why: str = Field("", max_length=500, description="a reason, for the history")


@flow(name="promote", flow_run_name="promote {model} as {alias}", persist_result=False)
def promote(
    model: Annotated[str, Field(min_length=1, max_length=2000)],
    alias: Alias = "best",
    if_better: bool = True,
    metric: Metric = "accuracy",
    margin: Margin = 0.0,
    max_class_loss: ClassLoss = None,
    data: Address = None,
    ask: bool = False,
    why: Annotated[str, Field(max_length=500)] = "",
    store: Address = None,
) -> State[Promotion]:
    """Let an alias name a model; with if_better, only if it beats the model that has the name.

    The run ends in a state named Promoted or NotPromoted, of which Prefect's automations can notify.

    Args:
        model: RUN/STAGE or @ALIAS.
        alias: the name, without @.
        if_better: compare both on images that neither was trained on; the history says how it ended.
        metric: what is compared, accuracy or balanced_accuracy.
        margin: least difference of the metric; below 0, a model passes that is surely not worse by more.
        max_class_loss: most that the recall of any label may fall; no limit by default.
        data: images whose test split both answer; by default those of the model's own run.
        ask: if it passes, suspend the run until a person has filled in the form.
        why: a reason for the history.
        store: a folder or s3://bucket/prefix for all results; defaults to the worker's RELEVO_STORE.
    """
    if ask and not deployment.id:
        raise BadInput(
            "ask: a person is asked in Prefect's form, which takes a deployment; start one"
        )
    home = store_address(store)
    gate = Gate(metric=metric, margin=margin, max_class_loss=max_class_loss, data=data)
    by = f"flow run {flow_run.name}"
    done = promote_model(
        home, model, alias, gate if if_better else None, why=why, by=by, ask=_ask if ask else None
    )
    if done.changed:
        register(done.alias, done.model, home)
    show_promotion(done)
    what = "promoted" if done.changed else "not promoted"
    said = "; ".join(filter(None, (what, done.why)))
    get_run_logger().info("%s as @%s: %s", done.model, done.alias, said)
    name = "Promoted" if done.changed else "NotPromoted"
    return Completed(name=name, message=done.why or "without a comparison", data=done)


def _ask(proposal: Proposal) -> Answer:
    """Suspend the run; it begins again when the form is filled in, and then this returns what it says."""
    show_proposal(proposal)
    form = Approval.with_initial_data(description=proposal_page(proposal))
    # Another key for another pair of models, so that an answer is about what was shown.
    key = f"{proposal.number}-{proposal.model.ref.sha256[:16]}"
    answer = suspend_flow_run(wait_for_input=form, key=key)
    return Answer(answer.promote, answer.by, answer.why)


def check_request(asked: PromotionRequest, stages: Iterable[str], dispatch: str) -> None:
    """Check a promotion before the run trains these stages.

    Raises:
        BadInput: the stage is not among them, or a person can't be asked.
    """
    names = list(stages)
    if asked.stage not in names:
        raise BadInput(f"promotion.stage {asked.stage!r}{nearest(asked.stage, names)}")
    if asked.ask and dispatch != "workers":
        raise BadInput(
            "promotion.ask: a person is asked by a run of its own; set dispatch = 'workers'"
        )


def promote_result(asked: PromotionRequest, run: str, store: str, dispatch: str) -> None:
    """Promote a model of a finished run: on a fleet in a flow run of its own, which may wait for a person."""
    parameters = {
        **asked.model_dump(exclude={"stage"}),
        "model": f"{run}/{asked.stage}",
        "store": store,
    }
    if dispatch != "workers":
        promote(**parameters)
        return
    key = f"{flow_run.id}, promote"  # a run that is resumed after a crash does not ask again
    run_deployment(
        DEPLOYMENT, parameters=parameters, timeout=0, idempotency_key=key, as_subflow=False
    )
