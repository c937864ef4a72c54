"""Rebuilt networks answer as Keras does, and their fast features are those of the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from support.cards import bare_card
from support.command import ROOT
from support.keras_files import write_keras

from tasks.vision.device import Device
from tasks.vision.errors import BadInput
from tasks.vision.export.keras_file import keras_file, stock_model
from tasks.vision.pretrained.compute.features import feature_extractor
from tasks.vision.pretrained.compute.rebuild import rebuild
from tasks.vision.pretrained.graph.feature_points import feature_names, feature_width
from tasks.vision.pretrained.graph.fold import fold
from tasks.vision.pretrained.graph.network import PretrainedNetwork
from tasks.vision.pretrained.readers.keras_file import read_keras_file
from tasks.vision.recipe.schema import Network
from tasks.vision.tensor_shapes import tensor_shapes
from tasks.vision.trained_model import Architecture

SAMPLE = ROOT.parent / "shared" / "data" / "efficientnet_lite0.keras"
SIZE = 32


def _images(number: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, size, size, 3), dtype=np.uint8)


def _lively(model: keras.Model) -> keras.Model:
    """Weights as if trained: those that Keras draws leave deep activations near zero."""
    random = np.random.default_rng(1)
    for layer in model._flatten_layers(include_self=False):
        for variable in layer.weights if not isinstance(layer, keras.Model) else ():
            weight = variable.name.rpartition("/")[2]
            if weight in ("gamma", "moving_variance"):
                variable.assign(random.uniform(0.5, 1.5, variable.shape))
            elif weight in ("beta", "bias", "moving_mean"):
                variable.assign(random.normal(0, 0.2, variable.shape))
    return model


def _mobilenet() -> keras.Model:
    """As people write it: augmentation, preprocessing and a base without its head, in a functional model."""
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip("horizontal")(images)
    x = keras.applications.mobilenet_v2.preprocess_input(x)
    base = keras.applications.MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    base.trainable = False
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(images, keras.layers.Dense(5, activation="softmax")(x))


def _sequential() -> keras.Model:
    """BGR preprocessing and every other kind of stock layer, in sequential models inside of one another."""
    rgb = keras.Input((SIZE, SIZE, 3))
    bgr = keras.applications.resnet.preprocess_input(rgb)
    block = keras.Sequential(
        [
            keras.layers.SeparableConv2D(12, 3, strides=2, padding="same", depth_multiplier=2),
            keras.layers.BatchNormalization(scale=False),
            keras.layers.PReLU(shared_axes=[1, 2]),
            keras.layers.ZeroPadding2D(((0, 1), (1, 2))),
            keras.layers.Conv2D(16, 3, groups=4, activation="swish"),
            keras.layers.GroupNormalization(4),
            keras.layers.LeakyReLU(0.1),
        ]
    )
    x = keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[900.0, 800.0, 700.0])(bgr)
    adapted = keras.layers.Normalization()
    adapted.adapt(_images(2, SIZE).astype(np.float32) / 99)
    x = block(adapted(x))
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = keras.layers.Conv2D(16, 1, activation="hard_sigmoid")(pooled)
    x = keras.layers.Multiply()([x, gate])
    y = keras.layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="gelu")(x)
    x = keras.layers.Concatenate()([x, y, keras.layers.Activation("mish")(y)])
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = keras.layers.Resizing(20, 20)(x)
    x = keras.layers.Permute((2, 1, 3))(keras.layers.Cropping2D(2)(x))
    a = keras.layers.MaxPooling2D(3, 2, padding="same")(x)
    b = keras.layers.AveragePooling2D(3, 2, padding="same")(x)
    x = keras.layers.Maximum()([keras.layers.Subtract()([a, b]), keras.layers.Average()([a, b])])
    x = keras.layers.LayerNormalization()(x) * 0.5 + x
    x = keras.layers.ReLU(3.0, 0.1, 0.2)(keras.layers.ELU(0.7)(x))
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Reshape((4, 16, 32))(x))
    x = keras.layers.Dense(24, activation="tanh")(x)
    x = keras.layers.Softmax()(keras.layers.Dense(5)(x))
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.Model(rgb, x)])


def _mobilenet_v3() -> keras.Model:
    return keras.applications.MobileNetV3Small((SIZE, SIZE, 3), weights=None, classes=5)


@pytest.fixture(autouse=True, params=["float32", "mixed_bfloat16"])
def _policy(request: Any) -> Iterator[None]:
    """A network is rebuilt in float32, whatever another stage of the process was trained in."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture(params=[_mobilenet, _sequential, _mobilenet_v3])
def pair(request: Any, tmp_path: Path) -> tuple[keras.Model, PretrainedNetwork]:
    """A model, and the network that is read from its file."""
    keras.utils.set_random_seed(2)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # of the file, not of the process that reads it
    model = _lively(request.param())
    keras.config.set_dtype_policy(policy)
    model.save(tmp_path / "x.keras")
    return model, read_keras_file(tmp_path / "x.keras")


