"""A `.keras` file is read as plain data: layers, weights, digest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.keras_files import hdf5, small_model, small_weights, write_keras

from tasks.vision.errors import BadInput
from tasks.vision.pretrained.graph.feature_points import feature_names, feature_width
from tasks.vision.pretrained.graph.random_weights import random_weights
from tasks.vision.pretrained.graph.stored import pack_network, unpack_network
from tasks.vision.pretrained.readers.keras_file import read_keras_file


def test_file_becomes_layers_and_weights(tmp_path: Path) -> None:
    network = read_keras_file(write_keras(tmp_path / "x.keras"))
    names = [layer.name for layer in network.config.layers]
    assert names == ["scale", "stem", "norm", "act", "deep", "pool", "head"], "dropout is left out"
    weights = small_weights()
    assert (network.tensors["stem/kernel"] == weights["layers/conv2d/vars/0"]).all()
    assert (
        network.tensors["norm/moving_variance"] == weights["layers/batch_normalization/vars/3"]
    ).all()
    assert (network.size, network.classes, network.head) == (32, 5, "head")
    assert feature_names(network, "every layer") == ["act", "pool"]
    assert (feature_width(network, "last layer"), feature_width(network, "every layer")) == (8, 16)
    assert network.takes(160)
    assert not network.takes(16)


def test_digest_covers_layers_and_weights(tmp_path: Path) -> None:
    first = read_keras_file(write_keras(tmp_path / "x.keras"))
    assert first.digest.startswith("sha256:")
    weights = small_weights()
    weights["layers/dense/vars/1"][0] += 1
    other = read_keras_file(write_keras(tmp_path / "y.keras", weights=hdf5(weights)))
    config = small_model()
    config["config"]["layers"][4]["config"]["max_value"] = 5.0
    third = read_keras_file(write_keras(tmp_path / "z.keras", config))
    assert len({first.digest, other.digest, third.digest}) == 3


def test_network_survives_its_stored_file(tmp_path: Path) -> None:
    network = read_keras_file(write_keras(tmp_path / "x.keras"))
    content = pack_network(network)
    assert unpack_network(content, "it").digest == network.digest
    assert pack_network(unpack_network(content, "it")) == content
    for bad in (b"", content[:-4], content.replace(b"stem/kernel", b"stem/kernal")):
        with pytest.raises(BadInput, match="it holds no pretrained network"):
            unpack_network(bad, "it")


def test_random_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    network = read_keras_file(write_keras(tmp_path / "x.keras"))
    one, same, other = (random_weights(network, seed) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest
    kernel = one.tensors["stem/kernel"]
    assert np.abs(kernel).max() <= np.sqrt(6 / (9 * (3 + 8)))
    assert (one.tensors["norm/gamma"] == 1).all()
    assert (one.tensors["deep/bias"] == 0).all()
