"""Export a trained model to other formats, each with its labels inside."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from tasks.vision.device import find_device, loading_tensorflow, quiet_output
from tasks.vision.errors import BadInput
from tasks.vision.export.files import LABELS, labels_json
from tasks.vision.export.reader import READER, reader
from tasks.vision.trained_model import Card, Tensors

Format = Literal["keras", "saved-model", "tflite", "onnx"]
FORMATS: tuple[str, ...] = get_args(Format)


def check_format(kind: Format) -> None:
    """Check that the format's converter is installed.

    Raises:
        BadInput: it isn't.
    """
    if kind == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "tf2onnx"))):
        raise BadInput(
            "--format onnx needs tf2onnx, which isn't installed; pip install 'relevo[onnx]'"
        )


def write_format(card: Card, tensors: Tensors, kind: Format, folder: Path) -> None:
    """Write the model, `labels.json` and `read_image.py` into an empty `folder`.

    keras: `model.keras`. saved-model: the folder itself is TensorFlow's SavedModel. tflite:
    `model.tflite`, for LiteRT. onnx: `model.onnx`. All take float32 images (n, size, size, 3) of values
    0 to 255 and return the probabilities (n, labels).
    """
    with loading_tensorflow():
        from tasks.vision.export.keras_file import keras_file, stock_model
        from tasks.vision.network.runtime import set_up

    device = replace(find_device(), kind="cpu", policy="float32")
    if kind == "keras":
        (folder / "model.keras").write_bytes(keras_file(card, tensors, device))
    else:
        set_up(device)
        model = stock_model(card, tensors)
        with quiet_output():  # converters log from C++
            _WRITERS[kind](model, folder, labels_json(card))
    (folder / LABELS).write_bytes(labels_json(card))
    (folder / READER).write_bytes(reader())


def _saved_model(model: Any, folder: Path, labels: bytes) -> None:
    model.export(str(folder), format="tf_saved_model", verbose=False)
    extra = folder / "assets.extra"  # TensorFlow's folder for files beside the graph
    extra.mkdir()
    (extra / LABELS).write_bytes(labels)


def _tflite(model: Any, folder: Path, labels: bytes) -> None:
    path = folder / "model.tflite"
    model.export(str(path), format="litert", verbose=False)
    # TFLite's metadata format appends associated files as a zip, which the interpreter ignores.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(LABELS), labels)


def _onnx(model: Any, folder: Path, labels: bytes) -> None:
    import onnx

    path = folder / "model.onnx"
    model(np.zeros((1, *model.input_shape[1:]), np.float32))  # Keras exports only a called model
    model.export(str(path), format="onnx", verbose=False)
    written = onnx.load(path)
    onnx.helper.set_model_props(
        written, {key: json.dumps(value) for key, value in json.loads(labels).items()}
    )
    onnx.save(written, path)


_WRITERS = {"saved-model": _saved_model, "tflite": _tflite, "onnx": _onnx}
