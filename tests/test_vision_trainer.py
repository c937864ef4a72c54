"""Training is a function of (data, recipe, seed): the same bits again, also after a stop."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
from conftest import ROOT

from tasks.vision import steps
from tasks.vision.budget import Progress
from tasks.vision.examples import Examples
from tasks.vision.hardware import Device
from tasks.vision.inference import predict
from tasks.vision.labels import Targets
from tasks.vision.learning import Parent, train_stage
from tasks.vision.memory import Snapshot, Stopped
from tasks.vision.model import Card, Tensors, digest
from tasks.vision.networks import build, initialise
from tasks.vision.runtime import set_up
from tasks.vision.settings import Network, Stage
from tasks.vision.tensors import pack_arrays, unpack_arrays
from tasks.vision.trainer import Diverged
from tasks.vision.transfer import settle_statistics

CPU = Device("cpu", "test", "float32")
DIGITS = Targets([str(i) for i in range(10)], [[str(i)] for i in range(10)], False, {})
PAIR = Targets(["one", "rest"], [["1"], ["0"]], True, {})
TINY = Network(widths=(8, 8), logit_scale=1 / 256)


def stage(**settings: object) -> Stage:
    values = {"network": TINY, "epochs": 2, "head_epochs": 3, "batch_size": 64, "flip": False}
    return Stage.model_validate({**values, **settings})


@pytest.fixture(scope="module")
def scans() -> tuple[Examples, Examples]:
    return read_scans()


def read_scans() -> tuple[Examples, Examples]:
    """400 and 100 of scikit-learn's digits as 32x32 RGB."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = (digits.images[:500] * 15.9).astype(np.uint8)
    images = np.repeat(np.kron(small, np.ones((1, 4, 4), np.uint8))[..., None], 3, 3)
    labels = digits.target[:500].astype(np.int32)
    return Examples(images[:400], labels[:400]), Examples(images[400:], labels[400:])


@dataclass
class Notebook:
    """A memory in this process that asks to stop after so many steps; it keeps what a file would."""

    steps: int = 10**9
    pages: list[Snapshot] = field(default_factory=list)
    asked: int = 0

    def load(self) -> Snapshot | None:
        return self.pages[-1] if self.pages else None

    def save(self, snapshot: Snapshot) -> None:
        # What comes back has been a file: bytes, as in a store, hold less than objects do.
        values, arrays = unpack_arrays(pack_arrays(snapshot.arrays, snapshot.values))
        self.pages.append(Snapshot(arrays, values))

    def stop(self) -> bool:
        self.asked += 1
        return self.asked > self.steps

    def wait(self) -> None:
        """Nothing is written in the background here."""


def fit(
    settings: Stage, data: tuple[Examples, Examples], seed: int = 0, **more: object
) -> tuple[Card, Tensors]:
    return train_stage(settings, DIGITS, *data, seed=seed, device=CPU, **more)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    scans: tuple[Examples, Examples],
) -> None:
    first, again, other = (fit(stage(), scans, seed) for seed in (0, 0, 1))
    assert digest(first[1]) == digest(again[1])
    assert digest(first[1]) != digest(other[1])
    kept = ("loss", "accuracy", "validation_loss")
    assert [[row[k] for k in kept] for row in first[0].history] == [
        [row[k] for k in kept] for row in again[0].history
    ]


@pytest.mark.parametrize("steps", [1, 6, 11])
def test_a_stopped_training_ends_with_the_bits_of_an_undisturbed_one(
    scans: tuple[Examples, Examples], steps: int
) -> None:
    settings = stage(keep="best")
    _, undisturbed = fit(settings, scans)
    notebook = Notebook(steps)
    with pytest.raises(Stopped):
        fit(settings, scans, memory=notebook)
    notebook.steps = 10**9
    card, resumed = fit(settings, scans, memory=notebook)
    assert card.resumed
    assert len(card.history) == 2
    assert digest(resumed) == digest(undisturbed)


