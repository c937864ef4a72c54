"""Training is a function of (data, recipe, seed): the same bits on every run, resumed or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from support.command import ROOT
from support.datasets import open_in_folder, prepare_in_folder
from support.scans import CPU, DIGITS, PAIR, TINY, MemoryCheckpointer, fit, read_scans, stage

from tasks.vision.data.batches import prefetch
from tasks.vision.data.batches.balance import balance_shift
from tasks.vision.data.batches.targets import Examples, Targets
from tasks.vision.data.dataset import Dataset
from tasks.vision.data.labelled import ImageSet, Split
from tasks.vision.device import Device
from tasks.vision.network import layers
from tasks.vision.network.networks import build, initialise
from tasks.vision.network.predictor import Predictor
from tasks.vision.network.runtime import set_up
from tasks.vision.recipe.schema import Network
from tasks.vision.selected_epoch import best_epoch
from tasks.vision.trained_model import digest
from tasks.vision.training import step
from tasks.vision.training.stage import train_stage
from tasks.vision.training.state import Diverged, Progress, TrainingInterrupted
from tasks.vision.training.transfer import recalibrate_batch_norm


@pytest.fixture(scope="module")
def scans() -> tuple[Examples, Examples]:
    return read_scans()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    scans: tuple[Examples, Examples],
) -> None:
    first, again, other = (fit(stage(), scans, seed) for seed in (0, 0, 1))
    assert digest(first[1]) == digest(again[1])
    assert digest(first[1]) != digest(other[1])
    columns = ("loss", "accuracy", "validation_loss")
    assert [[row[k] for k in columns] for row in first[0].history] == [
        [row[k] for k in columns] for row in again[0].history
    ]


def test_of_epochs_with_the_same_accuracy_the_one_with_the_least_loss_is_best() -> None:
    rows = [(0.9, 0.4), (1.0, 0.5), (1.0, 0.2), (1.0, 0.2), (1.0, 0.3)]
    history = [{"validation_accuracy": a, "validation_loss": loss} for a, loss in rows]
    assert best_epoch(history) == 3


@pytest.mark.parametrize("steps", [1, 6, 11])
def test_a_stopped_training_ends_with_the_bits_of_an_undisturbed_one(
    scans: tuple[Examples, Examples], steps: int
) -> None:
    settings = stage(restore="best")
    _, undisturbed = fit(settings, scans)
    notebook = MemoryCheckpointer(steps)
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, checkpointer=notebook)
    notebook.steps = 10**9
    card, resumed = fit(settings, scans, checkpointer=notebook)
    assert card.resumed
    assert len(card.history) == 2
    assert digest(resumed) == digest(undisturbed)


def test_the_last_epoch_and_a_stop_are_saved_though_no_snapshot_is_due(
    scans: tuple[Examples, Examples],
) -> None:
    settings = stage(epochs=3)
    whole, stopped = MemoryCheckpointer(often=False), MemoryCheckpointer(25, often=False)
    _, undisturbed = fit(settings, scans, checkpointer=whole)
    assert [len(each.values["history"]) for each in whole.saved] == [3]
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, checkpointer=stopped)
    assert len(stopped.saved) == 1
    stopped.steps = 10**9
    card, resumed = fit(settings, scans, checkpointer=stopped)
    assert card.resumed
    assert digest(resumed) == digest(undisturbed)


def test_a_stop_inside_a_batch_or_in_validation_leaves_the_same_bits_too(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch asks within each of its ten batches, after each, and once in validation."""
    monkeypatch.setattr(layers, "MICRO_BATCH", 20)
    settings = stage(epochs=2, batch_size=40)
    counting = MemoryCheckpointer()
    _, undisturbed = fit(settings, scans, checkpointer=counting)
    epoch = 10 * (1 + 1) + 1
    assert counting.polls == 2 * epoch + 5, "and five times while the statistics are re-estimated"
    for ask in (0, epoch - 1, epoch + 4, 2 * epoch - 1, 2 * epoch + 2):
        notebook = MemoryCheckpointer(ask)
        with pytest.raises(TrainingInterrupted):
            fit(settings, scans, checkpointer=notebook)
        notebook.steps = 10**9
        card, resumed = fit(settings, scans, checkpointer=notebook)
        assert card.resumed == bool(notebook.saved)
        assert digest(resumed) == digest(undisturbed), ask
        assert [row["validation_loss"] for row in card.history] == [
            row["validation_loss"] for row in counting.saved[-1].values["history"]
        ], ask


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
        recalibrate_batch_norm(model, images)
        means.append(model.get_layer("norm_1a").moving_mean.numpy())
    assert means[0] == pytest.approx(means[1], rel=0.1, abs=0.1)


