"""Transfer: frozen layers never change, heads train on their features, fine-tuning continues."""

from __future__ import annotations

import numpy as np
import pytest
from support.scans import CPU, PAIR, TINY, MemoryCheckpointer, fit, pair, read_scans, stage

from tasks.vision.data.batches.targets import Examples
from tasks.vision.network.networks import build_model, initialise
from tasks.vision.network.predictor import Predictor
from tasks.vision.network.weights import get_weights
from tasks.vision.recipe.controls import controls_of
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import digest
from tasks.vision.training.stage import Parent, train_stage
from tasks.vision.training.state import Progress, TrainingInterrupted
from tasks.vision.training.transfer import backbone_weights, load_backbone


@pytest.fixture(scope="module")
def scans() -> tuple[Examples, Examples]:
    return read_scans()


@pytest.mark.parametrize("steps", [2, 20, 25])
def test_head_then_all_resumes_in_either_phase(
    scans: tuple[Examples, Examples], steps: int
) -> None:
    parent = Parent(*train_stage(stage(), PAIR, *pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head then all")
    card, undisturbed = fit(settings, scans, parent=parent)
    assert [row["epoch"] for row in card.history] == [1, 2, 3, 4, 5]
    notebook = MemoryCheckpointer(steps)
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, parent=parent, checkpointer=notebook)
    notebook.steps = 10**9
    again, resumed = fit(settings, scans, parent=parent, checkpointer=notebook)
    assert digest(resumed) == digest(undisturbed)
    assert again.resumed
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4, 5]


