"""Load networks, features, models, evaluations and reports from the store."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tasks.store.base import MAX_ARRAYS, Oversized, Ref, Store
from tasks.vision.evaluation.attention import Maps
from tasks.vision.evaluation.scores import Scores
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.graph.stored import pack_network, unpack_network
from tasks.vision.trained_model import (
    Card,
    Tensors,
    digest,
    pack,
    pack_arrays,
    unpack,
    unpack_arrays,
)

REPORT_FILE = re.compile(r"report\.html|figures/[\w.-]+\.png", re.ASCII)
MAX_REPORT = 1 << 30  # bytes of all its files


def publish_model(card: Card, tensors: Tensors, store: Store, made_from: tuple[Ref, ...]) -> Ref:
    """Store a model and return its ref, whose digest covers the tensors alone."""
    content = pack(card, tensors)
    return store.put("model", content, ".safetensors", digest=digest(tensors), made_from=made_from)


def load_model(ref: Ref, store: Store) -> tuple[Card, Tensors]:
    """Load a model's card and tensors."""
    return unpack(read_blob(ref, store), ref.uri)


def read_blob(ref: Ref, store: Store) -> bytes:
    """Read a blob into memory, unless a forged ref names a huge one."""
    if ref.size > MAX_ARRAYS:
        raise Oversized(ref.uri, ref.size, MAX_ARRAYS)
    return store.open_blob(ref).read_bytes()


def publish_network(network: PretrainedNetwork, store: Store) -> Ref:
    """Store a pretrained network and return its ref, whose digest is the network's."""
    digest = network.digest.removeprefix("sha256:")
    return store.put("network", pack_network(network), ".safetensors", digest=digest)


def load_network(ref: Ref, store: Store) -> PretrainedNetwork:
    """Load a pretrained network. Raises BadInput if there is something else."""
    return unpack_network(read_blob(ref, store), ref.uri)


def publish_features(
    arrays: dict[str, np.ndarray], store: Store, made_from: tuple[Ref, ...]
) -> Ref:
    """Store the features of a data set's images: (n, d) float32 for its stored "train" and "test"."""
    content = pack_arrays(arrays, "features")
    return store.put("feature", content, ".safetensors", made_from=made_from)


def load_features(ref: Ref, store: Store) -> dict[str, np.ndarray]:
    """Load what `publish_features` has stored.

    Raises:
        ValueError: the file has something else.
    """
    note, arrays = unpack_arrays(read_blob(ref, store))
    if note != "features" or arrays.keys() != {"train", "test"}:
        raise ValueError("no features of a data set")
    if any(each.ndim != 2 or each.dtype != np.float32 for each in arrays.values()):
        raise ValueError("features of another form")
    return arrays


class Answers(NamedTuple):
    """A model's predictions for n test images.

    Attributes:
        positions: (n,) int, of the images in the test split. truth: (n,) int, true labels.
        probabilities: (n, labels) float. maps: where it looked in some of them, if it can tell.
    """

    positions: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray
    maps: Maps | None = None


PREDICTIONS, MAPPED = {"positions", "truth", "probabilities"}, {"map_answers", "map_evidence"}


def pack_evaluation(scores: Scores, answers: Answers) -> bytes:
    """Return one safetensors file: the predictions, and the scores as JSON in its header."""
    arrays = {name: getattr(answers, name) for name in PREDICTIONS}
    if answers.maps:
        arrays |= {"map_answers": answers.maps.answers, "map_evidence": answers.maps.evidence}
    return pack_arrays(arrays, scores.model_dump(mode="json"))


def load_evaluation(ref: Ref, store: Store) -> tuple[Scores, Answers]:
    """Load a model's scores and the predictions that they were computed from.

    Raises:
        ValueError: the file is not an evaluation.
    """
    note, arrays = unpack_arrays(read_blob(ref, store))
    if arrays.keys() not in (PREDICTIONS, PREDICTIONS | MAPPED):
        raise ValueError(f"no evaluation: it has {', '.join(sorted(arrays))}")
    predictions = (arrays["positions"], arrays["truth"], arrays["probabilities"])
    maps = Maps(arrays["map_answers"], arrays["map_evidence"]) if len(arrays) > 3 else None
    if maps:
        maps.check(len(arrays["truth"]))
    return Scores.model_validate(note), Answers(*predictions, maps)


def report_files(ref: Ref, store: Store) -> Iterator[tuple[str, bytes]]:
    """Yield relative path and content of a report's files: report.html and figures/*.png.

    Raises:
        ValueError: what the store has is no report.
    """
    try:
        with zipfile.ZipFile(store.open_blob(ref)) as archive:
            files = archive.infolist()
            known = all(REPORT_FILE.fullmatch(each.filename) for each in files)
            if not known or sum(each.file_size for each in files) > MAX_REPORT:
                raise ValueError("no report: it has other files, or too large ones")
            for each in files:
                yield each.filename, archive.read(each)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise ValueError(f"no report: {error}") from None
