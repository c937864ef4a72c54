"""Hostile configs of `.keras` files: code, bombs of values and settings, graphs that are none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.hostile_cases import CASES, case
from support.keras_files import (
    Json,
    layer,
    small_model,
    tensor,
    write_keras,
)


def config_case(name: str, message: str, change: Callable[[Json], object]) -> None:
    """A case whose config is the small model's, changed in place or replaced by bytes."""

    def write(folder: Path) -> Path:
        config = small_model()
        changed = change(config)
        return write_keras(folder / "x.keras", changed if isinstance(changed, bytes) else config)

    CASES[name] = (write, message)


def settings_case(title: str, message: str, index: int, /, **settings: Any) -> None:
    """A case in which one layer of the small model has other settings."""

    def change(config: Json) -> None:
        config["config"]["layers"][index]["config"].update(settings)

    config_case(title, message, change)


def layer_case(title: str, message: str, /, **entry: Any) -> None:
    """A case in which the activation is another layer."""

    def change(config: Json) -> None:
        config["config"]["layers"][4].update(entry)

    config_case(title, message, change)


CODE = "no stock layer of Keras"
# Layers that are code.
layer_case("lambda", "not among the layers", class_name="Lambda")
layer_case("tfsm layer", "not among the layers", class_name="TFSMLayer")
layer_case("torch module", "not among the layers", class_name="TorchModuleWrapper")
layer_case("flax layer", "not among the layers", class_name="FlaxLayer")
layer_case(
    "get_file as a layer", CODE, module="keras.utils", class_name="get_file", registered_name=None
)
layer_case("function", CODE, module="builtins", class_name="function", registered_name="function")
layer_case("eval", CODE, module="builtins", class_name="eval")
layer_case("os.system", CODE, module="os", class_name="system")
layer_case("custom module", CODE, module="evil", class_name="Evil", registered_name="Evil")
layer_case("registered name", CODE, registered_name="package>ReLU")
layer_case("no module", CODE, module=None, registered_name="package>Evil")
layer_case("application's name elsewhere", CODE, module="evil.convnext", class_name="LayerScale")
layer_case("unknown operation", "an operation", module="keras.src.ops.numpy", class_name="Fromfile")
layer_case("resizing crops", "not among", class_name="RandomCrop", config={"name": "act"})
LAMBDA = {"class_name": "__lambda__", "config": {"value": ["4wEAAAA=", None, None]}}
GET_FILE = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
settings_case("lambda as activation", "__lambda__.* as its activation", 8, activation=LAMBDA)
settings_case("get_file as activation", "function.* as its activation", 8, activation=GET_FILE)
settings_case("unknown activation", "activation = 'get_file'", 8, activation="get_file")
settings_case(
    "quantised",
    "dtype policy 'QuantizedDTypePolicy'",
    8,
    dtype={"module": "keras", "class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}},
)
settings_case("quantised by name", "dtype 'int8_from_float32'", 8, dtype="int8_from_float32")
settings_case("quantisation", "quantization_config", 8, quantization_config={"class_name": "x"})
settings_case("lora", "the setting lora_rank", 8, lora_rank=4)
settings_case("unknown setting", "the setting url", 8, url="http://localhost/x")


@case("nested lambda", r"layer 'bad' \(Lambda\) is not among the layers")
def _nested_lambda(folder: Path) -> Path:
    config = small_model()
    bad = layer("Lambda", "bad", [], function=LAMBDA)
    inner = {**layer("Sequential", "act", ["norm"]), "module": "keras"}
    inner["config"] = {"name": "act", "layers": [bad]}
    config["config"]["layers"][4] = inner
    return write_keras(folder / "x.keras", config)


def _own_class(config: Json) -> None:
    config.update(module="evil", class_name="Evil", registered_name="evil>Evil")


config_case("own model class", "the model is a evil>Evil; expected a Functional", _own_class)

# Bombs in the config.
config_case("deep lists", "nested deeper than 64", lambda _: b"[" * 10_000 + b"]" * 10_000)
config_case(
    "deep objects", "nested deeper than 64", lambda _: b'{"a":' * 10_000 + b"1" + b"}" * 10_000
)
config_case("many values", "more than 2,000,000 values", lambda _: b"[" + b"1," * 3_000_000 + b"1]")
config_case("long number", "can't be read as JSON", lambda _: b'{"a": ' + b"9" * 10_000 + b"}")
config_case("nan", "the number NaN", lambda c: json.dumps({**c, "x": float("nan")}).encode())
config_case(
    "infinity", "the number Infinity", lambda c: json.dumps({**c, "x": float("inf")}).encode()
)
config_case("key twice", "a key stands twice", lambda _: b'{"config": 1, "config": 2}')
config_case("no json", "can't be read as JSON", lambda _: b"\x80\x04cos\nsystem\n")
config_case("a list", "holds no model", lambda _: b"[]")
config_case("a string", "holds no model", lambda _: b'"model"')


def _long(number: int) -> Callable[[Json], None]:
    def change(config: Json) -> None:
        layers = config["config"]["layers"]
        names = ["act", *(f"act_{i}" for i in range(number))]
        more = [layer("ReLU", b, [a]) for a, b in itertools.pairwise(names)]
        layers[5:5] = more

    return change


config_case("5,000 layers", "one of more than 4,000", _long(5000))


@case("a million layers", "config.json|more than")
def _million(folder: Path) -> Path:
    entry = json.dumps(layer("ReLU", "r", ["r"])).encode()
    return write_keras(
        folder / "x.keras", b'{"config": {"layers": [' + (entry + b",") * 100_000 + b"1]}}"
    )


@case("models in models", "nested more than 8 deep")
def _models_in_models(folder: Path) -> Path:
    entry = layer("ReLU", "r", [])
    for i in range(12):
        outer = {**layer("Sequential", f"s{i}", []), "module": "keras"}
        outer["config"] = {"name": f"s{i}", "layers": [entry]}
        entry = outer
    start = layer("InputLayer", "pixels", [], batch_shape=[None, 32, 32, 3])
    entry["config"]["layers"].insert(0, start)
    return write_keras(folder / "x.keras", entry)


# Bombs in the settings.
settings_case("huge filters", "filters = 1000000000", 2, filters=10**9)
settings_case(
    "weights not there",
    "smaller than the network's weights",
    2,
    filters=60_000,
    kernel_size=[32, 32],
)
settings_case("huge kernel", "kernel_size", 2, kernel_size=[10**9, 3])
settings_case("huge strides", "strides", 2, strides=[10**12, 2])
settings_case("negative strides", "strides", 2, strides=[-1, 2])
settings_case("no strides", "strides", 2, strides=[0, 0])
settings_case("true filters", "filters = True", 2, filters=True)
settings_case("filters as text", "filters = '8'", 2, filters="8")
settings_case("filters of a half", "filters = 8.5", 2, filters=8.5)
settings_case("groups", "groups of 3 channels", 2, groups=2)
settings_case("unknown padding", "padding", 2, padding="causal")
settings_case("channels first", "data_format", 2, data_format="channels_first")
settings_case("other axis", "axis = 1", 3, axis=1)
settings_case("huge epsilon", "epsilon", 3, epsilon=1e30)
settings_case("huge units", "units", 8, units=10**10)
settings_case("other channels", "expected RGB", 0, batch_shape=[None, 32, 32, 4])
settings_case("oblong", "expected square", 0, batch_shape=[None, 32, 64, 3])
settings_case("huge images", "expected square", 0, batch_shape=[None, 10**6, 10**6, 3])
settings_case("volumes", "expected RGB", 0, batch_shape=[None, 32, 32, 32, 3])
layer_case(
    "huge pool",
    "pool_size",
    class_name="MaxPooling2D",
    config={"name": "act", "pool_size": [10**9, 2]},
)
layer_case(
    "large pool",
    "window covers 4096",
    class_name="MaxPooling2D",
    config={"name": "act", "pool_size": [4096, 2]},
)
layer_case(
    "huge reshape",
    "can't make",
    class_name="Reshape",
    config={"name": "act", "target_shape": [10**6, 8]},
)
layer_case(
    "two unknown sides",
    "can't make",
    class_name="Reshape",
    config={"name": "act", "target_shape": [-1, -1]},
)
layer_case(
    "huge padding",
    "padding",
    class_name="ZeroPadding2D",
    config={"name": "act", "padding": [[10**9, 0], [0, 0]]},
)
layer_case(
    "large padding",
    "at most 33,554,432 numbers",
    class_name="ZeroPadding2D",
    config={"name": "act", "padding": [[4000, 0], [4000, 0]]},
)
layer_case(
    "all cropped",
    "its output would be",
    class_name="Cropping2D",
    config={"name": "act", "cropping": [[9, 9], [0, 0]]},
)
layer_case(
    "up-sampling",
    "at most 33,554,432 numbers",
    class_name="UpSampling2D",
    config={"name": "act", "size": [4096, 4096]},
)
layer_case(
    "huge resizing",
    "height",
    class_name="Resizing",
    config={"name": "act", "height": 10**9, "width": 1},
)
layer_case("large number", "max_value", config={"name": "act", "max_value": 1e300})


# Graphs that are none.
def _inputs(name: str) -> list[Json]:
    return [{"args": [tensor(name, [None])], "kwargs": {}}]


layer_case("cycle", "takes the output of 'deep', which is not there", inbound_nodes=_inputs("deep"))
layer_case("own input", "takes the output of 'act'", inbound_nodes=_inputs("act"))
layer_case("missing layer", "takes the output of 'gone'", inbound_nodes=_inputs("gone"))
layer_case("no inputs", "called 0 times", inbound_nodes=[])
layer_case("shared layer", "called 2 times", inbound_nodes=_inputs("norm") * 2)


def _training(config: Json) -> None:
    config["config"]["layers"][3]["inbound_nodes"][0]["kwargs"] = {"training": True}


config_case("training mode", "called with 'training'", _training)
layer_case("old calls", "saved by Keras 2", inbound_nodes=[[["norm", 0, 0, {}]]])
layer_case("name twice", "has the name of another", name="norm", config={"name": "norm"})
layer_case("two names", "another name in the graph", name="act", config={"name": "other"})
layer_case("name with slash", "name with a slash", name="a/../b", config={"name": "a/../b"})
layer_case("name of dots", "name with a slash", name="..", config={"name": ".."})
layer_case("name that breaks lines", "has the name", name="a\nb", config={"name": "a\nb"})
layer_case("long name", "has the name", name="a" * 10_000, config={"name": "a" * 10_000})


def _ends(**ends: Any) -> Callable[[Json], None]:
    return lambda config: config["config"].update(ends)


config_case("two outputs", "has 2 outputs", _ends(output_layers=[["head", 0, 0], ["pool", 0, 0]]))
config_case("two inputs", "has 2 inputs", _ends(input_layers=[["pixels", 0, 0], ["scale", 0, 0]]))
config_case("output elsewhere", "the output 'x'", _ends(output_layers=["x", 0, 0]))
config_case("input is a layer", "is no InputLayer", _ends(input_layers=["act", 0, 0]))
config_case("no layers", "without layers", _ends(layers=[]))
config_case("layers of nothing", "a layer that is none", _ends(layers=[None]))