def test_folded_network_is_rebuilt_and_saved_with_the_same_answers(
    pair: tuple[keras.Model, PretrainedNetwork], tmp_path: Path
) -> None:
    model, network = pair
    images = _images(3, SIZE).astype(np.float32)
    expected = np.array(model(images, training=False))
    folded = fold(network, [network.config.output])
    assert folded.tensors.keys() != network.tensors.keys()
    rebuilt = rebuild(folded, SIZE)
    found = np.array(rebuilt(images, training=False))
    assert np.abs(found - expected).max() < 1e-4
    rebuilt.save(tmp_path / "folded.keras")
    opened = keras.saving.load_model(tmp_path / "folded.keras")
    assert (np.array(opened(images, training=False)) == found).all()


def test_rebuilt_network_answers_as_keras_does(pair: tuple[keras.Model, PretrainedNetwork]) -> None:
    model, network = pair
    images = _images(3, SIZE).astype(np.float32)
    expected = np.array(model(images, training=False))
    assert expected.std() > 1e-3, "a network whose answers don't depend on the image proves nothing"
    rebuilt = rebuild(network, SIZE)
    assert np.abs(np.array(rebuilt(images, training=False)) - expected).max() < 1e-5
    assert np.abs(np.array(rebuilt(images, training=True)) - expected).max() < 1e-5, "frozen"
    assert not rebuilt.trainable_variables
    assert network.classes == 5


def test_features_are_those_of_the_network(pair: tuple[keras.Model, PretrainedNetwork]) -> None:
    _, network = pair
    images = _images(3, SIZE)
    rebuilt = rebuild(network, SIZE)
    names = feature_names(network, "every layer")
    maps = keras.Model(rebuilt.input, [rebuilt.get_layer(name).output for name in names])(
        images.astype(np.float32)
    )
    pooled = [np.array(each).reshape(3, -1, each.shape[-1]).mean(1) for each in maps]
    expected = np.concatenate(pooled, 1)
    every = feature_extractor(network, SIZE, "every layer")(images)
    last = feature_extractor(network, SIZE)(images)
    assert every.dtype == np.float32
    assert every.shape == (3, feature_width(network, "every layer"))
    assert np.abs(every - expected).max() < 1e-4 * max(1.0, float(expected.std()))
    assert (every[:, -last.shape[1] :] == last).all()
    assert last.shape == (3, feature_width(network, "last layer"))
    half = feature_extractor(network, SIZE, "last layer", "mixed_bfloat16")(images)
    assert half.dtype == np.float32
    assert np.corrcoef(half.ravel(), last.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["airbench", "simple_cnn"])
@pytest.mark.parametrize(("labels", "features"), [(2, "every layer"), (3, "last layer")])
def test_own_exports_are_read(kind: Any, labels: int, features: Any, tmp_path: Path) -> None:
    network = Network(kind=kind, widths=(4, 6, 8))
    outputs = 1 if labels == 2 else labels
    about = Architecture(
        network=network,
        image_size=SIZE,
        outputs=outputs,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.2),
        features=features,
    )
    random = np.random.default_rng(3)
    shapes = tensor_shapes(network, SIZE, outputs, features == "every layer")
    tensors = {k: random.uniform(0.1, 0.5, v).astype(np.float32) for k, v in shapes.items()}
    names = ["a", "b", "c"][:labels]
    card = bare_card(about, names, [[name] for name in names])
    file = tmp_path / "model.keras"
    file.write_bytes(keras_file(card, tensors, Device("cpu", "tests", "float32")))
    found = read_keras_file(file)
    assert (found.size, found.classes, found.head) == (SIZE, labels, "head")
    images = _images(3, SIZE).astype(np.float32)
    expected = np.array(stock_model(card, tensors)(images, training=False))
    assert np.abs(np.array(rebuild(found, SIZE)(images, training=False)) - expected).max() < 1e-6
    assert feature_extractor(found, SIZE)(_images(3, SIZE)).shape == (3, shapes["head/kernel"][0])


def test_features_have_the_same_bits_however_images_are_cut(tmp_path: Path) -> None:
    network = read_keras_file(write_keras(tmp_path / "x.keras"))
    images = _images(300, SIZE)
    whole = feature_extractor(network, SIZE)(images)
    again = feature_extractor(network, SIZE)
    parts = [again(images[i : i + 7]) for i in range(0, 300, 7)]
    assert (np.concatenate(parts) == whole).all()
    assert (again(images[::-1])[::-1] == whole).all()
    assert again(images[:0]).shape == (0, 8)


def test_size_that_a_network_can_not_take_is_refused(tmp_path: Path) -> None:
    network = read_keras_file(write_keras(tmp_path / "x.keras"))
    assert feature_extractor(network, 48)(_images(2, 48)).shape == (2, 8)
    for build in (rebuild, feature_extractor):
        with pytest.raises(
            BadInput, match="can't take images of 16 x 16 pixels; set image_size to 32"
        ):
            build(network, 16)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample network is not there")
def test_sample_network_knows_what_keras_knows() -> None:
    network = read_keras_file(SAMPLE)
    assert (network.size, network.classes, network.least_size) == (224, 1000, 32)
    assert feature_names(network, "last layer") == ["pool"]
    images = _images(2, 224)
    model = keras.models.load_model(SAMPLE)  # a trusted file
    expected = np.array(model(images.astype(np.float32), training=False))
    found = np.array(rebuild(network, 224)(images.astype(np.float32), training=False))
    assert np.abs(found - expected).max() < 1e-5
    pool = keras.Model(model.input, model.get_layer("pool").output)(images.astype(np.float32))
    assert np.abs(feature_extractor(network, 224)(images) - pool).max() < 1e-4
