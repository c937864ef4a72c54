"""Task: write a run's report, with its figures."""

from __future__ import annotations

import io
import re
import zipfile

from tasks.cache.cached_task import Published, cached_task
from tasks.io.findings import load_checked
from tasks.io.load import load_evaluation
from tasks.io.prepared import load_dataset
from tasks.progress import Event, emit
from tasks.reporting.baselines import compare_stages
from tasks.reporting.content import ReportContent, ReportInput, StageContent
from tasks.reporting.figures import draw_figures
from tasks.reporting.html import load_words, render
from tasks.reporting.overview import Overview, overview, thumbnails
from tasks.reporting.photos import photos_of
from tasks.reporting.thumbnails import Thumbnail
from tasks.runs.stage_result import StageResult
from tasks.store.base import Store
from tasks.vision.check.checked import KINDS
from tasks.vision.check.whole import Whole
from tasks.vision.data.dataset import Dataset

SHOWN = 12  # pictures of each kind of finding
LISTED = ("damaged", "odd")  # by the section on data


@cached_task
def report(asked: ReportInput, store: Store) -> Published:
    """Draw the figures, render the page, and publish them as one zip."""
    words = load_words(asked.lang)
    data = load_dataset(asked.dataset, store)
    stages = {name: _content_of(result, store) for name, result in asked.stages.items()}
    shown, new = _look(asked, store), _new_pictures(asked, data)
    emit(Event("write report", "drawing figures"))
    names = data.names("test")
    photos = {
        name: photos_of(stage.card, stage.answers, data, names) for name, stage in stages.items()
    }
    compared = compare_stages(stages)
    content = ReportContent(asked, data.description, stages, compared, shown, photos, new)
    figures = draw_figures(content, words)
    files = {"report.html": render(content, figures, words).encode(), **figure_files(figures)}
    return Published(ref=store.put("report", zip_files(files), ".zip", made_from=()))


def _look(asked: ReportInput, store: Store) -> Overview | None:
    """What the report shows of a check of the data set, if there was one."""
    if asked.findings is None:
        return None
    checked = load_checked(asked.dataset, asked.findings, store)
    kinds = [kind for kind in KINDS if kind not in LISTED]
    return overview(checked, asked.findings.judge, SHOWN, kinds)


def _new_pictures(asked: ReportInput, data: Dataset) -> tuple[Thumbnail, ...]:
    """What the report shows of the pictures that came in."""
    rows = [each.row for each in asked.incoming.shown] if asked.incoming else []
    return tuple(thumbnails(Whole.of(data).images, rows))


def _content_of(result: StageResult, store: Store) -> StageContent:
    """What the report shows of a stage; only its predictions are read from the store."""
    return StageContent(
        start=result.start,
        model_digest=result.model.digest,
        card=result.card,
        scores=result.scores,
        answers=load_evaluation(result.evaluation, store)[1],
        controls={kind: _content_of(each, store) for kind, each in result.controls.items()},
    )


def figure_files(figures: dict[str, bytes]) -> dict[str, bytes]:
    """Map paths in the run's folder to figures; the name of a stage may hold letters that a path may not."""
    files: dict[str, bytes] = {}
    for name, content in figures.items():
        stem = re.sub(r"[^\w.-]+", "-", name.replace("/", "_"), flags=re.ASCII)
        while f"figures/{stem}.png" in files:
            stem += "-"
        files[f"figures/{stem}.png"] = content
    return files


def zip_files(files: dict[str, bytes]) -> bytes:
    """Zip the files with a fixed date, so that equal reports have equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
