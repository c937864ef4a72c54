"""Exported models load without this project and predict the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.cards import bare_card
from support.command import Chain, Relevo
from support.images import encoded, write_folder
from support.pictures import every_kind

from tasks.inference.convert import export_model
from tasks.io.prepared import load_dataset
from tasks.runs.lookup import find_model
from tasks.runs.summary import read_lineage
from tasks.store.opening import open_store
from tasks.vision.device import Device
from tasks.vision.errors import BadInput
from tasks.vision.export.formats import Format
from tasks.vision.export.reader import READER, reader
from tasks.vision.pictures.decode import decode
from tasks.vision.recipe.schema import Network
from tasks.vision.trained_model import Architecture, Card, Tensors

CPU = Device("cpu", "test", "float32")
SAME = 1e-3

# Loads a model without this project: nothing of it can be imported.
STRANGER = """
import sys, json, numpy as np

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flows", "tasks"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
images = np.load(sys.argv[1])
for folder in sys.argv[2:]:
"""
LOADERS = {
    "keras": """
import keras
model = keras.models.load_model(folder + "/model.keras", safe_mode=True)
seen = model.predict(images, verbose=0)
assert np.allclose(seen, model.predict(images.astype("float32"), verbose=0), atol=1e-6)
""",
    "saved-model": """
import tensorflow as tf
model = tf.saved_model.load(folder)
seen = model.serve(images.astype("float32")).numpy()
labels = open(folder + "/assets.extra/labels.json").read()
""",
    "tflite": """
