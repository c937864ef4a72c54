"""Task: the run's figures and its report, from what the other tasks left in the store."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.caching import step
from tasks.kept import load_dataset, load_evaluation, load_model
from tasks.keys import Done
from tasks.page import render
from tasks.progress import Event, tell
from tasks.rivals import Answers, answers_of, differences
from tasks.store import Ref, open_store
from tasks.vision.augment import evenly
from tasks.vision.curves import overfitting
from tasks.vision.dataset import Dataset
from tasks.vision.model import Card, best_epoch
from tasks.vision.words import WORDS, epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20  # pictures in a grid


@step
def report(run: dict[str, Any], work: dict[str, Any], store: str) -> Any:
    """Draw the figures and write the page; returns the ref of a zip that holds them.

    Args:
        run: language, title, description, recipe, command, seed, device, versions, source, the data
            set's ref, and for each stage its start, its settings and the refs of models and evaluations.
    """
    lang = run["lang"]
    data = load_dataset(Ref.model_validate(run["dataset"]), store)
    tell(Event("write report", "drawing figures"))
    stages: dict[str, dict[str, Any]] = {}
    pictures: dict[str, bytes] = {}
    answers: dict[str, Answers] = {}
    for name, entry in run["stages"].items():
        numbers, arrays = _numbers(entry, store, lang)
        answers[name] = answers_of(arrays)
        stages[name] = {**numbers, "controls": {}}
        for kind, control in entry["controls"].items():
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
        **{key: run[key] for key in ("title", "description", "recipe_toml", "command", "seed")},
        **{key: run[key] for key in ("device", "versions")},
        "dataset": _data_numbers(run, data),
        "stages": stages,
    }
    pictures = {**dict(_distribution(data, lang)), **pictures}
    html = render(page_data, pictures, lang)
    files = {"report.html": html.encode(), **_figure_files(pictures)}
    ref = open_store(store).put("report", _zip(files), ".zip", made_from=())
    return Done(ref=ref, ingredients=work).model_dump(mode="json")


def _drawn(name: str, draw: Callable[[], Figure]) -> Iterator[tuple[str, bytes]]:
    """A figure under its name, as PNG; one that can't be drawn is named, and the report does without."""
    from tasks.vision.sheets import png

    try:
        content = png(draw())
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        tell(Event("write report", f"the figure {name} can't be drawn and is left out ({why})"))
        return
    yield name, content


