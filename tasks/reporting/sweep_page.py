"""The page of a sweep: one HTML file that needs no network, with its table and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tasks.cache.keys import versions
from tasks.reporting.figures import draw_or_skip
from tasks.reporting.html import Picture, environment, picture
from tasks.runs.sweeps.record import WITHOUT_MODEL, Combination, SweepSummary
from tasks.sweeps.grid import short_names, shown_value
from tasks.vision.figures.defaults import matplotlib_defaults
from tasks.vision.figures.words import ENGLISH, Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS = 200  # of the table
MOST_FIGURES = 12  # of single settings


@dataclass(frozen=True)
class SweepFigure:
    """A figure, with the text for people who can't see it; `large` ones fill the page's width."""

    picture: Picture
    alt: str
    caption: str
    large: bool = False


def sweep_page(sweep: SweepSummary, words: Words = ENGLISH) -> str:
    """Render the page of a sweep."""
    names = short_names(list(sweep.over))
    sound = [each for each in sweep.combinations if each.verdict not in WITHOUT_MODEL]
    rows = [
        (place, _values(names, each), each)
        for place, each in enumerate(sweep.combinations[:MAX_ROWS], 1)
    ]
    with matplotlib_defaults():
        figures = list(_figures(names, sweep, sound, words))
    return (
        environment(words)
        .get_template("sweep.html")
        .render(
            sweep=sweep,
            names=names,
            lang=words.lang,
            runs=sum(len(each.runs) for each in sweep.combinations),
            best=sound[0],
            best_settings=_values(names, sound[0]),
            sound=len(sound),
            noise=sum(each.verdict == "noise" for each in sound),
            failed=sum(each.verdict == "failed" for each in sweep.combinations),
            stopped=sum(each.verdict == "stopped" for each in sweep.combinations),
            rows=rows,
            figures=figures,
            version=versions("relevo")["relevo"],
        )
    )


def _values(names: list[str], tried: Combination) -> list[tuple[str, str]]:
    return [
        (name, shown_value(value))
        for name, value in zip(names, tried.settings.values(), strict=True)
    ]


def _figures(
    names: list[str], sweep: SweepSummary, sound: list[Combination], words: Words
) -> Iterator[SweepFigure]:
    from tasks.vision.figures.parallel import parallel_coordinates
    from tasks.vision.figures.sweeps import Span, TriedSettings, effect_of_setting, sweep_curves

    tried = [
        TriedSettings(
            values=tuple(value for _, value in _values(names, each)),
            mean=each.mean or 0.0,
            accuracies=tuple(run.validation or 0.0 for run in each.runs),
            curves=tuple(run.curve for run in each.runs),
        )
        for each in sound
    ]
    values = [[shown_value(each) for each in listed] for listed in sweep.over.values()]
    ranges = [sweep.ranges.get(path) for path in sweep.over]
    spans = [Span(each.low, each.high, each.log) if each else None for each in ranges]
    stopped = [
        each.runs[0].curve
        for each in sweep.combinations
        if each.verdict == "stopped" and each.runs[0].curve
    ]

    def drawn(
        name: str, draw: Callable[[], Figure], alt: str, caption: str, large: bool = False
    ) -> Iterator[SweepFigure]:
        for _, png in draw_or_skip(name, draw):
            yield SweepFigure(picture(png), alt, caption, large)

    for at, (name, listed) in enumerate(list(zip(names, values, strict=True))[:MOST_FIGURES]):
        yield from drawn(
            name,
            partial(effect_of_setting, name, listed, tried, at, words, spans[at]),
            words(
                "Chart of the validation accuracy of all trainings by the value of %(name)s.",
                name=name,
            ),
            words("%(name)s against validation accuracy: a dot for each training.", name=name),
        )
    if len(names) > 1:
        yield from drawn(
            "parallel coordinates",
            partial(parallel_coordinates, names, values, tried, words, spans),
            words(
                "Parallel coordinates: a line for each combination through its settings to its validation "
                "accuracy; the table has the numbers."
            ),
            words(
                "Each line is a combination of settings, the best one blue; darker orange is more accurate."
            ),
            True,
        )
    if any(len(curve) > 1 for each in tried for curve in each.curves):
        yield from drawn(
            "learning curves",
            partial(sweep_curves, names, tried, words, stopped),
            words(
                "Line chart of validation accuracy by epoch: the best settings and the next ones."
            ),
            words(
                "Validation accuracy after each epoch, the mean over the trainings of each combination."
            ),
            True,
        )