import tensorflow as tf, zipfile
runner = tf.lite.Interpreter(folder + "/model.tflite").get_signature_runner("serving_default")
(name,) = runner.get_input_details()
(seen,) = runner(**{name: images.astype("float32")}).values()
labels = zipfile.ZipFile(folder + "/model.tflite").read("labels.json")
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(folder + "/model.onnx", providers=["CPUExecutionProvider"])
(seen,) = session.run(None, {session.get_inputs()[0].name: images.astype("float32")})
labels = '{"labels": %s}' % session.get_modelmeta().custom_metadata_map["labels"]
""",
}
KEEP = """
inside = json.loads(labels)["labels"] if "labels" in globals() else None
np.savez(folder + "/seen.npz", seen=seen, labels=inside or [])
"""


def stranger(kind: str, folders: list[Path], images: np.ndarray, work: Path) -> list[Any]:
    """Predictions and labels of the models in `folders`, read without this project."""
    np.save(work / "images.npy", images)
    code = STRANGER + textwrap.indent(LOADERS[kind] + KEEP, "    ")
    done = subprocess.run(
        [sys.executable, "-c", code, str(work / "images.npy"), *map(str, folders)],
        capture_output=True,
        text=True,
        cwd=work,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "-1", "HOME": str(work)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [np.load(folder / "seen.npz") for folder in folders]


def ours(card: Card, tensors: Tensors, images: np.ndarray) -> np.ndarray:
    """Predictions of relevo, in float32 like the files."""
    from tasks.vision.network.predictor import Predictor

    return Predictor(card, tensors, CPU)(images)


@pytest.fixture(scope="module")
def scans(chain: Chain) -> np.ndarray:
    """The real test scans of the chain."""
    dataset = read_lineage(open_store(chain.store), chain.first.json["run"]).dataset
    return load_dataset(dataset, open_store(chain.store)).part("test").images


def folder_of(chain: Chain, stage: str) -> Path:
    return Path(chain.first.json["stages"][stage]["model"])


def test_plain_keras_opens_the_file_and_says_the_same(
    chain: Chain, scans: np.ndarray, tmp_path: Path
) -> None:
    folders = [
        shutil.copytree(folder_of(chain, stage), tmp_path / stage)
        for stage in ("baseline", "transfer", "ten_class")
    ]
    for folder, got in zip(folders, stranger("keras", folders, scans, tmp_path), strict=True):
        card, tensors = find_model(str(chain.store), str(folder))
        assert got["seen"].shape == (len(scans), len(card.labels))
        assert np.allclose(got["seen"].sum(1), 1, atol=1e-5)
        assert np.abs(got["seen"] - ours(card, tensors, scans)).max() < SAME


def test_a_file_holds_stock_layers_and_its_labels(chain: Chain) -> None:
    for stage in chain.first.json["stages"]:
        folder = folder_of(chain, stage)
        card, _ = find_model(str(chain.store), str(folder))
        with zipfile.ZipFile(folder / "model.keras") as file:
            config, about = (
                file.read("config.json").decode(),
                json.loads(file.read("metadata.json")),
            )
        modules = set(re.findall(r'"module": "([^"]+)"', config))
        assert all(name.split(".")[0] == "keras" for name in modules), modules
        assert not re.search(r"Lambda|bfloat16|float16|tasks\.", config)
        assert not re.search(r"input_axes|renorm|quantization_config", config), "Keras 3.8 fails"
        beside = json.loads((folder / "labels.json").read_text("utf-8"))
        assert about["labels"] == beside["labels"] == card.labels
        assert beside["classes"] == dict(zip(card.labels, card.classes, strict=True))


@pytest.mark.parametrize("size", [32, 28, 33])
@pytest.mark.parametrize("features", ["last layer", "every layer"])
@pytest.mark.parametrize(
    "network", [Network(widths=(8, 16, 16)), Network(kind="simple_cnn", widths=(8, 16, 16, 24))]
)
@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b/c", "d|é"]])
def test_every_network_has_its_twin_in_stock_layers(
    network: Network, features: Any, labels: list[str], size: int, scans: np.ndarray
) -> None:
    import keras

    from tasks.vision.export.keras_file import stock_model
    from tasks.vision.network.networks import build_model, initialise
    from tasks.vision.network.runtime import set_up
    from tasks.vision.network.weights import get_weights, set_weights
    from tasks.vision.training.transfer import compute_features, head_model, recalibrate_batch_norm

    set_up(CPU)
    architecture = Architecture(
        network=network,
        image_size=size,
        outputs=1 if len(labels) == 2 else len(labels),
        mean=(0.3, 0.4, 0.5),
        std=(0.2, 0.3, 0.4),
        features=features,
    )
    images = np.resize(scans[:64], (64, size, size, 3))
    own = build_model(architecture)
    initialise(own, images, 0)
    recalibrate_batch_norm(own, images)
    head_model(own, compute_features(own, images))  # standardises them
    draw = np.random.default_rng(0)
    tensors = get_weights(own)
    for name in tensors:
        if name.endswith(("/beta", "/bias")):  # zero until they are trained
            tensors[name] = draw.normal(0, 0.1, tensors[name].shape).astype(np.float32)
    set_weights(own, tensors)
    # A head that separates the images, since probabilities near 0 and 1 are all the same.
    seen = keras.Model(own.input, own.get_layer("head").input).predict(images, verbose=0)
    seen = seen.astype(np.float64)
    kernel, mean = draw.normal(0, 1, tensors["head/kernel"].shape), seen.mean(0)
    kernel -= np.outer(mean, mean @ kernel) / max(mean @ mean, 1e-9)
    scaled = network.kind == "airbench" and features == "last layer"
    kernel /= (seen @ kernel).std(0) * (network.logit_scale if scaled else 1)
    tensors["head/kernel"] = kernel.astype(np.float32)
    card = bare_card(architecture, labels, [[label] for label in labels])
    theirs = stock_model(card, tensors).predict(images, verbose=0)
    assert theirs.std(0).min() > 0.01, "else the comparison says nothing"
    assert np.abs(theirs - ours(card, tensors, images)).max() < 1e-4


def test_the_same_model_has_the_same_bytes(chain: Chain) -> None:
    from tasks.vision.export.keras_file import keras_file

    for stage in ("ten_class", "transfer"):  # in another process, after other models
        folder = folder_of(chain, stage)
        card, tensors = find_model(str(chain.store), str(folder))
        assert keras_file(card, tensors, CPU) == (folder / "model.keras").read_bytes()


def test_a_cached_run_has_the_same_file(chain: Chain) -> None:
    for stage, result in chain.second.json["stages"].items():
        again = (Path(result["model"]) / "model.keras").read_bytes()
        assert again == (folder_of(chain, stage) / "model.keras").read_bytes()
    exports = read_lineage(open_store(chain.store), chain.second.json["run"]).exports
    assert set(exports) == set(chain.second.json["stages"])
    assert all(ref.made_from[0].kind == "model" for ref in exports.values())


def test_the_card_says_what_a_user_must_know(chain: Chain) -> None:
    run = chain.first.json
    for stage, result in run["stages"].items():
        page = (folder_of(chain, stage) / "README.md").read_text("utf-8")
        metrics = result["metrics"]
        low, high = metrics["accuracy_interval"]
        assert f"{metrics['accuracy']:.4f} ({low:.4f} to {high:.4f})" in page
        for digest in (result["model_digest"], run["dataset"]):
            assert digest in page
        for label, recall in metrics["recall"].items():
            assert re.search(rf"\| {label} \|.*\| {recall:.4f} \|", page)
        start = result["start"]
        if start:
            assert run["stages"][start]["model_digest"] in page
        assert ("out of balance" in page) == (stage in {"baseline", "transfer"})
        assert "Few test images" in page  # the digits' test split has some 36 of each
        assert not re.search(r"None|nan|\{|Facts", page.split("## Use it")[0])


# Runs the card's example as it stands, once for each of the pictures.
AS_A_READER = """
import pathlib, sys
code = pathlib.Path("example.py").read_text()
for picture in sorted(pathlib.Path("photos").iterdir()):
    pathlib.Path("photo.png").write_bytes(picture.read_bytes())
    print(picture.name, end="\\t")
    exec(code, {})
