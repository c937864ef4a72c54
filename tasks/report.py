"""Task: the run's figures and its report, from what the other tasks left in the store."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.caching import step
from tasks.kept import load_dataset, load_evaluation, load_model
from tasks.keys import Done
from tasks.page import render
from tasks.progress import Event, tell
from tasks.store import Ref, open_store
from tasks.vision.augment import evenly
from tasks.vision.curves import overfitting
from tasks.vision.dataset import Dataset
from tasks.vision.model import Card, best_epoch

SHOWN = 20  # pictures in a grid
CONTROL_NAMES = {"scratch": "from scratch", "random": "a head on a frozen random network"}


@step
def report(run: dict[str, Any], work: dict[str, Any], store: str) -> Any:
    """Draw the figures and write the page; returns the ref of a zip that holds them.

    Args:
        run: title, description, recipe, command, seed, device, versions, source, the data set's ref,
            and for each stage its start, its settings and the refs of models and evaluations.
    """
    data = load_dataset(Ref.model_validate(run["dataset"]), store)
    tell(Event("write report", "drawing figures"))
    stages: dict[str, dict[str, Any]] = {}
    pictures: dict[str, bytes] = {}
    for name, entry in run["stages"].items():
        numbers, arrays = _numbers(entry, store)
        numbers["controls"] = {
            kind: _numbers(control, store)[0] for kind, control in entry["controls"].items()
        }
        stages[name] = numbers
        pictures.update(_stage_figures(name, numbers, arrays, data))
    for name, numbers in stages.items():
        pictures.update(_comparison(name, numbers, stages))
    page_data = {
        **{key: run[key] for key in ("title", "description", "recipe_toml", "command", "seed")},
        **{key: run[key] for key in ("device", "versions")},
        "dataset": _data_numbers(run, data),
        "stages": stages,
    }
    pictures = {"class_distribution": _distribution(data), **pictures}
    html = render(page_data, pictures)
    files = {"report.html": html.encode(), **_figure_files(pictures)}
    ref = open_store(store).put("report", _zip(files), ".zip", made_from=())
    return Done(ref=ref, ingredients=work).model_dump(mode="json")


def _figure_files(pictures: dict[str, bytes]) -> dict[str, bytes]:
    """Figures by file name: a label may hold any letter, a name in the store only some."""
    files: dict[str, bytes] = {}
    for name, content in pictures.items():
        plain = re.sub(r"[^\w.-]+", "-", name.replace("/", "_"), flags=re.ASCII)
        while f"figures/{plain}.png" in files:
            plain += "-"
        files[f"figures/{plain}.png"] = content
    return files


def _numbers(entry: dict[str, Any], store: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One trained stage (or control) as the page shows it, and its predictions."""
    model = Ref.model_validate(entry["model"])
    card, _ = load_model(model, store)
    summary, arrays = load_evaluation(Ref.model_validate(entry["evaluation"]), store)
    network = f"{card.architecture.network}, {card.architecture.image_size} px"
    if card.train == "head":
        network += f", head on its {card.architecture.features}"
    frozen = {"parent": entry["start"], **card.frozen} if card.frozen and entry["start"] else None
    return {
        "labels": card.labels,
        "groups": _groups(card),
        "flip": card.flip,
        "positive": card.labels[0] if card.binary else None,
        "start": entry["start"],
        "trains": card.train,
        "network": network,
        "epochs": card.epochs,
        "seconds": card.seconds,
        "images_per_second": card.images_per_second,
        "train_images": card.images,
        "history": card.history,
        "best_epoch": best_epoch(card.history),
        "kept_epoch": card.kept_epoch,
        "overfitting": overfitting(card.history),
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


def _distribution(data: Dataset) -> bytes:
    from tasks.vision.figures import class_distribution, png

    return png(class_distribution(data.classes, data.description.counts, "Images per class"))


def _stage_figures(
    name: str, numbers: dict[str, Any], arrays: dict[str, np.ndarray], data: Dataset
) -> Iterator[tuple[str, bytes]]:
    from tasks.vision.figures import accuracy_curves, loss_curves, png
    from tasks.vision.grids import confusion_matrix, prediction_grid, reliability_diagram

    images = data.part("test").images[arrays["positions"]]
    truth, probabilities, labels = arrays["truth"], arrays["probabilities"], numbers["labels"]
    history, best = numbers["history"], numbers["best_epoch"]

    def grid(kind: str, chosen: np.ndarray, title: str) -> tuple[str, bytes]:
        figure = prediction_grid(
            images[chosen], truth[chosen].tolist(), probabilities[chosen], labels, title
        )
        return f"{name}/{kind}", png(figure)

    yield f"{name}/loss", png(loss_curves(history, f"{name}: loss", best))
    yield f"{name}/accuracy", png(accuracy_curves(history, f"{name}: accuracy", best))
    if numbers["positive"]:
        for target, label in enumerate(labels):
            chosen = _spread(np.flatnonzero(truth == target))
            yield grid(f"predictions_{label}", chosen, f"{name}: test images of {label!r}")
    else:
        # The same share of every label, so that a rare one is seen too.
        per_label = [
            _spread(np.flatnonzero(truth == t), SHOWN // len(labels)) for t in range(len(labels))
        ]
        chosen = np.sort(np.concatenate(per_label))
        yield grid("predictions_all", chosen, f"{name}: test images")
    guess = probabilities.argmax(1)
    wrong = np.flatnonzero(guess != truth)
    if len(wrong):
        sure = wrong[np.argsort(-probabilities[wrong, guess[wrong]], kind="stable")]
        yield grid("mistakes", sure[:SHOWN], f"{name}: the mistakes it was surest of")
    yield (
        f"{name}/confusion",
        png(confusion_matrix(numbers["confusion"], labels, f"{name}: confusion")),
    )
    diagram = reliability_diagram(
        numbers["reliability"], numbers["metrics"]["ece"], f"{name}: how sure, how right"
    )
    yield f"{name}/reliability", png(diagram)


def _spread(positions: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """At most so many, evenly spread over all of them, so that no choice flatters the model."""
    return positions[evenly(len(positions), most)]


def _comparison(
    name: str, numbers: dict[str, Any], stages: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, bytes]]:
    """Validation accuracy over time of a stage that starts from another, and of what it is measured against."""
    from tasks.vision.figures import png, transfer_against_scratch

    if not numbers["start"]:
        return
    rivals = [("transfer", f"{name}, starts from {numbers['start']}", numbers)]
    rivals += [
        (kind, f"{CONTROL_NAMES[kind]}, {_epochs(control['epochs'])}", control)
        for kind, control in numbers["controls"].items()
    ]
    rivals += [
        ("scratch", f"stage {other}, from scratch, {_epochs(rival['epochs'])}", rival)
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
    figure = transfer_against_scratch(curves, f"{name} against scratch", "validation accuracy")
    yield f"{name}/transfer_against_scratch", png(figure)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _zip(files: dict[str, bytes]) -> bytes:
    """A zip with a fixed date, so that the same report has the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()