def test_a_stop_inside_a_batch_or_while_measuring_leaves_the_same_bits_too(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch asks within each of its ten batches, after each, and once in measuring."""
    monkeypatch.setattr(steps, "PART", 20)
    settings = stage(epochs=2, batch_size=40)
    counting = Notebook()
    _, undisturbed = fit(settings, scans, memory=counting)
    epoch = 10 * (1 + 1) + 1
    assert counting.asked == 2 * epoch + 5, "and five times while the statistics are settled"
    for ask in (0, epoch - 1, epoch + 4, 2 * epoch - 1, 2 * epoch + 2):
        notebook = Notebook(ask)
        with pytest.raises(Stopped):
            fit(settings, scans, memory=notebook)
        notebook.steps = 10**9
        card, resumed = fit(settings, scans, memory=notebook)
        assert card.resumed == bool(notebook.pages)
        assert digest(resumed) == digest(undisturbed), ask
        assert [row["validation_loss"] for row in card.history] == [
            row["validation_loss"] for row in counting.pages[-1].values["history"]
        ], ask


@pytest.mark.parametrize("steps", [2, 20, 25])
def test_head_then_all_resumes_in_either_phase(
    scans: tuple[Examples, Examples], steps: int
) -> None:
    parent = Parent(*train_stage(stage(), PAIR, *_pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head then all")
    card, undisturbed = fit(settings, scans, parent=parent)
    assert [row["epoch"] for row in card.history] == [1, 2, 3, 4, 5]
    notebook = Notebook(steps)
    with pytest.raises(Stopped):
        fit(settings, scans, parent=parent, memory=notebook)
    notebook.steps = 10**9
    again, resumed = fit(settings, scans, parent=parent, memory=notebook)
    assert digest(resumed) == digest(undisturbed)
    assert again.resumed
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4, 5]


def test_a_head_that_only_begins_is_placed_by_a_few_images(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Parent(*train_stage(stage(), PAIR, *_pair(scans), seed=0, device=CPU))
    steps = {}
    for train in ("head", "head then all"):
        told: list[Progress] = []
        monkeypatch.setattr("tasks.vision.learning.HEAD_START", 100)
        fit(stage(start="baseline", train=train), scans, parent=parent, watch=told.append)
        first = [each for each in told if each.phase == "head" and not each.row]
        steps[train] = sum(each.epoch == 1 for each in first)
    assert steps == {"head": 10, "head then all": 6}  # of 16 images, at least


def _pair(scans: tuple[Examples, Examples]) -> tuple[Examples, Examples]:
    train, check = (Examples(part.inputs, (part.targets != 1).astype(np.int32)) for part in scans)
    return train, check


@pytest.mark.parametrize("features", ["last layer", "every layer"])
@pytest.mark.parametrize("kind", ["fast", "classroom"])
def test_a_head_leaves_the_backbone_alone_and_learns(
    scans: tuple[Examples, Examples], features: str, kind: str
) -> None:
    widths = {"fast": (8, 8), "classroom": (8, 8, 16)}[kind]
    network = Network.model_validate({"kind": kind, "widths": widths})
    optimizer = "muon" if kind == "fast" else "adam"
    base = stage(network=network, optimizer=optimizer)
    parent = Parent(*train_stage(base, PAIR, *_pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head", features=features, epochs=20)
    card, tensors = fit(settings, scans, parent=parent)
    assert card.frozen is not None
    assert card.frozen["equal"]
    shared = [n for n in tensors if not n.startswith(("head/", "standardise/"))]
    assert shared
    for name in shared:
        assert tensors[name].tobytes() == parent.tensors[name].tobytes()
    assert card.history[-1]["loss"] < card.history[0]["loss"]
    if features == "every layer":
        assert card.history[-1]["accuracy"] > 0.5


def test_images_sorted_by_class_do_not_bias_the_statistics() -> None:
    draw = np.random.default_rng(0)
    dark = draw.integers(0, 40, (5000, 32, 32, 3), dtype=np.uint8)
    bright = draw.integers(180, 256, (5000, 32, 32, 3), dtype=np.uint8)
    by_class = np.concatenate([dark, bright])
    set_up(CPU)
    model = build(TINY, 32, 10, [0.5] * 3, [0.25] * 3)
    means = []
    for images in (by_class, by_class[draw.permutation(10_000)]):
        initialise(model, images, 0)
        settle_statistics(model, images)
        means.append(model.get_layer("norm_1a").moving_mean.numpy())
    assert means[0] == pytest.approx(means[1], rel=0.1, abs=0.1)


def test_a_control_on_random_features_has_a_backbone_that_learnt_nothing(
    scans: tuple[Examples, Examples],
) -> None:
    transfer = stage(start="baseline", train="head", features="every layer")
    controls = transfer.controls_of(TINY)
    random, scratch = controls["random"], controls["scratch"]
    assert random.random_backbone
    card, _ = fit(random, scans)
    assert card.frozen is None
    assert scratch.train == "all"
    assert scratch.epochs == 1
    assert random.epochs == transfer.epochs
    both = transfer.model_copy(update={"train": "head then all"}).controls_of(TINY)
    assert both["scratch"].epochs == 2
    assert both["random"].epochs == 5, "all of its epochs, for the head"


def test_kept_features_give_the_same_scores_as_the_whole_network(
    scans: tuple[Examples, Examples],
) -> None:
    _, check = scans
    parent = Parent(*train_stage(stage(), PAIR, *_pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head", features="every layer")
    card, tensors = fit(settings, scans, parent=parent)
    probabilities = predict(card, tensors, check.inputs, CPU)
    right = (probabilities.argmax(1) == check.targets).mean()
    assert probabilities.shape == (100, 10)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert right == pytest.approx(card.history[-1]["validation_accuracy"], abs=0.021)


def test_fine_tuning_keeps_what_the_head_knows(scans: tuple[Examples, Examples]) -> None:
    wider = {"network": Network(widths=(16, 32)), "batch_size": 40}
    first = stage(epochs=6, **wider)
    parent = Parent(*train_stage(first, PAIR, *_pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head then all", head_epochs=100, **wider)
    card, _ = fit(settings, scans, parent=parent)
    head, tuned = card.history[99:101]  # the head's last epoch, and the first of all layers
    assert tuned["validation_loss"] < 0.95 * head["validation_loss"]
    assert tuned["validation_accuracy"] > head["validation_accuracy"] + 0.1


@pytest.mark.parametrize("train", ["all", "head then all"])
def test_frozen_blocks_stay_as_they_were_handed_on(
    scans: tuple[Examples, Examples], train: str
) -> None:
    parent = Parent(*fit(stage(), scans))
    settings = stage(start="baseline", train=train, frozen_blocks=1)
    notebook = Notebook(steps=12 if train == "all" else 40)
    with pytest.raises(Stopped):
        fit(settings, scans, parent=parent, memory=notebook)
    notebook.steps = 10**9
    card, tensors = fit(settings, scans, parent=parent, memory=notebook)
    assert card.resumed
    assert card.frozen_blocks == 1
    assert digest(tensors) == digest(fit(settings, scans, parent=parent)[1])
    for name, value in parent.tensors.items():
        same = np.array_equal(tensors[name], value)
        assert same == (name.startswith("whiten/") or "_1" in name.partition("/")[0]), name


def test_float16_learns_under_loss_scaling(scans: tuple[Examples, Examples]) -> None:
    half = Device("cpu", "test", "mixed_float16")
    settings = stage(epochs=2, batch_size=40)
    card, tensors = train_stage(settings, DIGITS, *scans, seed=0, device=half)
    assert card.history[1]["loss"] < card.history[0]["loss"] < np.log(10) + 0.1
    assert all(np.isfinite(value).all() for value in tensors.values())


def test_a_small_data_set_takes_ten_steps_an_epoch(scans: tuple[Examples, Examples]) -> None:
    ticks: list[float] = []
    fit(
        stage(batch_size=2000, epochs=1), scans, watch=lambda progress: ticks.append(progress.share)
    )
    assert len(ticks) == 10 + 1  # and one for the end of the epoch


def test_the_best_epoch_may_be_one_of_the_heads(scans: tuple[Examples, Examples]) -> None:
    parent = Parent(*train_stage(stage(epochs=4), PAIR, *_pair(scans), seed=0, device=CPU))
    settings = stage(
        start="baseline", train="head then all", head_epochs=40, epochs=1, keep="best", rate=20.0
    )
    card, tensors = fit(settings, scans, parent=parent)
    best = max(row["validation_accuracy"] for row in card.history)
    assert card.kept_epoch <= 40, "fine-tuning at such a rate should have spoilt the network"
    assert card.history[card.kept_epoch - 1]["validation_accuracy"] == best
    right = (predict(card, tensors, scans[1].inputs, CPU).argmax(1) == scans[1].targets).mean()
    assert right == pytest.approx(best, abs=0.021)


def test_a_loss_that_explodes_names_the_epoch_and_the_setting(
    scans: tuple[Examples, Examples],
) -> None:
    broken = stage(
        network=Network(kind="classroom", widths=(8, 8), logit_scale=1),
        optimizer="sgd",
        rate=900.0,
        epochs=30,
    )
    train, check = scans
    twice = Examples(np.concatenate([train.inputs] * 2), np.concatenate([train.targets] * 2))
    with pytest.raises(Diverged, match=r"epoch \d+ of 30; lower the stage's rate"):
        fit(broken, (twice, check))


def test_tensorflow_computes_with_onednn_on_every_processor() -> None:
    code = (
        "from tasks.vision.hardware import loading_tensorflow\n"
        "with loading_tensorflow():\n"
        "    from tensorflow.python.util._pywrap_util_port import IsMklEnabled\n"
        "print(IsMklEnabled())"
    )
    unset = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        env=unset,
    )
    assert answer.stdout.strip() == "True", answer.stderr


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network without batch normalisation, whose statistics are each part's own."""
    classroom = stage(
        network=Network(kind="classroom", widths=(8, 8, 16)), optimizer="sgd", rate=0.01, shift=0
    )
    whole, _ = train_stage(classroom, DIGITS, *scans, seed=1, device=CPU)
    monkeypatch.setattr(steps, "PART", 20)
    parts, _ = train_stage(classroom, DIGITS, *scans, seed=1, device=CPU)
    assert [row["loss"] for row in parts.history] == pytest.approx(
        [row["loss"] for row in whole.history], rel=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "widths", "least"), [("fast", (4, 4, 4), 9), ("classroom", (4, 4, 4, 4), 18)]
)
def test_a_network_knows_the_smallest_image_that_it_can_take(
    kind: Literal["fast", "classroom"], widths: tuple[int, ...], least: int
) -> None:
    set_up(CPU)
    network = Network(kind=kind, widths=widths)
    assert network.least_size == least
    build(network, least, 2, [0.5] * 3, [0.5] * 3)
    with pytest.raises(ValueError, match="size"):
        build(network, least - 1, 2, [0.5] * 3, [0.5] * 3)