def test_float16_learns_under_loss_scaling(scans: tuple[Examples, Examples]) -> None:
    half = Device("cpu", "test", "mixed_float16")
    settings = stage(epochs=2, batch_size=40)
    card, tensors = train_stage(settings, DIGITS, *scans, seed=0, device=half)
    assert card.history[1]["loss"] < card.history[0]["loss"] < np.log(10) + 0.1
    assert all(np.isfinite(value).all() for value in tensors.values())


def test_a_small_data_set_takes_ten_steps_an_epoch(scans: tuple[Examples, Examples]) -> None:
    ticks: list[float] = []
    fit(
        stage(batch_size=2000, epochs=1),
        scans,
        on_progress=lambda progress: ticks.append(progress.share),
    )
    assert len(ticks) == 10 + 1  # and one for the end of the epoch


def test_a_loss_that_explodes_names_the_epoch_and_the_setting(
    scans: tuple[Examples, Examples],
) -> None:
    broken = stage(
        network=Network(kind="simple_cnn", widths=(8, 8), logit_scale=1),
        optimizer="sgd",
        lr_scale=900.0,
        epochs=30,
    )
    train, check = scans
    twice = Examples(np.concatenate([train.inputs] * 2), np.concatenate([train.targets] * 2))
    with pytest.raises(Diverged, match=r"epoch \d+ of 30; lower the stage's lr_scale"):
        fit(broken, (twice, check))


@pytest.mark.parametrize(
    ("given", "enabled"), [({}, "True"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "False")]
)
def test_tensorflow_computes_with_onednn_unless_a_user_says_otherwise(
    given: dict[str, str], enabled: str
) -> None:
    code = (
        "import os\n"
        "from tasks.vision.device import loading_tensorflow\n"
        "with loading_tensorflow():\n"
        "    from tensorflow.python.util._pywrap_util_port import IsMklEnabled\n"
        "set_ = {k: v for k, v in os.environ.items() if k == 'TF_ENABLE_ONEDNN_OPTS'}\n"
        "print(IsMklEnabled(), str(set_).replace(' ', ''))"
    )
    unset = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        env={**unset, **given},
    )
    assert answer.stdout.split() == [enabled, str(given).replace(" ", "")], answer.stderr


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network without batch normalisation, whose statistics are each part's own."""
    classroom = stage(
        network=Network(kind="simple_cnn", widths=(8, 8, 16)),
        optimizer="sgd",
        lr_scale=0.01,
        shift=0,
    )
    whole, _ = train_stage(classroom, DIGITS, *scans, seed=1, device=CPU)
    monkeypatch.setattr(layers, "MICRO_BATCH", 20)
    parts, _ = train_stage(classroom, DIGITS, *scans, seed=1, device=CPU)
    assert [row["loss"] for row in parts.history] == pytest.approx(
        [row["loss"] for row in whole.history], rel=1e-4
    )


