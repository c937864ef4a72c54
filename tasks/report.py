"""Task: the run's figures and its report, from what the other tasks left in the store."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any

import numpy as np

from tasks.cache.cached_task import Published, cached_task
from tasks.io.load import load_dataset, load_evaluation
from tasks.progress import Event, emit
from tasks.reporting.baselines import Answers, answers_of, differences
from tasks.reporting.figures import _comparison, _distribution, _say_undrawn, _stage_figures
from tasks.reporting.html import render
from tasks.reporting.report_input import ReportInput
from tasks.runs.stage_result import StageResult
from tasks.store.base import Store
from tasks.vision.data.dataset import Dataset
from tasks.vision.figures.overfitting import overfitting
from tasks.vision.figures.words import WORDS
from tasks.vision.trained_model import Card, best_epoch


@cached_task
def report(content: ReportInput, store: Store) -> Published:
    """Draw the figures and write the page; the result is a zip that holds them."""
    lang = content.lang
    data = load_dataset(content.dataset, store)
    emit(Event("write report", "drawing figures"))
    stages: dict[str, dict[str, Any]] = {}
    pictures: dict[str, bytes] = {}
    answers: dict[str, Answers] = {}
    for name, entry in content.stages.items():
        numbers, arrays = _numbers(entry, store, lang)
        answers[name] = answers_of(arrays)
        stages[name] = {**numbers, "controls": {}}
        for kind, control in entry.controls.items():
            stages[name]["controls"][kind], theirs = _numbers(control, store, lang)
            answers[f"{name}, {kind}"] = answers_of(theirs)
        pictures.update(_stage_figures(name, numbers, arrays, data, lang))
    _say_undrawn(
        [*data.classes, *(label for stage in stages.values() for label in stage["labels"])]
    )
    for name, found in differences(stages, answers).items():
        stages[name]["differences"] = found
        pictures.update(_comparison(name, stages[name], stages, lang))
    page_data = {
        **content.model_dump(exclude={"lang", "source", "dataset", "stages"}),
        "dataset": _data_numbers(content, data),
        "stages": stages,
    }
    pictures = {**dict(_distribution(data, lang)), **pictures}
    html = render(page_data, pictures, lang)
    files = {"report.html": html.encode(), **_figure_files(pictures)}
    ref = store.put("report", _zip(files), ".zip", made_from=())
    return Published(ref=ref)


def _figure_files(pictures: dict[str, bytes]) -> dict[str, bytes]:
    """Figures by file name: a label may hold any letter, a name in the store only some."""
    files: dict[str, bytes] = {}
    for name, content in pictures.items():
        plain = re.sub(r"[^\w.-]+", "-", name.replace("/", "_"), flags=re.ASCII)
        while f"figures/{plain}.png" in files:
            plain += "-"
        files[f"figures/{plain}.png"] = content
    return files


def _numbers(
    entry: StageResult, store: Store, lang: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One trained stage (or control) as the page shows it, and its predictions."""
    model, card = entry.model, entry.card
    summary = entry.scores.model_dump(mode="json")
    arrays = load_evaluation(entry.evaluation, store)[1]._asdict()
    network = f"{card.architecture.network}, {card.architecture.image_size} px"
    if card.train == "head":
        network += ", " + WORDS[lang][f"on {card.architecture.features}"]
    frozen = {"parent": entry.start, **card.frozen} if card.frozen and entry.start else None
    return {
        "labels": card.labels,
        "groups": _groups(card),
        "flip": card.flip,
        "positive": card.labels[0] if card.binary else None,
        "start": entry.start,
        "trains": card.train,
        "frozen_blocks": card.frozen_blocks,
        "perturb": card.perturb,
        "network": network,
        "epochs": card.epochs,
        "seconds": card.seconds,
        "images_per_second": card.images_per_second,
        "train_images": card.images,
        "history": card.history,
        "best_epoch": best_epoch(card.history),
        "kept_epoch": card.selected_epoch,
        "overfitting": overfitting(card.history, lang),
        "model_digest": f"sha256:{model.digest}",
        "frozen": frozen,
        "metrics": summary["metrics"],
        "confusion": summary["confusion"],
        "confused": summary["confused"],
        "reliability": summary["reliability"],
    }, arrays


def _groups(card: Card) -> dict[str, list[str]]:
    """The labels that stand for classes of other names, the rest of them left out."""
    named = zip(card.labels, card.classes, strict=True)
    return {label: group for label, group in named if group != [label] and len(group) < 4}


def _data_numbers(run: ReportInput, data: Dataset) -> dict[str, Any]:
    about = data.description
    return {
        "digest": f"sha256:{run.dataset.digest}",
        "source": run.source,
        "image_size": about.image_size,
        "classes": about.classes,
        "counts": about.counts,
        "duplicates": {"count": len(about.duplicates), "pairs": about.duplicates[:20]},
        "unreadable": about.unreadable,
    }


def _zip(files: dict[str, bytes]) -> bytes:
    """A zip with a fixed date, so that the same report has the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
