"""Judge the labels of validation and test images by a model that was trained on the others."""

from __future__ import annotations

import numpy as np

from tasks.vision.check.findings import LabelFindings
from tasks.vision.check.labels import suspicious_labels
from tasks.vision.data.batches.targets import images_of
from tasks.vision.data.dataset import Dataset
from tasks.vision.device import find_device, loading_tensorflow
from tasks.vision.evaluation.score import match
from tasks.vision.trained_model import Card, Tensors


def judge_held_out(data: Dataset, card: Card, tensors: Tensors) -> LabelFindings:
    """Judge the images whose class the model knows, by the labels of its scheme."""
    with loading_tensorflow():
        from tasks.vision.network.predictor import Predictor

    predictor = Predictor(card, tensors, find_device())
    before = {"train": 0, "test": len(data.stored_labels("train"))}
    rows, labels, chances = [], [], []
    for split, where in (("validation", "train"), ("test", "test")):
        positions, truth = match(card, data.classes, data.labels(split))
        stored = data.rows(split)[positions]
        rows.append(before[where] + stored)
        labels.append(truth)
        chances.append(predictor(images_of(data, where, stored, card.architecture.image_size)))
    truth, found = np.concatenate(labels), np.concatenate(chances).astype(np.float64)
    known = np.unique(truth)
    if len(known) < 2:
        return LabelFindings(basis="held out", judged=0)
    # Of a label that none of these images has, nothing can be said.
    found = found[:, known] / found[:, known].sum(1, keepdims=True)
    names = [card.labels[i] for i in known]
    targets = np.searchsorted(known, truth)
    doubted, wrong = suspicious_labels(np.concatenate(rows), targets, found, names)
    return LabelFindings(basis="held out", judged=len(truth), suspicious=doubted, wrong=wrong)