def _say_undrawn(names: list[str]) -> None:
    from tasks.vision.sheets import undrawn

    if lacking := undrawn("".join(names)):
        some = lacking if len(lacking) <= 20 else f"{lacking[:20]}…"
        line = f"figures show boxes for {some}, which no font here has; install e.g. fonts-noto-cjk or -core"
        tell(Event("write report", line))


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
    entry: dict[str, Any], store: str, lang: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One trained stage (or control) as the page shows it, and its predictions."""
    model = Ref.model_validate(entry["model"])
    card, _ = load_model(model, store)
    summary, arrays = load_evaluation(Ref.model_validate(entry["evaluation"]), store)
    network = f"{card.architecture.network}, {card.architecture.image_size} px"
    if card.train == "head":
        network += ", " + WORDS[lang][f"on {card.architecture.features}"]
    frozen = {"parent": entry["start"], **card.frozen} if card.frozen and entry["start"] else None
    return {
        "labels": card.labels,
        "groups": _groups(card),
        "flip": card.flip,
        "positive": card.labels[0] if card.binary else None,
        "start": entry["start"],
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
        "kept_epoch": card.kept_epoch,
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


def _data_numbers(run: dict[str, Any], data: Dataset) -> dict[str, Any]:
    about = data.description
    return {
        "digest": f"sha256:{run['dataset']['digest']}",
        "source": run["source"],
        "image_size": about.image_size,
        "classes": about.classes,
        "counts": about.counts,
        "duplicates": {"count": len(about.duplicates), "pairs": about.duplicates[:20]},
        "unreadable": about.unreadable,
    }


def _distribution(data: Dataset, lang: str) -> Iterator[tuple[str, bytes]]:
    from tasks.vision.figures import class_distribution

    counts, title = data.description.counts, WORDS[lang]["title_counts"]
    return _drawn(
        "class_distribution", lambda: class_distribution(data.classes, counts, title, lang)
    )


def _stage_figures(
    name: str, numbers: dict[str, Any], arrays: dict[str, np.ndarray], data: Dataset, lang: str
) -> Iterator[tuple[str, bytes]]:
    from tasks.vision.figures import accuracy_curves, loss_curves
    from tasks.vision.grids import confusion_matrix, prediction_grid, reliability_diagram

    def title(kind: str, **values: str) -> str:
        return WORDS[lang][f"title_{kind}"].format(name=name, **values)

    images = data.part("test").images[arrays["positions"]]
    truth, probabilities, labels = arrays["truth"], arrays["probabilities"], numbers["labels"]
    history, best = numbers["history"], numbers["best_epoch"]

    def grid(kind: str, chosen: np.ndarray, title: str) -> Iterator[tuple[str, bytes]]:
        asked = (images[chosen], truth[chosen].tolist(), probabilities[chosen], labels, title, lang)
        return _drawn(f"{name}/{kind}", lambda: prediction_grid(*asked))

    yield from _drawn(f"{name}/loss", lambda: loss_curves(history, title("loss"), best, lang))
    yield from _drawn(
        f"{name}/accuracy", lambda: accuracy_curves(history, title("accuracy"), best, lang)
    )
    if numbers["positive"]:
        for target, label in enumerate(labels):
            chosen = _spread(np.flatnonzero(truth == target))
            yield from grid(f"predictions_{label}", chosen, title("label", label=label))
    else:
        # The same share of every label, so that a rare one is seen too; of many labels, some.
        some = _spread(np.unique(truth))
        per_label = [_spread(np.flatnonzero(truth == t), SHOWN // len(some)) for t in some]
        chosen = np.sort(np.concatenate(per_label))
        yield from grid("predictions_all", chosen, title("images"))
    guess = probabilities.argmax(1)
    wrong = np.flatnonzero(guess != truth)
    if len(wrong):
        sure = wrong[np.argsort(-probabilities[wrong, guess[wrong]], kind="stable")]
        yield from grid("mistakes", sure[:SHOWN], title("mistakes"))
    confusion, bins, ece = numbers["confusion"], numbers["reliability"], numbers["metrics"]["ece"]
    yield from _drawn(
        f"{name}/confusion", lambda: confusion_matrix(confusion, labels, title("confusion"), lang)
    )
    yield from _drawn(
        f"{name}/reliability",
        lambda: reliability_diagram(bins, ece, title("reliability"), lang),
    )


def _spread(positions: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """At most so many, evenly spread over all of them, so that no choice flatters the model."""
    return positions[evenly(len(positions), most)]


def _comparison(
    name: str, numbers: dict[str, Any], stages: dict[str, dict[str, Any]], lang: str
) -> Iterator[tuple[str, bytes]]:
    """Validation accuracy over time of a stage that starts from another, and of what it is measured against."""
    from tasks.vision.figures import transfer_against_scratch

    if not numbers["start"]:
        return
    words = WORDS[lang]
    rivals = [("transfer", words["starts_from"].format(name=name, start=numbers["start"]), numbers)]
    rivals += [
        (kind, words[kind].format(epochs=epochs(control["epochs"], lang)), control)
        for kind, control in numbers["controls"].items()
    ]
    rivals += [
        (
            "scratch",
            words["other_stage"].format(name=other, epochs=epochs(rival["epochs"], lang)),
            rival,
        )
        for other, rival in stages.items()
        if not rival["start"] and rival["labels"] == numbers["labels"]
    ]
    curves = [
        {
            "name": title,
            "kind": kind,
            "seconds": [row["seconds"] for row in rival["history"]],
            "accuracy": [row["validation_accuracy"] for row in rival["history"]],
        }
        for kind, title, rival in rivals
    ]
    title = words["title_against"].format(name=name)
    yield from _drawn(
        f"{name}/transfer_against_scratch", lambda: transfer_against_scratch(curves, title, lang)
    )


def _zip(files: dict[str, bytes]) -> bytes:
    """A zip with a fixed date, so that the same report has the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
