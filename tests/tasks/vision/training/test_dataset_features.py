"""Features of a data set: in pieces, and after an interruption the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.io.checkpoints import Checkpoints
from tasks.store.opening import open_store
from tasks.vision.data.dataset import Dataset, Description
from tasks.vision.training import dataset_features
from tasks.vision.training.dataset_features import features_of
from tasks.vision.training.state import Progress, TrainingInterrupted

SIZE, TRAIN, TEST, BATCH = 16, 1000, 130, 32


@pytest.fixture
def data() -> Dataset:
    random = np.random.default_rng(0)
    shape = (SIZE, SIZE, 3)
    about = Description(image_size=SIZE, classes=["a", "b"], counts={})
    images = {
        split: random.integers(0, 256, (n, *shape), np.uint8)
        for split, n in (("train", TRAIN), ("test", TEST))
    }
    return Dataset(about, {}, {**images})


class Extract:
    """The mean colour of each image; counts the images that it sees."""

    def __init__(self) -> None:
        self.pieces: list[int] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.pieces.append(len(images))
        return images.mean((1, 2), dtype=np.float32)


def test_every_image_passes_once_in_pieces_of_whole_batches(data: Dataset) -> None:
    extract, seen = Extract(), list[Progress]()
    found = features_of(data, extract, 3, BATCH, seen.append)
    for split in ("train", "test"):
        images = data.stored_images(split)
        np.testing.assert_array_equal(found.arrays[split], Extract()(np.asarray(images)))
    assert extract.pieces == [256, 256, 256, 232, 130]
    assert seen[-1].share == 1


def test_interrupted_features_go_on_where_they_were(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_features, "SAVE_EVERY", 0.0)
    whole = features_of(data, Extract(), 3, BATCH)
    home = open_store(str(tmp_path))

    def killed(progress: Progress) -> None:
        if progress.share > 0.5:
            raise KeyboardInterrupt  # as a kill, it leaves the last checkpoint

    with pytest.raises(KeyboardInterrupt):
        features_of(data, Extract(), 3, BATCH, killed, first := Checkpoints(home, "features-x"))
    first.wait()
    extract = Extract()
    again = features_of(data, extract, 3, BATCH, checkpointer=Checkpoints(home, "features-x"))
    assert again.resumed
    assert sum(extract.pieces) < TRAIN
    for split in ("train", "test"):
        assert again.arrays[split].tobytes() == whole.arrays[split].tobytes()


def test_a_signal_saves_what_is_there(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_store(str(tmp_path))
    stopping, extract = Checkpoints(home, "features-y"), Extract()
    monkeypatch.setattr(stopping, "stop", lambda: len(extract.pieces) == 2)
    with pytest.raises(TrainingInterrupted):
        features_of(data, extract, 3, BATCH, checkpointer=stopping)
    rest = Extract()
    features_of(data, rest, 3, BATCH, checkpointer=Checkpoints(home, "features-y"))
    assert rest.pieces == [256, 232, 130]
