"""A network that Keras names: its graph from Keras' code, its weights from a checked file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.cifar import site_of
from support.keras_files import hdf5, small_model, small_weights

from tasks.io import networks
from tasks.store.base import sha256_of
from tasks.vision.errors import BadInput
from tasks.vision.files.download import Published
from tasks.vision.pretrained.keras_applications.named_networks import named_network, named_networks
from tasks.vision.pretrained.keras_applications.preprocessing import (
    Preprocessing,
    with_preprocessing,
)
from tasks.vision.pretrained.keras_applications.weights_file import read_weights_file
from tasks.vision.pretrained.readers.keras_graph import walk
from tasks.vision.recipe.schema import Stage

LAYERS = {"stem": "conv2d", "norm": "batch_normalization", "deep": "depthwise_conv2d"}
LAYERS["head"] = "dense"


def legacy(change: Callable[[h5py.File], None] | None = None) -> bytes:
    """The small model's weights in Keras' older form, with and without layers that have none."""
    buffer, weights = io.BytesIO(), small_weights()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [b"pixels", *(name.encode() for name in LAYERS)]
        file.create_group("pixels").attrs["weight_names"] = np.empty(0, "S1")
        for name, kind in LAYERS.items():
            arrays = {p: w for p, w in weights.items() if p.split("/")[1] == kind}
            names = [f"{name}/w{i}:0".encode() for i in range(len(arrays))]
            file.create_group(name).attrs["weight_names"] = names
            for path, value in zip(names, arrays.values(), strict=True):
                file[name][path.decode()] = value
        if change:
            change(file)
    return buffer.getvalue()


def test_both_forms_of_a_weights_file_are_read(tmp_path: Path) -> None:
    config, graph = walk(small_model(), "small")
    for content in (legacy(), hdf5(small_weights())):
        path = tmp_path / "x.h5"
        path.write_bytes(content)
        tensors = read_weights_file(path, config, graph, "small")
        assert (tensors["norm/beta"] == small_weights()["layers/batch_normalization/vars/1"]).all()
        assert tensors.keys() == config.tensor_shapes(32).keys()


def whole_model(file: h5py.File) -> None:
    file.attrs["model_config"] = "{}"


def one_layer_less(file: h5py.File) -> None:
    file.attrs["layer_names"] = [b"stem", b"norm", b"deep"]


def layers_in_another_order(file: h5py.File) -> None:
    file.attrs["layer_names"] = [b"norm", b"stem", b"deep", b"head"]


def group_elsewhere(file: h5py.File) -> None:
    del file["head"]
    file["head"] = h5py.ExternalLink("other.h5", "/head")


def array_elsewhere(file: h5py.File) -> None:
    del file["stem/stem/w0:0"]
    raw = [("/etc/hostname", 0, 4 * 3 * 3 * 3 * 8)]
    file.create_dataset("stem/stem/w0:0", (3, 3, 3, 8), "f4", external=raw)


def not_a_number(file: h5py.File) -> None:
    file["stem/stem/w0:0"][0] = np.nan


def names_of_numbers(file: h5py.File) -> None:
    file["stem"].attrs["weight_names"] = 7


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (whole_model, "is a whole model; expected the weights of imagenet/small"),
        (one_layer_less, "it has 7 arrays, expected 9"),
        (layers_in_another_order, r"norm/w0:0, for stem/kernel, has the shape \(8,\), expected"),
        (group_elsewhere, "head is a ExternalLink"),
        (array_elsewhere, "names data outside of itself"),
        (not_a_number, "holds NaN"),
        (names_of_numbers, "it has no stem/7"),
    ],
)
def test_weights_of_something_else_are_refused(
    change: Callable[[h5py.File], None], reason: str, tmp_path: Path
) -> None:
    config, graph = walk(small_model(), "small")
    path = tmp_path / "x.h5"
    path.write_bytes(legacy(change))
    with pytest.raises(BadInput, match=reason) as caught:
        read_weights_file(path, config, graph, "imagenet/small")
    assert "\n" not in str(caught.value)
    path.write_bytes(legacy()[:3000])
    with pytest.raises(BadInput, match="imagenet/small without its classification head"):
        read_weights_file(path, config, graph, "imagenet/small")
    path.write_bytes(b"PK\3\4")
    with pytest.raises(BadInput, match="is no HDF5 file"):
        read_weights_file(path, config, graph, "imagenet/small")


def test_every_published_network_is_known_by_name() -> None:
    known = named_networks()
    assert len(known) == 40
    large = named_network("imagenet/mobilenet_v3_large")
    assert large.weights.name == "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5"
    assert large.weights.hash == "MD5 07fb09a5933dd0c8eaafa16978110389"
    assert named_network("imagenet/convnext_tiny").weights.algorithm == "sha256"
    with pytest.raises(BadInput, match="did you mean 'imagenet/resnet50'"):
        named_network("imagenet/resnet_50")


@pytest.mark.parametrize("kind", ["symmetric", "standardised", "centred"])
def test_preprocessing_comes_first_in_the_graph(kind: Preprocessing) -> None:
    config, _ = walk(small_model(), "small")
    changed = with_preprocessing(config, kind)
    added = len(changed.layers) - len(config.layers)
    assert added == (2 if kind == "centred" else 1)
    assert changed.layers[0].inputs == ("pixels",)
    assert changed.layers[added].inputs == (changed.layers[added - 1].name,)
    assert [each.name for each in changed.layers[added:]] == [each.name for each in config.layers]
    assert changed.tensor_shapes(32) == config.tensor_shapes(32)


def test_weights_out_of_reach_are_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = named_network("imagenet/resnet50")
    url = f"http://127.0.0.1:9/{known.weights.name}"
    nowhere = replace(known, weights=replace(known.weights, url=url))
    monkeypatch.setattr(networks, "named_network", lambda start: nowhere)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stage = Stage(start="imagenet/resnet50", train="head")
    with pytest.raises(BadInput) as caught:
        networks.read_network("own", stage, 224)
    for part in (
        "stages.own.start = 'imagenet/resnet50'",
        url,
        f"{known.weights.name} (MD5 4d473c1dd8becc155b73f8504c6f6626)",
        "weights = 'FILE'",
    ):
        assert part in str(caught.value)
    assert not list((tmp_path / "relevo").iterdir()), "nothing half-written"
    other = tmp_path / "w.h5"
    other.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(BadInput, match=r"stages.own.weights = .* the recipe expects 000"):
        networks.read_network(
            "own", stage.model_copy(update={"weights": str(other), "sha256": "0" * 64}), 224
        )


@pytest.mark.slow
def test_named_network_answers_as_in_keras_with_published_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EfficientNet-B0, whose graph Keras changes for `weights="imagenet"` alone."""
    import keras
    from keras.src.legacy.saving import legacy_h5_format
    from keras.src.utils import file_utils

    from tasks.vision.pretrained.compute.rebuild import rebuild

    keras.config.set_dtype_policy("float32")  # a test before may have trained in bfloat16
    network, path = named_network("imagenet/efficientnet_b0"), tmp_path / "b0.h5"
    settings = {"include_top": False, "pooling": "avg", "input_shape": (64, 64, 3)}
    made = keras.applications.EfficientNetB0(weights=None, **settings)
    random = np.random.default_rng(0)
    for weight in made.weights:  # other than fresh ones, which hide a missing layer
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, made)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
    expected = keras.applications.EfficientNetB0(weights="imagenet", **settings)
    pixels = random.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    with site_of(path.read_bytes()) as site:  # downloaded once, from a site that has it
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        published = Published("it", site.url, hashlib.md5(path.read_bytes()).hexdigest(), "md5")
        served = replace(network, weights=published)
        monkeypatch.setattr(networks, "named_network", lambda start: served)
        stage = Stage(start="imagenet/efficientnet_b0", train="head")
        files = [networks.read_network("x", stage, 64) for _ in range(2)]
        assert site.requests == 1
    assert files[0].sha256 == files[1].sha256 == sha256_of(path)[0]
    rebuilt = rebuild(files[0].network, 64)
    found, right = (np.asarray(model(pixels, training=False)) for model in (rebuilt, expected))
    assert right.std() > 1e-3
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)
