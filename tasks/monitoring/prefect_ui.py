"""Artifacts of a run for Prefect's UI. Their keys are stable, so that the UI shows their history.

Figures are embedded as small data URIs, since the UI serves no files.
"""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from PIL import Image
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.io.load import report_files
from tasks.progress import counted
from tasks.runs.listing import last_runs
from tasks.runs.markdown import cell, code, plain
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import RunSummary, StageSummary
from tasks.store.base import Ref, Store
from tasks.vision.evaluation.scores import Scores
from tasks.vision.figures.defaults import matplotlib_defaults
from tasks.vision.selected_epoch import best_epoch
from tasks.vision.trained_model import Card

MAX_FAULTS = 50  # listed on a page
# Column headers
CONTROLS = {"scratch": "from scratch", "sample": "on a sample", "random": "random network"}
RUNS = 5  # earlier runs of the same recipe
COMPARISON = "transfer_against_scratch"  # the figure of a stage that starts from another
WIDTH = 720  # pixels, about as wide as the UI's page
COLOURS = 64  # enough for a figure, in a quarter of the bytes


def artifact_key(kind: str, name: str) -> str:
    """Return a valid artifact key for a name: lower-case letters, digits and dashes."""
    return f"relevo-{kind}-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def show_stage(name: str, result: StageResult, home: Store, figures: bool = True) -> None:
    """Show a stage's test scores with 95 % intervals, its figures, and its model's address."""
    with warn_on_failure():
        where = home.address(result.model.uri)
        about = f"Stage **{plain(name)}**, {result.state}; model `{code(where)}`"
        table = _scores(result.scores)
        create_table_artifact(table, key=artifact_key("stage", name), description=about)
        if figures:
            # A long line scrolls in a block; in a paragraph it would overflow.
            head = [f"# {plain(name)}", f"{result.state.capitalize()}; its model:"]
            head += [f"```\n{code(where)}\n```"]
            drawn = stage_figures(name, result.card, result.scores.confusion)
            page = "\n\n".join([*head, *drawn])
            about = f"Figures of stage **{plain(name)}**"
            create_markdown_artifact(page, key=artifact_key("figures", name), description=about)


def show_run(summary: RunSummary, report: Ref, home: Store) -> None:
    """Show a table of the run's stages, and a page with the addresses of its report and models.

    Server errors are logged and don't fail the run.
    """
    with warn_on_failure():
        create_table_artifact(
            [_row(stage, numbers) for stage, numbers in summary.stages.items()],
            key="relevo-stages",
            description=f"Stages of the run {plain(summary.run)}",
        )
        lines = [*_page(summary), *_earlier(summary, home.uri), *_comparisons(report, home)]
        create_markdown_artifact(
            "\n".join(lines) + "\n", key="relevo-run", description=f"The run {plain(summary.run)}"
        )


def show_predictions(
    model: str, table: str, grid: str, counts: dict[str, int], faults: list[str], note: str = ""
) -> None:
    """Show the number of images per label, the address of the table, unreadable files, and a note."""
    lines = [
        f"# {counted(sum(counts.values()), 'image')} classified by {plain(model)}",
        "",
        f"Table: `{code(table)}`",
        f"Examples: `{code(grid)}`",
        *(["", f"{note}."] if note else []),
        "",
    ]
    lines += ["| label | images |", "|---|---:|"]
    lines += [f"| {plain(label)} | {count:,} |" for label, count in sorted(counts.items())]
    if faults:
        lines += ["", f"{len(faults):,} could not be read:", ""]
        lines += [f"- {plain(fault)}" for fault in faults[:MAX_FAULTS]]
    with warn_on_failure():
        create_markdown_artifact(
            "\n".join(lines) + "\n",
            key="relevo-predictions",
            description=f"Predictions of {plain(model)}",
        )


def show_check(data: str, page: str, table: str, counts: Iterable[tuple[str, int]]) -> None:
    """Show what a check of a data set has found, and the addresses of its page and table."""
    lines = [
        f"# Check of {plain(data)}",
        "",
        f"Page: `{code(page)}`",
        f"Table: `{code(table)}`",
        "",
    ]
    lines += ["| finding | pictures |", "|---|---:|"]
    lines += [f"| {kind} | {count:,} |" for kind, count in counts]
    with warn_on_failure():
        create_markdown_artifact(
            "\n".join(lines) + "\n", key="relevo-check", description=f"Check of {plain(data)}"
        )


@contextmanager
def warn_on_failure() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logging.getLogger("prefect").warning("an artifact is not shown: %s", error)


