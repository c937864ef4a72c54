"""Fine-tuning a pretrained network: from its head on, the same bits after a stop, frozen blocks untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.keras_files import hdf5, small_weights, write_keras
from support.scans import CPU, MemoryCheckpointer, read_scans

from tasks.vision.data.batches.augment_photos import AREA, LIGHT, SHAPE, photo_changes
from tasks.vision.data.batches.targets import Examples
from tasks.vision.errors import BadInput
from tasks.vision.evaluation.probabilities import log_loss
from tasks.vision.pretrained.compute.features import feature_extractor
from tasks.vision.pretrained.compute.tunable import FeatureStatistics
from tasks.vision.pretrained.graph.blocks import blocks, check_frozen_blocks
from tasks.vision.pretrained.graph.feature_points import feature_width
from tasks.vision.pretrained.graph.fold import fold
from tasks.vision.pretrained.graph.head_tensors import HeadOnNetwork
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.readers.keras_file import read_keras_file
from tasks.vision.recipe.schema import Stage
from tasks.vision.selected_epoch import settled_epoch
from tasks.vision.training import linear_head
from tasks.vision.training.fine_tuning import FineTuned, fine_tune
from tasks.vision.training.linear_head import fit_head
from tasks.vision.training.state import PreviousPhases, TrainingInterrupted

SIZE = 32
HEAD = PreviousPhases(({"epoch": 1, "validation_accuracy": 0.0, "validation_loss": 9.0},), 1.0)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> PretrainedNetwork:
    # Kernels of both signs, so that features differ.
    weights = {
        name: value * 2 - 1.1 if "conv" in name else value
        for name, value in small_weights().items()
    }
    path = tmp_path_factory.mktemp("network") / "net.keras"
    return read_keras_file(write_keras(path, weights=hdf5(weights)))


@pytest.fixture(scope="module")
def scans() -> tuple[Examples, Examples]:
    return read_scans()


def tune(
    network: PretrainedNetwork,
    scans: tuple[Examples, Examples],
    checkpointer: MemoryCheckpointer | None = None,
    **settings: Any,
) -> tuple[HeadOnNetwork, FineTuned]:
    """Train a head on the network's features, then fine-tune both."""
    values = {"start": "net.keras", "train": "head then all", "epochs": 2, "frozen_blocks": 0}
    stage = Stage.model_validate({**values, **settings})
    extract = feature_extractor(network, SIZE, stage.features)
    train, validation = (Examples(extract(part.inputs), part.targets) for part in scans)
    head = fit_head(train, validation, 10)
    start = HeadOnNetwork(network, stage.features, head.kernel, head.bias)
    seen = FeatureStatistics.of(np.asarray(train.inputs))
    return start, fine_tune(
        stage, start, seen, HEAD, *scans, seed=3, device=CPU, checkpointer=checkpointer
    )


def loss(model: HeadOnNetwork, examples: Examples) -> float:
    features = feature_extractor(model.network, SIZE, model.features)(examples.inputs)
    return log_loss(features @ model.kernel + model.bias, examples.targets)


def test_fine_tuning_learns_more_than_the_head(
    network: PretrainedNetwork, scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few features would have a head of huge weights, which small steps change little.
    monkeypatch.setattr(linear_head, "STRENGTHS", (0.03,))
    settings: dict[str, Any] = {"augment": "shifts", "flip": False, "shift": 0, "lr_scale": 30}
    start, tuned = tune(network, scans, epochs=12, **settings)
    assert loss(tuned.model, scans[0]) < loss(start, scans[0]) - 0.05
    assert [row["epoch"] for row in tuned.history] == list(range(1, 14))
    selected = tuned.history[tuned.selected_epoch - 1]
    assert selected["validation_loss"] == pytest.approx(loss(tuned.model, scans[1]), rel=1e-3)


def test_last_epoch_counts_unless_another_is_clearly_better() -> None:
    def selected(accuracies: list[float], images: int) -> int:
        rows = [{"validation_accuracy": each, "validation_loss": 1.0} for each in accuracies]
        return settled_epoch(rows, images)

    assert selected([0.90, 0.95, 0.94], 400) == 3, "one standard error is .011"
    assert selected([0.90, 0.95, 0.93], 400) == 2
    assert selected([0.90, 0.95, 0.94], 10_000) == 2, "one standard error is .002"
    assert selected([0.90, 1.00, 1.00], 10) == 3


def test_head_alone_is_restored_where_fine_tuning_makes_it_worse(
    network: PretrainedNetwork, scans: tuple[Examples, Examples]
) -> None:
    perfect = PreviousPhases(({"epoch": 1, "validation_accuracy": 1.0, "validation_loss": 0.0},))
    start, _ = tune(network, scans)
    stage = Stage(start="net.keras", train="head then all", epochs=1, frozen_blocks=0)
    width = feature_width(network, stage.features)
    seen = FeatureStatistics(np.zeros(width), np.ones(width))
    tuned = fine_tune(stage, start, seen, perfect, *scans, seed=3, device=CPU)
    assert tuned.selected_epoch == 1
    np.testing.assert_allclose(tuned.model.kernel, start.kernel, rtol=1e-6)
    folded = fold(network, [tuned.model.network.config.output])
    for name, value in tuned.model.network.tensors.items():
        assert (folded.tensors[name] == value).all(), name


@pytest.mark.parametrize("augment", ["photos", "shifts"])
def test_interrupted_fine_tuning_ends_with_the_same_bits(
    network: PretrainedNetwork, scans: tuple[Examples, Examples], augment: str
) -> None:
    settings: dict[str, Any] = {
        "augment": augment,
        "progressive_resize": {"epochs": 1, "image_size": 24},
    }
    _, whole = tune(network, scans, **settings)
    for steps in (3, 11, 20):
        notebook = MemoryCheckpointer(steps)
        with pytest.raises(TrainingInterrupted):
            tune(network, scans, notebook, **settings)
        notebook.steps = 10**9
        _, resumed = tune(network, scans, notebook, **settings)
        assert resumed.resumed
        assert resumed.model.network.digest == whole.model.network.digest
        assert (resumed.model.kernel == whole.model.kernel).all()


def test_frozen_blocks_do_not_change(
    network: PretrainedNetwork, scans: tuple[Examples, Examples]
) -> None:
    _, tuned = tune(network, scans, frozen_blocks=1, restore="last")
    before = fold(network, [tuned.model.network.config.output]).tensors
    after = tuned.model.network
    changed = {
        name.rpartition("/")[0]: not (before[name] == value).all()
        for name, value in after.tensors.items()
    }
    assert changed == {name: block == 1 for name, block in blocks(after).items()}
    assert set(changed.values()) == {True, False}
    with pytest.raises(BadInput, match="can keep 1 of its blocks frozen"):
        check_frozen_blocks("ten", network, 2)


def test_changes_of_photos_are_a_function_of_seed_and_epoch() -> None:
    first, again, later = (photo_changes(5, epoch, 500) for epoch in (1, 1, 2))
    assert (first.boxes == again.boxes).all()
    assert not (first.boxes == later.boxes).all()
    left, top, right, bottom = first.boxes.T
    assert min(left.min(), top.min()) >= 0
    assert max(right.max(), bottom.max()) <= 1
    area, shape = (right - left) * (bottom - top), (right - left) / (bottom - top)
    assert AREA[0] * 0.85 < area.min() < area.max() <= AREA[1]
    assert SHAPE[0] - 1e-9 < shape.min() < shape.max() < SHAPE[1] + 1e-9
    assert 0.4 < first.mirror.mean() < 0.6
    assert np.abs(first.light - 1).max() <= LIGHT