"""
SOME = (
    *("jpeg-turned-6.jpeg", "alpha.png", "deep-grey.png", "p3.jpeg", "infrared.tiff", "no-end.jpg"),
    *("grey-alpha.png", "deep-planes.tiff", "IMG_0001.HEIC"),
)


def test_what_the_card_says_to_run_runs(
    chain: Chain, relevo: Relevo, scans: np.ndarray, tmp_path: Path
) -> None:
    """For pictures of many kinds with the answers of `relevo predict`."""
    folder = shutil.copytree(folder_of(chain, "ten_class"), tmp_path / "model")
    kinds = every_kind()
    files = {name: kinds[name] for name in SOME} | {
        "1.png": encoded(Image.fromarray(scans[0]), "PNG")
    }
    write_folder(folder / "photos", files)
    page = (folder / "README.md").read_text("utf-8")
    (command,) = re.findall(r"```sh\nrelevo (.*?)\n```", page)
    done = relevo(*command.split(), "--json", cwd=folder)
    rows = {Path(row["file"]).name: row["probabilities"] for row in done.json["predictions"]}
    assert set(rows) == set(files)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (folder / "example.py").write_text(code)
    python = subprocess.run(
        [sys.executable, "-c", AS_A_READER],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "-1", "HOME": str(tmp_path)},
    )
    assert python.returncode == 0, python.stderr[-3000:]
    lines = [line for line in python.stdout.splitlines() if "np.float32" in line]
    names = re.findall(r"(?m)^([\w.-]+)\t", python.stdout)
    assert names == sorted(files)
    for name, line in zip(names, lines, strict=True):
        probabilities = re.findall(r"'(\w+)': np\.float32\(([^)]+)\)", line)
        assert {label for label, _ in probabilities} == set(rows[name])
        assert all(abs(float(p) - rows[name][label]) < SAME for label, p in probabilities), name


@pytest.mark.parametrize("kind", LOADERS)
def test_every_format_says_the_same(
    kind: Format, chain: Chain, relevo: Relevo, scans: np.ndarray, tmp_path: Path
) -> None:
    if kind == "onnx":
        pytest.importorskip("tf2onnx", reason="the extra [onnx] is not installed")
        pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")
    size = scans.shape[1]
    pictures = np.stack([decode(data, size) for data in every_kind().values()])
    images = np.concatenate([scans[:40], pictures])
    stages, store = ("baseline", "transfer"), str(chain.store)
    folders = [tmp_path / stage for stage in stages]
    words = ["latest/baseline", str(folders[0]), "--format", kind, "--store", store]
    done = relevo("export", *words, "--json")
    assert set(done.json["files"]) >= {"labels.json"}
    assert done.err == ""
    export_model(store, "latest/transfer", folders[1], kind)
    seen = stranger(kind, folders, images, tmp_path)
    for stage, folder, got in zip(stages, folders, seen, strict=True):
        card, tensors = find_model(store, f"latest/{stage}")
        assert (folder / READER).read_bytes() == reader()
        assert np.abs(got["seen"] - ours(card, tensors, images)).max() < SAME
        assert json.loads((folder / "labels.json").read_text("utf-8"))["labels"] == card.labels
        if kind != "keras":  # in whose file another test looks
            assert got["labels"].tolist() == card.labels


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["latest/ten_class", "{full}"], "is there already"),
        (["latest/ten_class", "{full}/file"], "is there already"),
        (["latest/ten_class", "{full}/no/such"], "is no folder; make it first"),
        (["latest/ten_clas", "{full}/new"], "did you mean 'ten_class'?"),
        (["latest/ten_class", "{full}/new", "--format", "pickle"], "pickle"),
    ],
)
def test_what_can_not_be_exported_is_one_line(
    words: list[str], expected: str, chain: Chain, relevo: Relevo, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    words = [word.format(full=tmp_path) for word in words]
    done = relevo("export", *words, "--store", str(chain.store))
    assert done.status == 2, done.err
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert expected in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_missing_converter_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.vision.export import formats

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'relevo\[onnx\]'"):
        formats.check_format("onnx")
    formats.check_format("tflite")
