"""A model's card: what it does, what it learnt from, how good it is, and what nobody has tried.

After Mitchell et al., arXiv 1810.03993. It lies beside the model as README.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.progress import counted, duration
from tasks.store.base import Ref
from tasks.vision.data.dataset import Description
from tasks.vision.evaluation.scores import Scores
from tasks.vision.export.files import LABELS
from tasks.vision.trained_model import Card

FEW = 100  # test images of a label, under which its recall is hardly known


@dataclass(frozen=True)
class Facts:
    """What a card is written from.

    Attributes:
        stage, run, recipe, seed: where the model comes from. source: of the images, as it was given.
        limits: label -> at most so many training images.
        scores: of the evaluation on test. start: the stage that it starts from, and its model's ref.
        versions: of the packages that computed it.
    """

    stage: str
    run: str
    recipe: str
    seed: int
    source: str
    card: Card
    model: Ref
    limits: dict[str, int]
    scores: Scores
    dataset: Ref
    data: Description
    start: tuple[str, Ref] | None
    versions: dict[str, str]


def model_card(facts: Facts) -> str:
    """The card in Markdown, with the header that model hubs read."""
    parts = (_head, _use, _scores, _limits, _data, _lineage)
    return "\n".join(line for part in parts for line in part(facts))


def _head(facts: Facts) -> Iterator[str]:
    card, size = facts.card, facts.card.architecture.image_size
    yield from ("---", "library_name: keras", "pipeline_tag: image-classification", "---", "")
    yield from (f"# {_plain(facts.stage)}", "")
    labels = [f"**{_plain(label)}**" for label in card.labels]
    choice = f"{', '.join(labels[:-1])} or {labels[-1]}"
    yield f"Says which of these a picture of {size} x {size} pixels shows: {choice}."
    yield f"Trained by the recipe `{_code(facts.recipe)}` of relevo."
    yield ""
    yield "| label | stands for | training images | test images | precision | recall |"
    yield "|---|---|---:|---:|---:|---:|"
    metrics, tested = facts.scores.metrics, _tested(facts)
    for label, group in zip(card.labels, card.classes, strict=True):
        learnt = _count(facts, "train", group)
        learnt = min(learnt, facts.limits.get(label, learnt))
        cells = [_plain(label), ", ".join(map(_plain, group)), f"{learnt:,}", f"{tested[label]:,}"]
        cells += [_share(metrics.precision[label]), _share(metrics.recall[label])]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _use(facts: Facts) -> Iterator[str]:
    size = facts.card.architecture.image_size
    yield from ("## Use it", "")
    yield from ("With relevo, in this folder:", "", "```sh", "relevo predict . photos/", "```", "")
    yield "Without it (`pip install keras tensorflow pillow`):"
    yield from ("", "```python", "import json, keras")
    yield 'model = keras.models.load_model("model.keras")'
    yield f'labels = json.load(open("{LABELS}"))["labels"]'
    yield (
        f'photo = keras.utils.load_img("photo.png", target_size=({size}, {size}), '
        'keep_aspect_ratio=True, interpolation="lanczos")'
    )
    yield "seen = model.predict(keras.utils.img_to_array(photo)[None])[0]"
    yield from ("print(dict(zip(labels, seen)))", "```", "")
    yield "`model.keras` holds Keras' own layers alone and opens in safe mode. It takes images"
    yield f"(n, {size}, {size}, 3) of values 0 to 255, normalises them itself, and gives each label's"
    yield f"probability in the order of `{LABELS}`, which `metadata.json` inside it repeats. It computes"
    yield "in float32, as `relevo predict` does; the scores below were computed in the numbers of the"
    yield "machine named at the end. `relevo export` writes SavedModel, TFLite and ONNX."
    yield ""


def _scores(facts: Facts) -> Iterator[str]:
    metrics = facts.scores.metrics
    low, high = metrics.accuracy_interval
    yield from ("## Scores", "")
    yield f"On {counted(metrics.images, 'test image')}, which decided nothing before:"
    yield from ("", "| score | value |", "|---|---|")
    yield f"| accuracy (95 % interval) | {_share(metrics.accuracy)} ({_share(low)} to {_share(high)}) |"
    copies = "moved and mirrored copies" if facts.card.flip else "moved copies"
    yield f"| accuracy, averaged over {copies} | {_share(metrics.accuracy_tta)} |"
    yield f"| always the commonest label | {_share(metrics.majority)} |"
    yield f"| balanced accuracy | {_share(metrics.balanced_accuracy)} |"
    if metrics.pr_auc is not None:
        first = _plain(facts.card.labels[0])
        yield f"| area under precision and recall of {first} | {_share(metrics.pr_auc)} |"
    yield f"| expected calibration error | {_share(metrics.ece)} |"
    yield f"| Brier score (0 best, 2 worst) | {_share(metrics.brier)} |"
    yield ""
    pairs = facts.scores.confused[:3]
    if pairs:
        said = [
            f"{_plain(true)} taken for {_plain(guess)} ({count:,})" for true, guess, count in pairs
        ]
        yield from (f"Commonest mistakes: {', '.join(said)}.", "")


def _limits(facts: Facts) -> Iterator[str]:
    card, metrics, tested = facts.card, facts.scores.metrics, _tested(facts)
    yield from ("## Limits", "")
    yield "- It was tested on pictures of the source that it learnt from and on no others: what another"
    yield "  camera, place or time does to it is not known."
    yield "- Whatever a picture shows, it answers with one of its labels."
    yield f"- It sees the centre square of a picture, as {card.architecture.image_size} pixels a side."
    commonest = max(tested, key=lambda label: tested[label])
    if metrics.majority > 1.5 / len(card.labels):
        yield f"- The labels are out of balance: {metrics.majority:.0%} of the test images are"
        yield f"  {_plain(commonest)}. Look at balanced accuracy and recall rather than at accuracy."
    few = [f"{_plain(label)} ({count})" for label, count in tested.items() if count < FEW]
    if few:
        yield f"- Few test images, so that precision and recall are rough: {', '.join(few)}."
    if facts.limits:
        cut = [f"{_plain(label)} ({limit:,})" for label, limit in facts.limits.items()]
        yield f"- Not all training images were used: at most so many of {', '.join(cut)}."
    if facts.data.duplicates:
        twins = len(facts.data.duplicates)
        have = "image has" if twins == 1 else "images have"
        yield f"- {twins:,} test {have} a twin among the training images."
    if not card.flip:
        yield "- It never saw mirror images."
    yield ""


def _data(facts: Facts) -> Iterator[str]:
    data = facts.data
    counts = {split: sum(values) for split, values in data.counts.items()}
    yield from ("## Data", "")
    yield f"`{_code(facts.source)}`, {len(data.classes)} classes, {data.image_size} x {data.image_size} pixels:"
    yield ", ".join(f"{count:,} {split}" for split, count in counts.items()) + " images"
    yield f"({counted(len(data.unreadable), 'file')} could not be read)."
    yield from ("", f"Digest: `sha256:{facts.dataset.digest}`", "")


def _lineage(facts: Facts) -> Iterator[str]:
    card = facts.card
    yield from ("## Where it comes from", "", "| | |", "|---|---|")
    yield f"| model | `sha256:{facts.model.digest}` |"
    if facts.start:
        name, ref = facts.start
        yield f"| starts from | {_plain(name)}, `sha256:{ref.digest}` |"
        if card.frozen:
            same = "equal byte by byte" if card.frozen["equal"] else "NOT equal"
            yield f"| frozen tensors | {card.frozen['tensors']}, {same} to those |"
        if card.perturb:
            yield f"| drawn anew | {card.perturb:.0%} of each kernel that learns, before it did |"
    else:
        yield "| starts from | scratch |"
    first = "block" if card.frozen_blocks == 1 else f"{card.frozen_blocks} blocks"
    blocks = f" but the first {first}" if card.frozen_blocks else ""
    yield (
        f"| trains | {card.train}{blocks}, {counted(card.epochs, 'epoch')} on "
        f"{counted(card.images, 'image')}; "
        f"kept: {card.selected_epoch} |"
    )
    yield f"| run, seed | `{_code(facts.run)}`, {facts.seed} |"
    yield f"| computed in {duration(card.seconds)} by | {_plain(card.device)} |"
    yield f"| with | {', '.join(f'{name} {each}' for name, each in facts.versions.items())} |"
    yield ""


def _tested(facts: Facts) -> dict[str, int]:
    """How many test images each label has."""
    return dict(zip(facts.card.labels, map(sum, facts.scores.confusion), strict=True))


def _count(facts: Facts, split: str, classes: list[str]) -> int:
    counts = dict(zip(facts.data.classes, facts.data.counts[split], strict=True))
    return sum(counts.get(name, 0) for name in classes)


def _share(value: float | None) -> str:
    return f"{value:.4f}"


def _plain(text: str) -> str:
    """Names come from folders: nothing in them is Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'").replace("|", "/")