@pytest.mark.parametrize("batch", [40, 33], ids=["equal micro-batches", "unequal ones"])
def test_gpu_kernels_train_like_those_of_a_processor(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Tight after one step. Later the networks drift apart, as two do that add up in another order.

    Measured on this network: after a step the arrays differ by up to 4e-5 of their largest value, with the
    images of each micro-batch shuffled by up to 2e-5; over two epochs both change a loss by up to 1.3e-3.
    """
    monkeypatch.setattr(layers, "MICRO_BATCH", 10)
    settings, kernels = stage(batch_size=batch), []
    for compiled in (False, True):
        for module in (layers, step):
            monkeypatch.setattr(module, "gpu_compiles", lambda compiled=compiled: compiled)
        notebook = MemoryCheckpointer()

        def stop(_: Progress, notebook: MemoryCheckpointer = notebook) -> None:
            notebook.steps = 0

        with pytest.raises(TrainingInterrupted):
            fit(settings, scans, checkpointer=notebook, on_progress=stop)
        kernels.append((notebook.saved[0], *fit(settings, scans)))
    (first, card, tensors), (other_first, other_card, other_tensors) = kernels
    assert first.values["step"] == other_first.values["step"] == 1
    assert other_first.values["loss"] == pytest.approx(first.values["loss"], rel=1e-6)
    for name, value in first.arrays.items():
        difference = np.abs(other_first.arrays[name] - value).max()
        assert difference <= 2e-4 * np.abs(value).max(), name
    for key in ("loss", "validation_loss"):
        assert [row[key] for row in other_card.history] == pytest.approx(
            [row[key] for row in card.history], rel=5e-3
        )
    assert digest(other_tensors) != digest(tensors), "the kernels were the same"


def test_photos_are_augmented_in_an_own_network_too(scans: tuple[Examples, Examples]) -> None:
    plain, photos = (fit(stage(epochs=1, augment=each), scans)[1] for each in ("shifts", "photos"))
    assert digest(plain) != digest(photos)


def test_a_gpu_is_given_what_its_memory_holds() -> None:
    small, large = 500 * 32 * 32 * 3, 500 * 96 * 96 * 3
    assert step._per_call(4, small) == 4
    assert step._per_call(6, small) == 3
    assert step._per_call(4, large) == 1


@pytest.mark.parametrize(
    ("kind", "widths", "least"), [("airbench", (4, 4, 4), 9), ("simple_cnn", (4, 4, 4, 4), 18)]
)
def test_a_network_knows_the_smallest_image_that_it_can_take(
    kind: Literal["airbench", "simple_cnn"], widths: tuple[int, ...], least: int
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
    """Blank images: all that can be learned is how frequent each target is."""
    blank = np.zeros_like(scans[0].inputs[:200])
    half = Examples(blank, np.repeat(np.array([0, 1], np.int32), 100))
    shift = np.array([np.log(0.5 / 0.1) - np.log(0.5 / 0.9)], np.float32)  # the data had 1 in 10
    network = Network(widths=(8, 8), logit_scale=1.0)
    settings = stage(network=network, epochs=40, optimizer="adam", lr_scale=10.0)
    for given, expected in ((None, 0.5), (shift, 0.1)):
        card, tensors = train_stage(
            settings, PAIR, half, scans[1], seed=0, device=CPU, prior_shift=given
        )
        assert Predictor(card, tensors, CPU)(blank[:1])[0, 0] == pytest.approx(expected, abs=0.05)


def test_early_epochs_see_smaller_images_and_resume_there_too(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = stage(epochs=3, progressive_resize={"epochs": 2, "image_size": 24})
    sizes: list[int] = []
    train_batch = step.TrainStep.train_batch

    def note(self: step.TrainStep, inputs: np.ndarray, *rest: object) -> step.BatchResult:
        sizes.append(inputs.shape[1])
        return train_batch(self, inputs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(step.TrainStep, "train_batch", note)
    card, undisturbed = fit(settings, scans)
    assert sizes == [24] * (2 * len(sizes) // 3) + [32] * (len(sizes) // 3)
    notebook = MemoryCheckpointer(steps=3)
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, checkpointer=notebook)
    notebook.steps = 10**9
    _, resumed = fit(settings, scans, checkpointer=notebook)
    assert digest(resumed) == digest(undisturbed)
    assert digest(undisturbed) != digest(fit(stage(epochs=3), scans)[1])
    assert Predictor(card, undisturbed, CPU)(scans[1].inputs).shape == (100, 10)


@pytest.mark.parametrize("flip", [True, False])
def test_an_averaged_answer_weighs_an_image_as_much_as_its_copies_moved_to_two_corners(
    scans: tuple[Examples, Examples], flip: bool
) -> None:
    card, tensors = fit(stage(flip=flip), scans)
    images = np.asarray(scans[1].inputs)

    def look(x: np.ndarray) -> np.ndarray:
        views = [x, x[:, :, ::-1]] if flip else [x]
        # Logits but for a number of each image, which a softmax doesn't see.
        return np.mean([np.log(Predictor(card, tensors, CPU)(view)) for view in views], 0)

    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    corners = [padded[:, at : at + 32, at : at + 32] for at in (0, 2)]
    expected = np.exp(0.5 * look(images) + 0.5 * np.mean([look(each) for each in corners], 0))
    expected /= expected.sum(1, keepdims=True)
    averaged = Predictor(card, tensors, CPU).with_average(images)[1]
    np.testing.assert_allclose(averaged, expected, atol=1e-5)
    assert np.abs(averaged - Predictor(card, tensors, CPU)(images)).max() > 0.01


def prepared(part: Examples, folder: Path) -> Dataset:
    """A data set with these images in files."""
    images = np.asarray(part.inputs)
    split = Split(images, part.targets, [str(row) for row in range(len(part))])
    found = ImageSet([str(i) for i in range(10)], {"train": split, "test": split}, [])
    prepare_in_folder(found, 32, 0.2, folder / "index")
    return open_in_folder(folder / "index")


@pytest.mark.parametrize("settings", [{}, {"augment": "photos"}, {"flip": True, "shift": 2}])
def test_training_on_images_in_files_has_the_bits_of_one_in_memory(
    scans: tuple[Examples, Examples], tmp_path: Path, settings: dict[str, Any]
) -> None:
    settings |= {"progressive_resize": {"epochs": 1, "image_size": 24}, "epochs": 2}
    stored = []
    for name, part in zip(("train", "validation"), scans, strict=True):
        folder = tmp_path / name
        folder.mkdir()
        stored.append(Examples(prepared(part, folder).stored_images("train"), part.targets))
    whole, again = (
        fit(stage(**settings), examples)[1] for examples in (scans, (stored[0], stored[1]))
    )
    assert digest(whole) == digest(again)


def test_progress_has_the_share_of_time_spent_waiting_for_images(
    scans: tuple[Examples, Examples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "WORTH_A_WORD", 0.0)
    reported: list[Progress] = []
    fit(stage(epochs=1), scans, on_progress=reported.append)
    assert reported[-1].row
    assert all(0 < progress.waiting <= 1 for progress in reported)


def test_training_ends_when_validation_no_longer_improves(
    scans: tuple[Examples, Examples],
) -> None:
    settings = stage(epochs=60, patience=3, restore="best")
    card, whole = fit(settings, scans)
    assert len(card.history) == card.epochs < 60
    assert card.selected_epoch == best_epoch(card.history) == card.epochs - 3
    notebook = MemoryCheckpointer(6 * card.epochs - 4)
    with pytest.raises(TrainingInterrupted):
        fit(settings, scans, checkpointer=notebook)
    notebook.steps = 10**9
    resumed, again = fit(settings, scans, checkpointer=notebook)
    assert resumed.epochs == card.epochs
    assert digest(again) == digest(whole)
    finished, unchanged = fit(settings, scans, checkpointer=notebook)
    assert finished.epochs == card.epochs
    assert digest(unchanged) == digest(whole)


def test_balanced_training_finds_a_rare_target_and_keeps_its_probability(
    scans: tuple[Examples, Examples],
) -> None:
    train, check = (Examples(part.inputs, (part.targets == 1).astype(np.int32)) for part in scans)
    rare = np.flatnonzero((train.targets == 0) | (np.cumsum(train.targets) <= 5))
    few = Examples(np.asarray(train.inputs)[rare], train.targets[rare])
    targets = Targets(["rest", "one"], [["0"], ["1"]], True, {})
    found = {}
    for balance in ("none", "even"):
        settings = stage(balance=balance, epochs=6)
        shift = balance_shift(few.targets, 2, settings.balance)
        card, tensors = train_stage(
            settings, targets, few, check, seed=0, device=CPU, prior_shift=shift
        )
        found[balance] = Predictor(card, tensors, CPU)(check.inputs)[:, 1]
    share = (few.targets == 1).mean()
    for chances in found.values():
        assert chances.mean() < 5 * share, "as rare as in the data"
    ones = check.targets == 1
    assert np.median(found["even"][ones]) > np.median(found["even"][~ones])
