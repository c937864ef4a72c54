"""A run's documents: its summary (`run.json`) and its lineage (`lineage.json`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from tasks.io.documents import read_sealed
from tasks.progress import duration
from tasks.runs.stage_result import StageResult, State
from tasks.store.base import Missing, Oversized, Ref, Sha256, Store, sha256_of
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.scores import Metrics
from tasks.vision.recipe.schema import Strict

Seconds = Annotated[float, Field(ge=0, lt=1e10, allow_inf_nan=False)]
UNFINISHED = "unfinished.json"  # in a run's folder until its summary is written


class StageSummary(Strict):
    """A stage, or a control of one, in a run's summary.

    Attributes:
        seconds: duration of its training, also when cached. model: path or URI of its folder;
            controls have none.
    """

    state: State
    seconds: Seconds
    epochs: int
    images_per_second: float
    model_digest: str
    start: str | None
    metrics: Metrics
    controls: dict[str, StageSummary] = Field(default_factory=dict)
    model: str | None = None

    @model_serializer(mode="wrap")
    def _without_empty_fields(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        empty = {key for key in ("controls", "model") if not getattr(self, key)}
        return {key: value for key, value in serialize(self).items() if key not in empty}


class RunSummary(Strict):
    """Summary of a finished run: its run.json and the output of `relevo show --json`.

    Attributes:
        report: path or URI of report.html. seconds: of the whole run. lineage: hash of lineage.json.
        flow_run: id of the flow run in Prefect.
    """

    run: str
    recipe: str
    store: str
    report: str
    seconds: Seconds
    device: Literal["cpu", "gpu"]
    dataset: str
    stages: dict[str, StageSummary]
    started: Annotated[AwareDatetime, Field(ge=datetime(2020, 1, 1, tzinfo=UTC))]
    seed: int
    lineage: Sha256
    flow_run: str | None = None

    @property
    def took(self) -> str:
        """Duration and device of the run, in words."""
        where = "a GPU" if self.device == "gpu" else "a processor"
        return f"{duration(self.seconds)}, on {where}"

    @property
    def control_kinds(self) -> list[str]:
        """The kinds of controls that any stage has, in the order of display."""
        return [*dict.fromkeys(kind for stage in self.stages.values() for kind in stage.controls)]

    def placed(self, home: Store) -> RunSummary:
        """Return the summary with addresses in this store, which may be a copy of the original."""
        folder = f"runs/{self.run}"
        stages = {
            name: stage.model_copy(update={"model": home.address(f"{folder}/models/{name}")})
            for name, stage in self.stages.items()
        }
        report = home.address(f"{folder}/report.html")
        return self.model_copy(update={"store": home.uri, "report": report, "stages": stages})


class Control(Strict):
    """The refs of a stage's control."""

    model: Ref
    evaluation: Ref


class Lineage(Strict):
    """What a run was made from and produced: hashes of the files in its folder, and refs by stage.

    Controls are named "STAGE, KIND".
    """

    files: dict[str, Sha256]
    dataset: Ref
    report: Ref
    models: dict[str, Ref]
    exports: dict[str, Ref]
    evaluations: dict[str, Ref]
    controls: dict[str, Control]

    def refs(self) -> list[Ref]:
        """Return all refs, including those of controls."""
        controls = [ref for each in self.controls.values() for ref in (each.model, each.evaluation)]
        of_stages = (self.models, self.exports, self.evaluations)
        stages = [ref for refs in of_stages for ref in refs.values()]
        return [self.dataset, self.report, *stages, *controls]


def summarize(result: StageResult, model: str | None = None) -> StageSummary:
    """Summarize a finished stage, whose folder is `model`."""
    return StageSummary(
        state=result.state,
        seconds=round(result.card.seconds, 3),
        epochs=result.card.epochs,
        images_per_second=round(result.card.images_per_second, 1),
        model_digest=f"sha256:{result.model.digest}",
        start=result.start,
        metrics=result.scores.metrics,
        controls={kind: summarize(control) for kind, control in result.controls.items()},
        model=model,
    )


def trace(
    results: dict[str, StageResult], dataset: Ref, report: Ref, files: dict[str, str]
) -> Lineage:
    """Return the lineage of a run; `files` maps paths in its folder to hashes."""
    return Lineage(
        files=files,
        dataset=dataset,
        report=report,
        models={name: result.model for name, result in results.items()},
        exports={name: result.exported for name, result in results.items() if result.exported},
        evaluations={name: result.evaluation for name, result in results.items()},
        controls={
            f"{name}, {kind}": Control(model=control.model, evaluation=control.evaluation)
            for name, result in results.items()
            for kind, control in result.controls.items()
        },
    )


def read_summary(home: Store, name: str) -> RunSummary:
    """Read the summary of a run.

    Raises:
        Missing, BadInput: there is none, or it is damaged.
    """
    return read_sealed(RunSummary, home, f"runs/{name}/run.json", f"run {name!r}")


def read_lineage(home: Store, name: str) -> Lineage:
    """Read the lineage of a run.

    Raises:
        BadInput: it is missing or damaged.
    """
    try:
        summary = read_summary(home, name)
        content = home.read(f"runs/{name}/lineage.json")
        if sha256_of(content)[0] == summary.lineage:
            return Lineage.model_validate_json(content)
    except (Missing, Oversized, ValidationError):
        pass
    raise BadInput(f"run {name!r}: its lineage.json is damaged; run its recipe again")


def stamp(started: datetime) -> str:
    """Return a run's start in UTC in a form that sorts by time."""
    at = started.astimezone(UTC)
    return f"{at:%Y%m%d-%H%M%S}-{at.microsecond // 1000:03d}"