def test_a_model_learns_the_frequencies_that_limits_have_cut(
    scans: tuple[Examples, Examples],
) -> None:
    """Images that tell nothing: what is left to learn is how frequent each target is."""
    blank = np.zeros_like(scans[0].inputs[:200])
    half = Examples(blank, np.repeat(np.array([0, 1], np.int32), 100))
    shift = np.array([np.log(0.5 / 0.1) - np.log(0.5 / 0.9)], np.float32)  # the data had 1 in 10
    network = Network(widths=(8, 8), logit_scale=1.0)
    settings = stage(network=network, epochs=40, optimizer="adam", rate=10.0)
    for given, expected in ((None, 0.5), (shift, 0.1)):
        card, tensors = train_stage(
            settings, PAIR, half, scans[1], seed=0, device=CPU, prior_shift=given
        )
        assert predict(card, tensors, blank[:1], CPU)[0, 0] == pytest.approx(expected, abs=0.05)


def test_early_epochs_see_smaller_images_and_resume_there_too(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stage(epochs=3, early={"epochs": 2, "image_size": 24})
    sizes: list[int] = []
    learn = steps.Steps.learn

    def note(self: steps.Steps, inputs: np.ndarray, *rest: object) -> tuple[float, int]:
        sizes.append(inputs.shape[1])
        return learn(self, inputs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(steps.Steps, "learn", note)
    card, undisturbed = fit(settings, scans)
    assert sizes == [24] * (2 * len(sizes) // 3) + [32] * (len(sizes) // 3)
    notebook = Notebook(steps=3)
    with pytest.raises(Stopped):
        fit(settings, scans, memory=notebook)
    notebook.steps = 10**9
    _, resumed = fit(settings, scans, memory=notebook)
    assert digest(resumed) == digest(undisturbed)
    assert digest(undisturbed) != digest(fit(stage(epochs=3), scans)[1])
    assert predict(card, undisturbed, scans[1].inputs, CPU).shape == (100, 10)
