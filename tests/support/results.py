"""Minimal results, scores and summaries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from support.cards import bare_card
from tasks.runs.stage_result import StageResult
from tasks.runs.summary import RunSummary, StageSummary
from tasks.store.base import Ref
from tasks.vision.evaluation.scores import Metrics, Scores
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture

REF = Ref(kind="model", uri="x", sha256="0" * 64, size=1, digest="0" * 64)


def bare_metrics(labels: list[str], accuracy: float = 0.5) -> Metrics:
    """Metrics of one test image."""
    return Metrics(
        images=1,
        accuracy=accuracy,
        accuracy_interval=(0.4, 0.6),
        majority=0.5,
        balanced_accuracy=0.5,
        recall=dict.fromkeys(labels, 0.5),
        precision=dict.fromkeys(labels, 0.5),
        roc_auc=None,
        pr_auc=None,
        ece=0.1,
        brier=1.0,
        accuracy_tta=0.5,
    )


def bare_scores(labels: list[str]) -> Scores:
    """Scores of one test image, which shows the first label."""
    metrics = bare_metrics(labels)
    return Scores(labels=labels, cells=((0, 0, 1),), confused=[], reliability=[], metrics=metrics)


def bare_result(**values: Any) -> StageResult:
    """The result of a stage with two labels."""
    built = Architecture(network=Network(), image_size=32, outputs=1, mean=(0, 0, 0), std=(1, 1, 1))
    some: dict[str, Any] = {
        "start": None,
        "state": "trained",
        "model": REF,
        "card": bare_card(built, ["a", "b"], [["a"], ["b"]]),
        "evaluation": REF,
        "scores": bare_scores(["a", "b"]),
    }
    return StageResult(**{**some, **values})


def bare_stage(**values: Any) -> StageSummary:
    """A stage in a summary."""
    some: dict[str, Any] = {
        "state": "trained",
        "seconds": 1.0,
        "epochs": 1,
        "images_per_second": 1.0,
        "model_digest": "sha256:" + "0" * 64,
        "start": None,
        "metrics": bare_metrics(["a", "b"]),
    }
    return StageSummary(**{**some, **values})


def bare_summary(name: str, started: datetime | None = None, **values: Any) -> RunSummary:
    """A run's summary."""
    some: dict[str, Any] = {
        "run": name,
        "recipe": "digits",
        "store": "store",
        "report": "report.html",
        "seconds": 1.0,
        "device": "cpu",
        "dataset": "sha256:" + "0" * 64,
        "stages": {},
        "started": started or datetime.now(UTC),
        "seed": 0,
        "lineage": "0" * 64,
    }
    return RunSummary(**{**some, **values})
