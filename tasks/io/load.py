"""What the tasks leave in the store, read back: data sets, models, scores, reports."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.store.base import Ref
from tasks.store.opening import open_store
from tasks.vision.data.dataset import Dataset, open_dataset
from tasks.vision.trained_model import Card, Tensors, digest, pack, unpack, unpack_arrays


def load_dataset(ref: Ref, store: str) -> Dataset:
    """The prepared data set that `ref` names, memory-mapped."""
    return open_dataset(open_store(store).fetch(ref))


def publish_model(card: Card, tensors: Tensors, store: str, made_from: tuple[Ref, ...]) -> Ref:
    """Put a model into the store; the ref's digest is over the tensors alone."""
    content = pack(card, tensors)
    return open_store(store).put(
        "model", content, ".safetensors", digest=digest(tensors), made_from=made_from
    )


def load_model(ref: Ref, store: str) -> tuple[Card, Tensors]:
    """Card and tensors of a model in the store."""
    return unpack(open_store(store).fetch(ref).read_bytes(), ref.uri)


def load_evaluation(ref: Ref, store: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The scores as JSON, and the arrays `positions`, `truth` and `probabilities`."""
    return unpack_arrays(open_store(store).fetch(ref).read_bytes())


def report_files(ref: Ref, store: str) -> Iterator[tuple[str, bytes]]:
    """The files of a report by their relative path: report.html and figures/*.png."""
    with zipfile.ZipFile(open_store(store).fetch(ref)) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)