def _scores(scores: Scores) -> list[dict[str, str]]:
    from tasks.vision.evaluation.metrics import wilson

    metrics, rows = scores.metrics, []

    def add(metric: str, value: float | None, interval: tuple[float, float] | None = None) -> None:
        between = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
        rows.append({"on test": metric, "value": f"{value:.4f}", "95 % interval": between})

    add("accuracy", metrics.accuracy, metrics.accuracy_interval)
    if metrics.accuracy_tta is not None:
        add("accuracy, averaged over copies", metrics.accuracy_tta)
    add("accuracy of always predicting the most frequent label", metrics.majority)
    add("balanced accuracy", metrics.balanced_accuracy)
    for i, (label, row) in enumerate(zip(scores.labels, scores.confusion, strict=True)):
        if sum(row):
            add(f"recall of {cell(label)}", metrics.recall[label], wilson(row[i], sum(row)))
    for i, label in enumerate(scores.labels):
        guessed = [row[i] for row in scores.confusion]
        if sum(guessed):
            interval = wilson(guessed[i], sum(guessed))
            add(f"precision of {cell(label)}", metrics.precision[label], interval)
    add("calibration error", metrics.ece)
    return rows


def _row(name: str, stage: StageSummary) -> dict[str, str]:
    low, high = stage.metrics.accuracy_interval
    return {
        "stage": cell(name),
        "state": stage.state,
        "starts from": cell(stage.start or "scratch"),
        "accuracy": f"{stage.metrics.accuracy:.4f} ({low:.4f} to {high:.4f})",
        "balanced": f"{stage.metrics.balanced_accuracy:.4f}",
        "seconds": f"{stage.seconds:.1f}",
    }


def _page(summary: RunSummary) -> list[str]:
    kinds = summary.control_kinds
    columns = ["test accuracy", *(CONTROLS[kind] for kind in kinds), "seconds"]
    lines = [
        f"# {plain(summary.run)}",
        "",
        f"Recipe **{plain(summary.recipe)}**, {summary.took}.",
        f"Report: `{code(summary.report)}`",
        "",
        f"| stage | state | {' | '.join(columns)} |",
        "|---|---|" + "---:|" * len(columns),
    ]
    for name, stage in summary.stages.items():
        beside = [stage, *(stage.controls.get(kind) for kind in kinds)]
        scores = [f"{each.metrics.accuracy:.4f}" if each else "" for each in beside]
        lines.append(
            f"| {' | '.join([plain(name), stage.state, *scores, f'{stage.seconds:.1f}'])} |"
        )
    lines += ["", "Models:", ""]
    lines += [
        f"- {plain(name)}: `{code(str(stage.model))}`" for name, stage in summary.stages.items()
    ]
    return lines


def _earlier(summary: RunSummary, store: str) -> Iterator[str]:
    """Yield a table with the test accuracies of the last runs of this recipe."""
    runs = [each for each in last_runs(store, 2 * RUNS) if each.recipe == summary.recipe]
    stages = list(summary.stages)
    yield from ("", "The last runs of this recipe, test accuracy:", "")
    yield f"| run | {' | '.join(map(plain, stages))} |"
    yield "|---|" + "---:|" * len(stages)
    for run in runs[-RUNS:]:
        found = (run.stages.get(stage) for stage in stages)
        scores = (f"{each.metrics.accuracy:.4f}" if each else "" for each in found)
        yield f"| {plain(run.run)} | {' | '.join(scores)} |"


def _comparisons(report: Ref, home: Store) -> Iterator[str]:
    for path, content in report_files(report, home):
        if COMPARISON in path:
            yield ""
            yield inline("Validation accuracy over time, by transfer and from scratch", content)


def inline(title: str, png: bytes) -> str:
    """Return a PNG as a Markdown image with a data URI, at most `WIDTH` pixels wide."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDTH, 4 * WIDTH))
        small.quantize(COLOURS).save(buffer, "PNG", optimize=True)
    return (
        f"![{plain(title)}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
    )


def stage_figures(name: str, card: Card, confusion: list[list[int]]) -> list[str]:
    """Return a stage's learning curves and its confusion matrix as Markdown images."""
    with matplotlib_defaults():
        from tasks.vision.figures.curves import accuracy_curves, loss_curves
        from tasks.vision.figures.predictions import confusion_matrix
        from tasks.vision.figures.style import png

        history, best = card.history, best_epoch(card.history)
        drawn = {}
        if not card.on_features:  # else it has no epochs
            drawn["accuracy"] = png(accuracy_curves(history, f"{name}: accuracy", best), WIDTH)
            drawn["loss"] = png(loss_curves(history, f"{name}: loss", best), WIDTH)
        title = f"{name}: confusion matrix"
        drawn["confusion"] = png(confusion_matrix(confusion, card.labels, title), WIDTH)
    return [inline(f"{name}, {kind}", content) for kind, content in drawn.items()]
