"""Draw the report's figures. One that can't be drawn is left out with a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tasks.progress import Event, emit
from tasks.reporting.baselines import Stages, baselines_of
from tasks.reporting.content import Baseline, ReportContent, StageContent
from tasks.vision.figures.defaults import matplotlib_defaults
from tasks.vision.figures.words import Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tasks.vision.figures.curves import Kind

Drawn = Iterator[tuple[str, bytes]]  # names such as `baseline/loss`, and PNG bytes
COLOURS = 128  # enough for a figure, in a third of the bytes


def draw_figures(content: ReportContent, words: Words) -> dict[str, bytes]:
    """Draw all figures of a report: PNG bytes by names such as `baseline/loss`."""
    labels = [label for stage in content.stages.values() for label in stage.labels]
    with matplotlib_defaults():
        data = content.data
        warn_about_missing_glyphs([*data.classes, *labels])
        from tasks.vision.figures.curves import class_distribution

        drawn = draw_or_skip(
            "class_distribution", lambda: class_distribution(data.classes, data.counts, words)
        )
        figures = dict(drawn)
        for name, stage in content.stages.items():
            figures.update(draw_stage(name, stage, words))
        for name in content.comparisons:
            figures.update(draw_comparison(name, content.stages, words))
    return figures


def warn_about_missing_glyphs(names: list[str]) -> None:
    """Emit one line about the characters that no installed font has."""
    from tasks.vision.figures.style import missing_glyphs

    if missing := missing_glyphs("".join(names)):
        some = missing if len(missing) <= 20 else f"{missing[:20]}…"
        line = f"figures show boxes for {some}: no font here has them; install e.g. fonts-noto-cjk or -core"
        emit(Event("write report", line))


def draw_or_skip(name: str, draw: Callable[[], Figure]) -> Drawn:
    """Yield a figure's name and PNG; emit a line and yield nothing if drawing fails."""
    from tasks.vision.figures.style import png

    try:
        content = png(draw(), colours=COLOURS)
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        emit(Event("write report", f"skipped the figure {name}, which can't be drawn ({why})"))
        return
    yield name, content


def draw_stage(name: str, stage: StageContent, words: Words) -> Drawn:
    """Draw a stage's learning curves, confusion matrix and calibration."""
    from tasks.vision.figures.curves import accuracy_curves, loss_curves, penalty_curves
    from tasks.vision.figures.predictions import confusion_matrix
    from tasks.vision.figures.reliability import reliability_diagram

    card, labels, scores = stage.card, stage.labels, stage.scores

    def draw(kind: str, figure: Callable[..., Figure], *shown: Any) -> Drawn:
        return draw_or_skip(f"{name}/{kind}", lambda: figure(*shown, words))

    if card.penalty is not None:
        title = words("%(name)s: choice of the L2 penalty", name=name)
        yield from draw("penalty", penalty_curves, card.penalties, card.penalty, title)
    if not card.on_features:  # else its one epoch would be two dots
        history, best = card.history, stage.best_epoch
        title = words("%(name)s: loss", name=name)
        yield from draw("loss", loss_curves, history, title, best)
        title = words("%(name)s: accuracy", name=name)
        yield from draw("accuracy", accuracy_curves, history, title, best)
    title = words("%(name)s: confusion matrix", name=name)
    yield from draw("confusion", confusion_matrix, scores.confusion, labels, title)
    title = words("%(name)s: calibration", name=name)
    shown = (scores.reliability, scores.metrics.ece, title)
    yield from draw("reliability", reliability_diagram, *shown)


def draw_comparison(name: str, stages: Stages, words: Words) -> Drawn:
    """Draw validation accuracy over training time of a stage and of its baselines."""
    from tasks.vision.figures.curves import Curve, transfer_against_scratch

    def curve(label: str, kind: Kind, content: StageContent) -> Curve:
        rows = content.card.history
        seconds = [row["seconds"] for row in rows]
        return Curve(label, kind, seconds, [row["validation_accuracy"] for row in rows])

    stage = stages[name]
    # Training time on a sample is not comparable.
    baselines = [each for each in baselines_of(name, stages) if not each.content.card.sample]
    if all(len(each.card.history) == 1 for each in (stage, *(b.content for b in baselines))):
        return  # points alone
    own = words("%(name)s, starts from %(start)s", name=name, start=stage.start_name)
    curves = [curve(own, "transfer", stage)]
    for baseline in baselines:
        kind: Kind = "random" if baseline.kind == "random" else "scratch"
        curves.append(curve(_label(baseline, words), kind, baseline.content))
    title = words("%(name)s: accuracy over training time", name=name)
    yield from draw_or_skip(
        f"{name}/transfer_against_scratch", lambda: transfer_against_scratch(curves, title, words)
    )


def _label(baseline: Baseline, words: Words) -> str:
    epochs = words.epochs(baseline.content.card.epochs)
    if baseline.kind == "scratch":
        return words("from scratch, %(epochs)s", epochs=epochs)
    if baseline.kind == "random":
        return words("head on a frozen random network, %(epochs)s", epochs=epochs)
    return words("stage %(name)s, from scratch, %(epochs)s", name=baseline.name, epochs=epochs)
