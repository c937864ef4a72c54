"""Publish a finished run as a folder in the store, for people to open."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.cache.keys import NUMERIC, versions
from tasks.io.documents import as_json, seal
from tasks.io.load import report_files
from tasks.runs.environment import describe
from tasks.runs.model_card import Facts, model_card
from tasks.runs.next_commands import fill_in
from tasks.runs.stage_result import StageResult, devices_of
from tasks.runs.summary import UNFINISHED, RunSummary, stamp, summarize, trace
from tasks.store.base import Ref, Store, sha256_of
from tasks.vision.data.batches.targets import apply_scheme
from tasks.vision.data.dataset import Description
from tasks.vision.export.files import KERAS_FILE, LABELS, MODEL_FILE, labels_json
from tasks.vision.export.reader import READER, reader
from tasks.vision.export.tensorboard import event_file
from tasks.vision.recipe.names import start_name
from tasks.vision.recipe.recipe import Recipe
from tasks.vision.recipe.to_toml import as_toml


@dataclass(frozen=True)
class FinishedRun:
    """Everything that a run folder is written from.

    Attributes:
        source: of the images, as given. dataset, data: the prepared data set and its description.
        results: of the stages, in the recipe's order. report: the report's files in the store.
        flow_run: id in Prefect.
    """

    name: str
    recipe: Recipe
    source: str
    dataset: Ref
    data: Description
    results: dict[str, StageResult]
    report: Ref
    started: datetime
    flow_run: str | None


def run_name(recipe: str, started: datetime) -> str:
    """Return a name that sorts by time and contains the recipe's name."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", recipe).strip("-")[:60] or "recipe"
    return f"{stamp(started)}-{plain}"


def publish(run: FinishedRun, home: Store) -> RunSummary:
    """Write the run folder, its summary last. Models are copied within the store, not read."""
    folder = f"runs/{run.name}"
    files: dict[str, str] = {}

    def write(path: str, content: bytes) -> None:
        files[path] = sha256_of(content)[0]
        home.write(f"{folder}/{path}", content)

    def copy(path: str, ref: Ref) -> None:
        files[path] = ref.sha256
        home.copy(ref.uri, f"{folder}/{path}", ref.size)

    since = {"run": run.name, "since": run.started.isoformat()}
    home.write(f"{folder}/{UNFINISHED}", as_json(since))
    for path, content in report_files(run.report, home):
        page = path == "report.html"
        write(path, fill_in(content, run.name, home.uri) if page else content)
    devices = devices_of(run.results)
    write("recipe.toml", as_toml(run.recipe).encode())
    write("environment.txt", describe(run.recipe.name, run.recipe.seed, devices).encode())
    for stage, result in run.results.items():
        # relevo reads model.safetensors; model.keras opens without relevo.
        copy(f"models/{stage}/{MODEL_FILE}", result.model)
        if result.exported:
            copy(f"models/{stage}/{KERAS_FILE}", result.exported)
        write(f"models/{stage}/{LABELS}", labels_json(result.card))
        write(f"models/{stage}/{READER}", reader())
        write(f"models/{stage}/README.md", model_card(_facts(run, stage)).encode())
        write(*_tensorboard(run, stage))
    lineage = as_json(trace(run.results, run.dataset, run.report, files).model_dump(mode="json"))
    home.write(f"{folder}/lineage.json", lineage)
    summary = RunSummary(
        run=run.name,
        recipe=run.recipe.name,
        store=home.uri,
        report=home.address(f"{folder}/report.html"),
        seconds=round((datetime.now(UTC) - run.started).total_seconds(), 3),
        device="gpu" if any(device.startswith("gpu") for device in devices) else "cpu",
        dataset=f"sha256:{run.dataset.digest}",
        stages={
            stage: summarize(result, home.address(f"{folder}/models/{stage}"))
            for stage, result in run.results.items()
        },
        started=run.started,
        seed=run.recipe.seed,
        lineage=sha256_of(lineage)[0],
        flow_run=run.flow_run,
    )
    home.write(f"{folder}/run.json", seal(summary))
    home.delete(f"{folder}/{UNFINISHED}")
    return summary


def _facts(run: FinishedRun, stage: str) -> Facts:
    result = run.results[stage]
    targets = apply_scheme(run.recipe.scheme(run.recipe.stages[stage]), run.data.classes)
    return Facts(
        stage=stage,
        run=run.name,
        recipe=run.recipe.name,
        seed=run.recipe.seed,
        source=run.source,
        card=result.card,
        model=result.model,
        limits={targets.labels[i]: limit for i, limit in targets.limits.items()},
        scores=result.scores,
        dataset=run.dataset,
        data=run.data,
        start=_start_of(result),
        versions=versions("relevo", *NUMERIC),
    )


def _start_of(result: StageResult) -> tuple[str, Ref] | None:
    """Return the name of the model that a stage starts from, and its ref; None for anything else."""
    models = [ref for ref in result.model.made_from if ref.kind == "model"]
    return (start_name(result.start), models[0]) if result.start and models else None


def _tensorboard(run: FinishedRun, stage: str) -> tuple[str, bytes]:
    """Return path and content of a TensorBoard event file with the stage's history and test scores."""
    metrics, started = run.results[stage].scores.metrics, run.started.timestamp()
    scores = {"accuracy": metrics.accuracy, "balanced_accuracy": metrics.balanced_accuracy}
    content = event_file(run.results[stage].card.history, scores, started)
    return f"tensorboard/{stage}/events.out.tfevents.{int(started)}.relevo", content