def test_a_head_is_pretrained_on_a_few_images_before_fine_tuning(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Parent(*train_stage(stage(), PAIR, *pair(scans), seed=0, device=CPU))
    steps = {}
    for train in ("head", "head then all"):
        reports: list[Progress] = []
        monkeypatch.setattr("tasks.vision.training.stage.HEAD_IMAGES", 100)
        fit(stage(start="baseline", train=train), scans, parent=parent, on_progress=reports.append)
        first = [each for each in reports if each.phase == "head" and not each.row]
        steps[train] = sum(each.epoch == 1 for each in first)
    assert steps == {"head": 10, "head then all": 6}  # of 16 images, at least


@pytest.mark.parametrize("features", ["last layer", "every layer"])
@pytest.mark.parametrize("kind", ["airbench", "simple_cnn"])
def test_a_head_leaves_the_backbone_alone_and_learns(
    scans: tuple[Examples, Examples], features: str, kind: str
) -> None:
    widths = {"airbench": (8, 8), "simple_cnn": (8, 8, 16)}[kind]
    network = Network.model_validate({"kind": kind, "widths": widths})
    optimizer = "muon" if kind == "airbench" else "adam"
    base = stage(network=network, optimizer=optimizer)
    parent = Parent(*train_stage(base, PAIR, *pair(scans), seed=0, device=CPU))
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


def test_a_control_on_random_features_has_a_backbone_that_learnt_nothing(
    scans: tuple[Examples, Examples],
) -> None:
    transfer = stage(start="baseline", train="head", features="every layer")
    controls = controls_of(transfer, TINY)
    random, scratch = controls["random"], controls["scratch"]
    assert random.random_backbone
    card, _ = fit(random, scans)
    assert card.frozen is None
    assert scratch.train == "all"
    assert scratch.epochs == 1
    assert random.epochs == transfer.epochs
    both = controls_of(transfer.model_copy(update={"train": "head then all"}), TINY)
    assert both["scratch"].epochs == 2
    assert both["random"].epochs == 5, "all of its epochs, for the head"


def test_cached_features_give_the_same_scores_as_the_whole_network(
    scans: tuple[Examples, Examples],
) -> None:
    _, check = scans
    parent = Parent(*train_stage(stage(), PAIR, *pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head", features="every layer")
    card, tensors = fit(settings, scans, parent=parent)
    probabilities = Predictor(card, tensors, CPU)(check.inputs)
    right = (probabilities.argmax(1) == check.targets).mean()
    assert probabilities.shape == (100, 10)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert right == pytest.approx(card.history[-1]["validation_accuracy"], abs=0.021)


def test_fine_tuning_keeps_what_the_head_knows(scans: tuple[Examples, Examples]) -> None:
    wider = {"network": Network(widths=(16, 32)), "batch_size": 40}
    first = stage(epochs=6, **wider)
    parent = Parent(*train_stage(first, PAIR, *pair(scans), seed=0, device=CPU))
    settings = stage(start="baseline", train="head then all", head_epochs=100, **wider)
    card, _ = fit(settings, scans, parent=parent)
    head, tuned = card.history[99:101]  # the head's last epoch, and the first of all layers
    assert tuned["validation_loss"] < 0.95 * head["validation_loss"]
    assert tuned["validation_accuracy"] > head["validation_accuracy"] + 0.1


@pytest.mark.parametrize(
    ("train", "perturb"), [("all", 0.0), ("head then all", 0.0), ("head then all", 0.5)]
)
def test_frozen_blocks_stay_as_in_the_parent(
    scans: tuple[Examples, Examples], train: str, perturb: float
) -> None:
    parent = Parent(*fit(stage(), scans))
    settings = stage(start="baseline", train=train, frozen_blocks=1, perturb=perturb)
    notebook = MemoryCheckpointer(steps=12 if train == "all" else 40)
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, parent=parent, checkpointer=notebook)
    notebook.steps = 10**9
    card, tensors = fit(settings, scans, parent=parent, checkpointer=notebook)
    assert card.resumed
    assert card.frozen_blocks == 1
    assert digest(tensors) == digest(fit(settings, scans, parent=parent)[1])
    for name, value in parent.tensors.items():
        same = np.array_equal(tensors[name], value)
        assert same == (name.startswith("whiten/") or "_1" in name.partition("/")[0]), name


def test_transferred_kernels_can_be_mixed_with_random_ones(
    scans: tuple[Examples, Examples],
) -> None:
    card, tensors = fit(stage(), scans)
    model = build_model(card.architecture)
    initialise(model, None, seed=1)
    new = get_weights(model)
    load_backbone(model, tensors, perturb=0.25)
    mixed = get_weights(model)
    for name, value in backbone_weights(tensors).items():
        if not name.startswith("conv_"):
            assert np.array_equal(mixed[name], value), name
            continue
        length = np.linalg.norm(value)
        assert np.linalg.norm(mixed[name]) == pytest.approx(length, rel=1e-5)
        expected = 0.75 * value + 0.25 * length / np.linalg.norm(new[name]) * new[name]
        expected *= length / np.linalg.norm(expected)
        assert np.allclose(mixed[name], expected, atol=1e-6), name


def test_a_perturbed_start_resumes_with_the_same_bits(scans: tuple[Examples, Examples]) -> None:
    parent = Parent(*fit(stage(), scans))
    settings = stage(start="baseline", train="head then all", perturb=0.5)
    notebook = MemoryCheckpointer(
        steps=3
    )  # in the head, whose checkpoint doesn't hold the backbone
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, parent=parent, checkpointer=notebook)
    notebook.steps = 10**9
    card, tensors = fit(settings, scans, parent=parent, checkpointer=notebook)
    assert card.perturb == 0.5
    resumed = digest(tensors)
    assert resumed == digest(fit(settings, scans, parent=parent)[1])
    plain = settings.model_copy(update={"perturb": 0.0})
    assert resumed != digest(fit(plain, scans, parent=parent)[1])


def test_the_best_epoch_may_be_one_of_the_heads(scans: tuple[Examples, Examples]) -> None:
    parent = Parent(*train_stage(stage(epochs=4), PAIR, *pair(scans), seed=0, device=CPU))
    settings = stage(
        start="baseline",
        train="head then all",
        head_epochs=40,
        epochs=1,
        restore="best",
        lr_scale=20.0,
    )
    card, tensors = fit(settings, scans, parent=parent)
    best = max(row["validation_accuracy"] for row in card.history)
    assert card.selected_epoch <= 40, "fine-tuning at such a rate should have spoilt the network"
    assert card.history[card.selected_epoch - 1]["validation_accuracy"] == best
    right = (Predictor(card, tensors, CPU)(scans[1].inputs).argmax(1) == scans[1].targets).mean()
    assert right == pytest.approx(best, abs=0.021)
