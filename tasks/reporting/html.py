"""Render the report as one HTML page that needs no network.

Every sentence in `report.html`, and in the `base.html` that all pages extend, is inside `{% trans %}` or `_()`.
A further language is one more file in `translations/`, which maps each English message of page and figures to
its translation.
"""

from __future__ import annotations

import shlex
import tomllib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tasks.reporting.baselines import Stages, stage_verdict
from tasks.reporting.content import Comparison, ReportContent, StageContent
from tasks.runs.next_commands import RUN, STORE
from tasks.vision.errors import BadInput
from tasks.vision.figures import numbers
from tasks.vision.figures.overfitting import overfitting
from tasks.vision.figures.words import ENGLISH, Words
from tasks.vision.text import printable

FOLDER = Path(__file__).parent
TRANSLATIONS = FOLDER / "translations"
BALANCED_ACCURACY_GAP = 5.0  # points from which an opposite difference is worth a sentence
FIGURES = (
    "loss",
    "accuracy",
    "penalty",
    "confusion",
    "reliability",
    "transfer_against_scratch",
)


@dataclass(frozen=True)
class Picture:
    """A figure on the page: a data URI, and the size in CSS pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Node:
    """A stage in the chain, with the stages that start from it."""

    name: str
    stage: StageContent
    children: list[Node] = field(default_factory=list)


def render(content: ReportContent, figures: Mapping[str, bytes], words: Words = ENGLISH) -> str:
    """Render the page; `figures` maps names such as `baseline/loss` to PNG bytes.

    `fill_in` completes its commands when a run is published.

    Figures that are missing are left out; figures with unknown names come last.
    """
    stages = content.stages
    verdicts = [stage_verdict(name, stages, rows) for name, rows in content.comparisons.items()]
    template = environment(words).get_template("report.html")
    return template.render(
        run=content.run,
        overview=content.overview,
        new_pictures=content.new_pictures,
        data=content.data,
        stages=stages,
        best=content.best,
        alike=content.alike,
        photos={name: content.photos.get(name) for name in stages},
        run_name=RUN,
        store_option=STORE,
        # Descriptions of built-in recipes have translations; a user's own stays as it is.
        description=words.catalogue.get(content.run.description, content.run.description),
        lang=words.lang,
        verdicts=verdicts,
        chain=stage_tree(stages),
        anchors={name: f"stage-{i}" for i, name in enumerate(stages, start=1)},
        pictures={name: picture(png) for name, png in figures.items()},
        other_figures=[name for name in figures if not _has_place(name, stages)],
        balanced_disagrees=balanced_disagrees,
        overfitting=partial(overfitting, words=words),
        has_tuned=any(
            stage.card.pretrained and not stage.card.on_features for stage in stages.values()
        ),
        has_pretrained=any(stage.card.pretrained for stage in stages.values()),
        has_own_start=any(stage.start and not stage.card.pretrained for stage in stages.values()),
    )


def load_words(lang: str) -> Words:
    """Load the catalogue of a language.

    Raises:
        BadInput: there is no translation into `lang`.
    """
    catalogues = {path.stem: path for path in TRANSLATIONS.glob("*.toml")}
    if lang == "en":
        return ENGLISH
    if lang not in catalogues:
        known = ", ".join(sorted({"en", *catalogues}))
        raise BadInput(f"no report in language {lang!r}; expected one of: {known}")
    return Words(lang, tomllib.loads(catalogues[lang].read_text("utf-8")))


def balanced_disagrees(comparison: Comparison) -> bool:
    """Return whether balanced accuracy contradicts accuracy, which a frequent label may dominate."""
    points, balanced = comparison.points, comparison.balanced_points
    return abs(balanced) >= BALANCED_ACCURACY_GAP and points * balanced <= 0


def stage_tree(stages: Stages) -> list[Node]:
    """Arrange the stages as trees: each under the stage that it starts from, in graph order."""
    nodes = {name: Node(name, stage) for name, stage in stages.items()}
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.stage.start or "")
        (parent.children if parent else roots).append(node)
    return roots


def _has_place(figure: str, stages: Stages) -> bool:
    return figure == "class_distribution" or any(
        figure in {f"{name}/{kind}" for kind in FIGURES} for name in stages
    )


def picture(png: bytes) -> Picture:
    """Return a figure as the page embeds it."""
    # A PNG's header holds its size in pixels; the page shows half of that, sharp on fine screens.
    width, height = int.from_bytes(png[16:20]) // 2, int.from_bytes(png[20:24]) // 2
    return Picture(f"data:image/png;base64,{b64encode(png).decode()}", width, height)


def environment(words: Words) -> Environment:
    """Return the template's environment: translations, and numbers in the language's format."""

    def plural(one: str, many: str, n: int) -> str:
        return words.translate(one if n == 1 else many)

    jinja = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
    )
    jinja.policies["ext.i18n.trimmed"] = True
    jinja.install_gettext_callables(words.translate, plural, newstyle=True)  # type: ignore[attr-defined]
    formats = (
        *(numbers.share, numbers.percent, numbers.elapsed),
        *(numbers.points, numbers.number, numbers.significant, numbers.probability),
    )
    jinja.filters.update({each.__name__: partial(each, lang=words.lang) for each in formats})
    jinja.filters["breakable"] = breakable
    jinja.filters["shown"] = printable
    jinja.filters["quoted"] = shlex.quote
    return jinja


def breakable(name: str) -> Markup:
    """Allow a line break after each underscore of a name."""
    return escape(name).replace("_", Markup("_<wbr>"))
